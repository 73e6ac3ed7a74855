"""Everything that siri does on one GPU, measured in one sitting on random weights in the shapes of Qwen2.5.

    python -m benchmarks.gpu            # 0.5B and 1.5B, and 7B with LoRA; writes benchmarks/results/gpu.md
    python -m benchmarks.gpu --smoke    # every part at a toy shape on the CPU, to see that none of it breaks

Parts, for each shape:

- rollout: sampled tokens a second through ``HFPolicy``, and through vLLM in lock-step and streaming, where
  the lengths vary by turn; seconds of a push to vLLM.
- training: ``Learner.update`` with float32 weights and bfloat16 passes, next to TRL's GRPO loss on the same
  tokens; with ``-lora``, of an adapter of rank 16 with gradient checkpointing.

And a small run of ``siri run`` through all phases with vLLM, asleep while it learns.

Every part runs in a process of its own: memory is its own, and one that breaks costs one row. The table is
written again after each part. What is not installed (vLLM, TRL) is left out, and the table says so. MFU
counts 6 FLOPs a parameter and trained token (4 with LoRA, 2 a sampled one) over ``--peak-tflops``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import train_step
from siri.models.adapters import add_lora
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.runs.planning import SHAPES, Shape
from siri.types import Message, Request, Sampling

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "gpu.md"
TOY = Shape(2, 64, 128, 2, 1, 1000, True)
"""Its heads of 32 are not widened for vLLM on a CPU."""
LORA = "-lora"
"""Ending of the name of a shape whose adapter alone is trained."""
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bfloat16 TFLOP/s, by the maker's data sheet."""
RANK = 16
"""Of the adapter."""
SMOKE = {
    "shapes": ["toy", f"toy{LORA}"],
    "episodes": 4,
    "turns": 2,
    "prompt": 60,
    "answer": 6,
    "rows": 2,
    "length": 128,
    "repeats": 1,
}


def shape_of(label: str) -> Shape:
    name = label.removesuffix(LORA)
    return TOY if name == "toy" else SHAPES[name]


def make_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # 7B in float32 first would take twice the room
    try:
        with device:
            model: Any = Qwen2ForCausalLM(model_config(shape))
    finally:
        torch.set_default_dtype(before)
    return model.to(dtype)


def model_config(shape: Shape) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=8192,
        eos_token_id=2,
        pad_token_id=1,
    )


def with_adapter(model: Any) -> None:
    model.name_or_path = "random"  # what a saved adapter would name as its base
    add_lora(model, rank=RANK, alpha=32.0, seed=0)


