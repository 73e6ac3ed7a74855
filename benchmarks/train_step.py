"""One optimizer step of siri's learner against TRL's GRPO loss on the same tokens, on a vocabulary of 152k.

Two shapes: ``transcript``, where the policy wrote 12 tokens of every 60 (episodes of turns; TRL's tool mask),
and ``single``, one long answer. Every measurement runs in a process of its own.
Needs TRL (pip install trl). Run:

    python benchmarks/train_step.py [--rows 4] [--length 512] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "train_step.md"
VOCABULARY = 151_936
PROMPT = 60
LR = 1e-4


def make_model() -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=VOCABULARY,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                tie_word_embeddings=True,
                max_position_embeddings=4096,
                eos_token_id=2,
                pad_token_id=1,
            )
        )


def data(shape: str, rows: int, length: int) -> tuple[Any, Any, Any, Any]:
    """ids [B, T], mask of the policy's tokens [B, T], advantages [B], log-probs at sampling [B, T]."""
    import torch

    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator)
    place = torch.arange(length)
    own = place >= PROMPT
    if shape == "transcript":
        own = own & (place % 60 < 12)
    advantages = torch.randn(rows, generator=generator)
    old = -12 + 0.3 * torch.randn(rows, length, generator=generator)
    return ids, own.expand(rows, length), advantages, old


def siri_step(model: Any, ids: Any, own: Any, advantages: Any, old: Any, accelerator: Any = None) -> Any:
    from siri.algos import SiriObjective
    from siri.training.learner import Learner
    from siri.training.rows import Row, Span

    rows = []
    for row, mask, advantage, logprobs in zip(ids, own, advantages, old, strict=True):
        spans, start = [], None
        for place in range(len(row) + 1):
            inside = place < len(row) and bool(mask[place])
            if inside and start is None:
                start = place
            elif not inside and start is not None:
                spans.append(Span(start, tuple(logprobs[start:place].tolist()), float(advantage)))
                start = None
        rows.append(Row("rl", tuple(row.tolist()), tuple(spans)))
    objective = SiriObjective(kl=0.0, entropy=0.0, dual_clip=None)
    learner = Learner(
        model,
        objective,
        lr=LR,
        recompute=False,
        max_tokens_per_micro_batch=10**9,
        accelerator=accelerator,
    )
    return lambda: learner.update(rows)["learn/loss"]


def trl_step(model: Any, ids: Any, own: Any, advantages: Any, old: Any) -> Any:
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from siri.policies import HFPolicy
    from siri.policies.tiny import base_path

    tokenizer = HFPolicy.load(base_path(), slots=1).tokenizer
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        loss_type="bnpo",
        beta=0.0,
        per_device_train_batch_size=len(ids),
        num_generations=len(ids),
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
    )
    trainer = GRPOTrainer(
        model=model,
        args=config,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": "a"}] * len(ids)),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    inputs = {
        "prompt_ids": ids[:, :PROMPT],
        "prompt_mask": torch.ones_like(ids[:, :PROMPT]),
        "completion_ids": ids[:, PROMPT:],
        "completion_mask": torch.ones_like(ids[:, PROMPT:]),
        "tool_mask": own[:, PROMPT:].long(),
        "advantages": advantages,
        "old_per_token_logps": old[:, PROMPT:],
        "num_items_in_batch": own.sum(),
    }

    def step() -> float:
        loss = trainer._compute_loss(model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(side: str, shape: str, options: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    inputs = data(shape, options.rows, options.length)
    step = (siri_step if side == "siri" else trl_step)(make_model(), *inputs)
    before = memory()
    loss = step()
    wall, cpu = [], []
    for _ in range(options.repeats):
        start, used = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {
        "loss": loss,
        "seconds": min(wall),
        "cpu": statistics.median(cpu),
        "peak": memory(),
        "growth": memory() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "SHAPE"), help="print JSON of one")
    options = parser.parse_args()
    if options.measure:
        side, shape = options.measure
        print(json.dumps(measure(side, shape, options)))
        return
    rows = []
    for shape in ("transcript", "single"):
        found = {}
        for side in ("trl", "siri"):
            command = [sys.executable, __file__, "--measure", side, shape, "--rows", str(options.rows)]
            command += ["--length", str(options.length), "--repeats", str(options.repeats)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[side] = json.loads(done.stdout.splitlines()[-1])
            print(shape, side, found[side], flush=True)
        ours, theirs = found["siri"], found["trl"]
        time_, memory_ = ours["cpu"] / theirs["cpu"], ours["growth"] / theirs["growth"]
        rows.append(
            f"| {shape} | {theirs['cpu']:.2f} s | {ours['cpu']:.2f} s | **{time_:.2f}** "
            f"| {ours['seconds'] / theirs['seconds']:.2f} | {theirs['growth']:,.0f} MiB "
            f"| {ours['growth']:,.0f} MiB | **{memory_:.2f}** | {abs(ours['loss'] - theirs['loss']):.1e} |"
        )
    text = "\n".join(
        [
            "# A training step against TRL's GRPO loss",
            "",
            f"`python benchmarks/train_step.py`: {options.rows} rows of {options.length} tokens, vocabulary "
            f"{VOCABULARY:,}, width 64, 2 layers, float32, "
            f"{os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads; forward, backward, clipping and "
            f"AdamW. torch {version('torch')}, transformers {version('transformers')}, trl {version('trl')} "
            "(`GRPOTrainer._compute_loss`, loss_type bnpo, no KL). Transcript: the policy wrote 12 of every "
            "60 tokens after the prompt. Single: it wrote all of them. Memory is the growth of the peak from "
            f"before the first step; times are the median of {options.repeats} steps after it.",
            "",
            "| tokens | TRL, CPU time | siri | ratio | by wall | TRL, memory | siri | ratio | loss differs |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
