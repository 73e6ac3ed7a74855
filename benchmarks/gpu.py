"""Rollout and training speed on one GPU, on random weights in the shapes of Qwen2.5-0.5B and 1.5B.

Rollouts: episodes of several turns through ``HFPolicy`` in bfloat16. Training: ``Learner.update`` with
float32 weights and bfloat16 passes, beside TRL's GRPO loss on the same tokens where TRL is installed. MFU
counts 6 FLOPs a parameter and trained token (2 a sampled one) over ``--peak-tflops``.

    python -m benchmarks.gpu [--shapes Qwen2.5-0.5B Qwen2.5-1.5B] [--peak-tflops 989]

On a CPU: python -m benchmarks.gpu --shapes toy --episodes 4 --turns 2 --rows 2 --length 128
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import train_step
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.runs.planning import SHAPES, Shape
from siri.types import Message, Request, Sampling

RESULT = Path(__file__).parent / "results" / "gpu.md"
TOY = Shape(2, 64, 128, 4, 2, 1000, True)
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bfloat16 TFLOP/s, by the maker's data sheet."""


def make_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    config = Qwen2Config(
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
    with device:
        model: Any = Qwen2ForCausalLM(config)
    return model.to(dtype)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> float:
    """GiB since the last reset; 0 on a CPU, where benchmarks/train_step.py measures it."""
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0


def fresh_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def timed(step: Callable[[], Any], device: torch.device, repeats: int) -> float:
    step()
    wait(device)
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    wait(device)
    return (time.perf_counter() - began) / repeats


def rollouts(shape: Shape, options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Sampled tokens per second, and peak GiB."""
    fresh_peak(device)
    tokenizer = HFPolicy.load(base_path(), slots=1).tokenizer
    model = make_model(shape, device, torch.bfloat16 if device.type == "cuda" else torch.float32).eval()
    # random weights hardly ever stop, so every completion has all its tokens
    policy = HFPolicy(model, tokenizer, slots=options.episodes)
    opening = "You see a desk 1. " * (options.prompt // 6)
    chats: list[list[Message]] = [
        [{"role": "user", "content": f"{opening} {n}"}] for n in range(options.episodes)
    ]
    sampling = Sampling(temperature=1.0, max_tokens=options.answer)
    tokens, seconds = 0, 0.0
    for turn in range(options.turns + 1):
        requests = [Request(chat, session=str(n), seed=n * 97 + turn) for n, chat in enumerate(chats)]
        wait(device)
        began = time.perf_counter()
        done = policy.generate(requests, sampling)
        wait(device)
        if turn:  # the first one warms up, and holds the long prompt
            seconds += time.perf_counter() - began
            tokens += sum(len(c.completion_ids) for c in done)
        for chat, completion in zip(chats, done, strict=True):
            chat += [{"role": "assistant", "content": completion.text}]
            chat += [{"role": "user", "content": "Nothing happens."}]
    return tokens / seconds, peak_memory(device)


def training(
    side: str, shape: Shape, options: argparse.Namespace, device: torch.device
) -> tuple[float, float, float]:
    """Trained tokens (all positions) per second, peak GiB, and the loss of the first step."""
    fresh_peak(device)
    torch.default_generator.manual_seed(0)
    model = make_model(shape, device, torch.float32)
    ids, own, advantages, old = train_step.data("transcript", options.rows, options.length)
    ids = ids % shape.vocabulary
    losses: list[float] = []
    if side == "siri":
        accelerator = Accelerator(mixed_precision="bf16" if device.type == "cuda" else "no")
        run = train_step.siri_step(model, ids, own, advantages, old, accelerator=accelerator)
        step = lambda: losses.append(run())  # noqa: E731
    else:
        moved = [tensor.to(device) for tensor in (ids, own, advantages, old)]
        inner = train_step.trl_step(model, *moved)

        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses.append(inner())

    seconds = timed(step, device, options.repeats)
    return options.rows * options.length / seconds, peak_memory(device), losses[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["Qwen2.5-0.5B", "Qwen2.5-1.5B"])
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=1024)
    parser.add_argument("--answer", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float)
    parser.add_argument("--out", type=Path, help="default: results/gpu.md on a GPU, nowhere on a CPU")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU (figures mean nothing)"
    peak = options.peak_tflops or next((v for k, v in PEAKS.items() if k in name), None)
    sides = ["siri", *(["trl"] if importlib.util.find_spec("trl") else [])]
    rows = []
    for label in options.shapes:
        shape = TOY if label == "toy" else SHAPES[label]
        speed, memory = rollouts(shape, options, device)
        use = f"{2 * shape.parameters * speed / peak / 1e12:.3f}" if peak else "–"
        rows.append(f"| {label} | rollout, siri | {speed:,.0f} | {use} | {memory:.1f} | – |")
        for side in sides:
            speed, memory, loss = training(side, shape, options, device)
            use = f"{6 * shape.parameters * speed / peak / 1e12:.3f}" if peak else "–"
            rows.append(f"| {label} | training, {side} | {speed:,.0f} | {use} | {memory:.1f} | {loss:.5f} |")
        print(*rows[-3:], sep="\n", flush=True)
    trl = f", trl {version('trl')}" if "trl" in sides else ""
    text = "\n".join(
        [
            "# One GPU",
            "",
            f"`python -m benchmarks.gpu` on {name}; torch {version('torch')}, transformers "
            f"{version('transformers')}{trl}. {options.episodes} episodes of {options.turns} turns of "
            f"{options.answer} tokens after a prompt of about {options.prompt}; training on {options.rows} "
            f"rows of {options.length} tokens.",
            "",
            "| shape | what | tokens/s | MFU | peak GiB | loss |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    out = options.out or (RESULT if device.type == "cuda" else None)
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