def the_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> float:
    """GiB: the most that torch held, or what is taken on the card now, if that is more; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    free, whole = torch.cuda.mem_get_info()
    return max(torch.cuda.max_memory_allocated(), whole - free) / 2**30


def timed(step: Callable[[], Any], device: torch.device, repeats: int) -> float:
    step()
    wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    wait(device)
    return (time.perf_counter() - began) / repeats


class Episodes:
    """Conversations of ``turns`` turns, played turn by turn or each for itself."""

    def __init__(self, options: argparse.Namespace) -> None:
        opening = "You see a desk 1. " * (options.prompt // 6)
        self.options = options
        self.chats: list[list[Message]] = [
            [{"role": "user", "content": f"{opening} {n}"}] for n in range(options.episodes)
        ]

    def request(self, number: int, turn: int) -> Request:
        return Request(self.chats[number], session=str(number), seed=number * 97 + turn)

    def sampling(self, number: int, turn: int, *, varied: bool) -> Sampling:
        most = self.options.answer
        # random weights hardly ever stop, so every completion has all its tokens
        return Sampling(
            temperature=1.0, max_tokens=1 + (number * 131 + turn * 17) % (2 * most) if varied else most
        )

    def goes_on(self, number: int, text: str) -> None:
        self.chats[number] += [{"role": "assistant", "content": text}]
        self.chats[number] += [{"role": "user", "content": "Nothing happens."}]


def in_turns(policy: Any, options: argparse.Namespace, device: torch.device) -> tuple[int, float]:
    """Tokens and seconds of all turns but the first, which warms up and holds the long prompt."""
    episodes = Episodes(options)
    tokens, seconds = 0, 0.0
    for turn in range(options.turns + 1):
        requests = [episodes.request(n, turn) for n in range(options.episodes)]
        wait(device)
        began = time.perf_counter()
        done = policy.generate(requests, episodes.sampling(0, 0, varied=False))
        wait(device)
        if turn:
            seconds += time.perf_counter() - began
            tokens += sum(len(c.completion_ids) for c in done)
        for number, completion in enumerate(done):
            episodes.goes_on(number, completion.text)
    return tokens, seconds


def streamed(policy: Any, options: argparse.Namespace, *, lock_step: bool) -> tuple[int, float]:
    """The same with lengths that vary by turn, each episode waiting for the others or not."""
    episodes = Episodes(options)
    tokens = 0

    def send(number: int, turn: int) -> tuple[int, tuple[int, int]]:
        sampling = episodes.sampling(number, turn, varied=True)
        return policy.submit(episodes.request(number, turn), sampling), (number, turn)

    flying = dict(send(n, 0) for n in range(options.episodes))
    waiting: list[tuple[int, int]] = []
    began = time.perf_counter()
    while flying:
        for ticket, completion in policy.poll():
            number, turn = flying.pop(ticket)
            tokens += len(completion.completion_ids)
            episodes.goes_on(number, completion.text)
            if turn + 1 <= options.turns:
                waiting.append((number, turn + 1))
        if not lock_step or not flying:
            flying |= dict(send(*each) for each in waiting)
            waiting.clear()
    return tokens, time.perf_counter() - began


def rollout_hf(label: str, options: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    device = the_device()
    tokenizer = HFPolicy.load(base_path(), slots=1).tokenizer
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = make_model(shape_of(label), device, dtype).eval()
    tokens, seconds = in_turns(HFPolicy(model, tokenizer, slots=options.episodes), options, device)
    yield {"what": "rollout, HF", "speed": tokens / seconds, "flops": 2, "peak": peak_memory(device)}


def rollout_vllm(
    label: str, options: argparse.Namespace, *, served: bool = False
) -> Iterator[Mapping[str, Any]]:
    """By vLLM in process; ``served``: with the adapter next to its base, not merged into it."""
    from siri.policies.vllm import VLLMPolicy

    device = the_device()
    tokenizer = HFPolicy.load(base_path(), slots=1).tokenizer
    model = make_model(shape_of(label), device, torch.float32).eval()
    if label.endswith(LORA):
        with_adapter(model)
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(
            folder
        )  # the engine begins with dummy weights, and is pushed the model's
        policy = VLLMPolicy(
            model,
            tokenizer,
            path=folder,
            dtype="bfloat16" if device.type == "cuda" else "float32",
            slots=options.episodes,
            max_context=4096 if device.type == "cuda" else 512,
            adapter_rank=RANK if served else 0,
            options={"load_format": "dummy"},
        )

    def push() -> None:
        policy.reset_cache()
        policy.generate([Request([{"role": "user", "content": "a"}])], Sampling(max_tokens=1))

    alone = ", the adapter alone" if served else ""
    yield {"what": f"push to vLLM{alone}", "seconds": timed(push, device, options.repeats)}
    tokens, seconds = in_turns(policy, options, device)
    speed = tokens / seconds
    yield {"what": f"rollout, vLLM{alone}", "speed": speed, "flops": 2, "peak": peak_memory(device)}
    if served:
        return
    for name, lock_step in (("lock-step", True), ("streaming", False)):
        policy.reset_cache()
        streamed(policy, argparse.Namespace(**{**vars(options), "turns": 0}), lock_step=lock_step)
        tokens, seconds = streamed(policy, options, lock_step=lock_step)
        yield {"what": f"rollout of varied lengths, vLLM, {name}", "speed": tokens / seconds, "flops": 2}


def training(label: str, options: argparse.Namespace, side: str) -> Iterator[Mapping[str, Any]]:
    device = the_device()
    cuda, lora = device.type == "cuda", label.endswith(LORA)
    torch.default_generator.manual_seed(0)
    shape = shape_of(label)
    model = make_model(shape, device, torch.float32)
    if lora:
        with_adapter(model)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids, own, advantages, old = train_step.data("transcript", options.rows, options.length)
    ids = ids % shape.vocabulary
    losses: list[float] = []
    if side == "siri":
        accelerator = Accelerator(mixed_precision="bf16" if cuda else "no")
        run = train_step.siri_step(model, ids, own, advantages, old, accelerator=accelerator)
        step = lambda: losses.append(run())  # noqa: E731
    else:
        moved = [tensor.to(device) for tensor in (ids, own, advantages, old)]
        inner = train_step.trl_step(model, *moved)

        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
                losses.append(inner())

    seconds = timed(step, device, options.repeats)
    yield {
        "what": f"training, {side}",
        "speed": options.rows * options.length / seconds,
        "flops": 4 if lora else 6,
        "peak": peak_memory(device),
        "loss": losses[0],
    }


def whole_run(*, smoke: bool) -> Iterator[Mapping[str, Any]]:
    """`siri run` with the embedded policy through all phases, by vLLM where it is installed."""
    cuda, vllm = the_device().type == "cuda", importlib.util.find_spec("vllm") is not None
    settings = ["optimizer.recompute=true", "evaluation.splits=[]"]
    if vllm:
        settings.append("rollout.sleep=true")
    if cuda:
        settings.append("rollout.dtype=bfloat16")
    if smoke:
        settings += ["rollout={tasks: 2, group_size: 4}", "warmup={successes: 1, max_iterations: 1}"]
        settings += ["mining={min_iterations: 1, max_iterations: 1}", "internalization.iterations=1"]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "siri",
            "run",
            "--preset",
            "smoke",
            "--quiet",
            "--out",
            f"{folder}/run",
        ]
        command += ["--engine", "vllm" if vllm else "hf"]
        began = time.perf_counter()
        subprocess.run([*command, *(p for s in settings for p in ("--set", s))], check=True, cwd=ROOT)
        seconds = time.perf_counter() - began
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    gaps = [line["engine/logprob_gap"] for line in found if "engine/logprob_gap" in line]
    said = f"a run of {len(found)} iterations, {'vLLM' if vllm else 'HF'}"
    if gaps:
        said += f", engine/logprob_gap at most {max(gaps):.1e}"
    yield {"what": said, "seconds": seconds}


def installed(package: str) -> str | None:
    """Its version; vLLM for CPUs is a distribution of another name."""
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def parts(label: str) -> list[str]:
    """What is measured of a shape, as far as it is installed."""
    large = label.endswith(LORA)
    found = [] if large else ["rollout-hf"]
    if importlib.util.find_spec("vllm"):
        found += ["rollout-vllm", "rollout-vllm-adapter"] if large else ["rollout-vllm"]
    found += ["training-siri"]
    # TRL's step here has neither adapter nor gradient checkpointing
    return found + (["training-trl"] if importlib.util.find_spec("trl") and not large else [])


def measured(part: str, label: str, options: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
    if part == "run":
        return whole_run(smoke=options.smoke)
    if part == "rollout-hf":
        return rollout_hf(label, options)
    if part.startswith("rollout-vllm"):
        return rollout_vllm(label, options, served=part.endswith("-adapter"))
    return training(label, options, part.removeprefix("training-"))


def apart(part: str, label: str, arguments: Sequence[str], *, smoke: bool) -> list[dict[str, Any]]:
    """Measure a part in a process of its own; what it printed before it broke counts too."""
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--part", part, "--shapes", label]
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if smoke else {})
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.removeprefix("ROW ") for line in done.stdout.splitlines() if line.startswith("ROW ")]
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    if done.returncode:
        sys.stderr.write(done.stderr[-6000:])
        why = (done.stderr.strip().splitlines() or ["no word"])[-1][:120]
        rows.append({"what": part, "broke": why})
    return rows


def row(label: str, found: Mapping[str, Any], peak: float | None) -> str:
    if "broke" in found:
        return (
            f"| {label or '–'} | {found['what']} | **broke**: {found['broke'].replace('|', '/')} "
            "| – | – | – | – |"
        )
    speed = found.get("speed")
    use = None
    if speed and peak and label:
        use = found["flops"] * shape_of(label).parameters * speed / peak / 1e12
    cells = [
        f"{speed:,.0f}" if speed else "–",
        f"{found['seconds']:.3f}" if "seconds" in found else "–",
        f"{use:.3f}" if use else "–",
        f"{found['peak']:.1f}" if found.get("peak") else "–",
        f"{found['loss']:.5f}" if "loss" in found else "–",
    ]
    return f"| {label or '–'} | {found['what']} | {' | '.join(cells)} |"


def table(rows: Sequence[str], name: str, options: argparse.Namespace) -> str:
    known = {package: installed(package) for package in ("torch", "transformers", "vllm", "trl")}
    versions = ", ".join(f"{package} {found or 'not installed'}" for package, found in known.items())
    return "\n".join(
        [
            "# One GPU",
            "",
            f"`python -m benchmarks.gpu` on {name}; {versions}. {options.episodes} episodes of "
            f"{options.turns} turns of {options.answer} tokens (1 to {2 * options.answer} where they vary) "
            f"after a prompt of about {options.prompt}; training on {options.rows} rows of "
            f"{options.length} tokens. Random weights; each row in a process of its own.",
            "",
            "| shape | what | tokens/s | seconds | MFU | peak GiB | loss |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=["Qwen2.5-0.5B", "Qwen2.5-1.5B", f"Qwen2.5-7B{LORA}"])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--smoke", action="store_true", help="every part at a toy shape, on the CPU")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="default: results/gpu.md on a GPU, nowhere on a CPU")
    arguments = sys.argv[1:]
    options = parser.parse_args(arguments)
    if options.smoke:
        for name, value in SMOKE.items():
            if name != "shapes" or not options.part:
                setattr(options, name, value)
    if options.part:
        for found in measured(options.part, options.shapes[0], options):
            print("ROW", json.dumps(found), flush=True)
        return 0
    cuda = the_device().type == "cuda" and not options.smoke
    name = torch.cuda.get_device_name() if cuda else "CPU (figures mean nothing)"
    peak = options.peak_tflops or next((v for k, v in PEAKS.items() if k in name), None)
    out = options.out or (RESULT if cuda else None)
    plan = [(label, part) for label in options.shapes for part in parts(label)] + [("", "run")]
    rows, broke = [], 0
    for label, part in plan:
        measurements = apart(part, label or "toy", arguments, smoke=options.smoke)
        broke += sum("broke" in each for each in measurements)
        rows += [row(label, each, peak) for each in measurements]
        print(*rows[-len(measurements) :], sep="\n", flush=True)
        if out is not None:
            out.write_text(table(rows, name, options), encoding="utf-8")
    print(table(rows, name, options))
    return 1 if broke else 0


if __name__ == "__main__":
    sys.exit(main())
