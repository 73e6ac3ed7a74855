"""Log-probs, entropies and their gradients: siri's chunked head beside the full-logits computation.

    python benchmarks/logprobs.py --out benchmarks/results/logprobs.md
    python benchmarks/logprobs.py --device cuda --dtype bfloat16

Both run forward and backward on one model of tiny width with a real vocabulary, each in a process of its own,
so that the peak is its own: on the CPU the growth of the resident set (VmHWM), on CUDA the allocator's peak.
The full-logits computation is what a trainer writes first: model(...).logits, log_softmax, gather, mask.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siri.algos import TokenBatch
from siri.models.scoring import score


def make_model(arguments: argparse.Namespace) -> Any:
    """A Qwen2 of tiny width with random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=arguments.vocab,
            hidden_size=arguments.width,
            intermediate_size=2 * arguments.width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=arguments.length,
        )
        return Qwen2ForCausalLM(config).to(arguments.device, getattr(torch, arguments.dtype))


def make_batch(arguments: argparse.Namespace) -> TokenBatch:
    """Rows whose last ``share`` of tokens are action tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.rows, arguments.length)
    ids = torch.randint(0, arguments.vocab, shape, generator=generator)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, int(arguments.length * (1 - arguments.share)) :] = True
    zeros = torch.zeros(shape)
    batch = TokenBatch(
        input_ids=ids,
        attention_mask=torch.ones_like(mask),
        rl_mask=mask,
        int_mask=torch.zeros_like(mask),
        old_logprobs=zeros,
        reference_logprobs=zeros,
        advantages=zeros,
        weights=zeros,
        rl_tokens=float(mask.sum()),
        int_tokens=0.0,
    )
    return batch.to(arguments.device)


def full(model: Any, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Logits of every position, then a mask."""
    logits = model(input_ids=batch.input_ids, use_cache=False).logits[:, :-1].float()
    table = torch.log_softmax(logits, dim=-1)
    chosen = table.gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    entropy = -(table.exp() * table).sum(-1)
    mask = batch.rl_mask[:, 1:]
    return chosen * mask, entropy * mask


def chunked(model: Any, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """siri."""
    scores = score(model, batch)
    return scores.logprobs[:, 1:], scores.entropy[:, 1:]


def peak(device: str) -> int:
    """Highest memory so far, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Forward and backward of one of the two, ``repeats`` times."""
    model, batch = make_model(arguments), make_batch(arguments)
    method = {"full": full, "chunked": chunked}[arguments.method]
    method(model, warm_up(batch))[0].sum().backward()  # type: ignore[no-untyped-call]  # loads everything that is loaded once
    before = peak(arguments.device)
    times, work, total = [], [], torch.zeros(())
    for _ in range(arguments.repeats):
        model.zero_grad(set_to_none=True)
        start, busy = time.perf_counter(), time.process_time()
        logprobs, entropy = method(model, batch)
        total = -(logprobs.sum() + 0.1 * entropy.sum()) / batch.rl_tokens
        total.backward()  # type: ignore[no-untyped-call]
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        work.append(time.process_time() - busy)
    gradient = model.get_input_embeddings().weight.grad.float().norm()
    return {
        "seconds": min(times),
        "cpu": min(work),
        "bytes": peak(arguments.device) - before,
        "loss": float(total.detach()),
        "gradient": float(gradient),
    }


def warm_up(batch: TokenBatch) -> TokenBatch:
    """The first columns of one row, with one action token."""
    row = batch.rows([0])
    names: tuple[str, ...] = ("input_ids", "attention_mask", "rl_mask", "int_mask")
    names += ("old_logprobs", "reference_logprobs", "advantages", "weights")
    short: dict[str, Any] = {name: getattr(row, name)[:, :64] for name in names}
    short["rl_mask"] = torch.arange(64, device=row.rl_mask.device)[None] == 63
    return replace(row, **short)


def run(arguments: argparse.Namespace, method: str) -> dict[str, Any]:
    """``measure`` in a fresh process."""
    command = [sys.executable, __file__, "--method", method]
    for name in ("device", "dtype", "vocab", "width", "rows", "length", "share", "repeats"):
        command += [f"--{name}", str(getattr(arguments, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def report(arguments: argparse.Namespace) -> str:
    """The page."""
    results = {method: run(arguments, method) for method in ("full", "chunked")}
    for name, tolerance in (("loss", 1e-5), ("gradient", 1e-3)):
        one, other = (results[method][name] for method in ("full", "chunked"))
        if arguments.dtype == "float32" and abs(one - other) > tolerance * abs(one):
            raise SystemExit(f"the two disagree on the {name}: {one} and {other}")
    full_, ours = results["full"], results["chunked"]
    lines = [
        "# Log-probs at action positions: memory and time",
        "",
        f"`python benchmarks/logprobs.py`: forward and backward, vocabulary {arguments.vocab:,},",
        f"width {arguments.width}, {arguments.rows} × {arguments.length:,} tokens of which "
        f"{arguments.share:.0%} are action tokens, {arguments.dtype} on",
        f"{arguments.device}, fastest of {arguments.repeats}; peak is the growth over the loaded model.",
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, "
        f"{torch.get_num_threads()} thread(s). Loss and gradient norm of the two agree.",
        "",
        "| | full logits | siri, chunked | siri ÷ full |",
        "| --- | ---: | ---: | ---: |",
        f"| peak | {full_['bytes'] / 2**30:.2f} GiB | {ours['bytes'] / 2**30:.2f} GiB | "
        f"{ours['bytes'] / full_['bytes']:.0%} |",
        f"| time | {full_['seconds']:.2f} s | {ours['seconds']:.2f} s | "
        f"{ours['seconds'] / full_['seconds']:.0%} |",
        f"| processor time | {full_['cpu']:.2f} s | {ours['cpu']:.2f} s | {ours['cpu'] / full_['cpu']:.0%} |",
        f"| loss | {full_['loss']:.6f} | {ours['loss']:.6f} | |",
        f"| gradient norm of the embedding | {full_['gradient']:.6g} | {ours['gradient']:.6g} | |",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--method", choices=["full", "chunked"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.method:
        print(json.dumps(measure(arguments)))
        return
    text = report(arguments)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
