"""Seconds of a push of weights to a vLLM server, by tensors and by checkpoint, in turn.

    python -m benchmarks.push MODEL http://127.0.0.1:8000     # writes benchmarks/results/push.md

MODEL is the folder that the server serves. Start the server as docs/how-to/scaling.md says, with a backend
for tensors.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch

from siri.models.weights import outlines
from siri.policies.checkpoints import load_model, load_tokenizer
from siri.policies.vllm_server import VLLMServerPolicy

RESULT = Path(__file__).parent / "results" / "push.md"
WAYS: tuple[Literal["tensors", "checkpoint"], ...] = ("tensors", "checkpoint")


def measured(model: Any, tokenizer: Any, url: str, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each push, until the server has the weights, by the way that they took."""
    found: dict[str, list[float]] = {}
    policies = [VLLMServerPolicy(model, tokenizer, url=url, slots=1, transfer=way) for way in WAYS]
    for _ in range(rounds):
        for policy in policies:
            policy.reset_cache()
            began = time.perf_counter()
            policy._update()
            found.setdefault(policy.transfer, []).append(time.perf_counter() - began)
    for policy in policies:
        policy.close()
    return found


def table(found: Mapping[str, Sequence[float]], size: int) -> str:
    """The page of results."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, CPU"
    pushes, base = len(found["checkpoint"]), median(found["checkpoint"])
    lines = [
        "# Seconds of a push to a vLLM server",
        "",
        f"By `python -m benchmarks.push`: {size / 1e6:,.0f} MB of weights, {pushes} pushes each way in turn, "
        f"on {where}.",
        "",
        "| way | median | least | of the checkpoint |",
        "|---|---|---|---|",
    ]
    for way, seconds in found.items():
        middle = median(seconds)
        lines.append(f"| {way} | {middle:.2f} | {min(seconds):.2f} | {middle / base:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    model, tokenizer = load_model(given.model), load_tokenizer(given.model)
    found = measured(model, tokenizer, given.url, rounds=given.rounds)
    given.out.write_text(table(found, sum(weight.nbytes for weight in outlines(model))), encoding="utf-8")
    print(given.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
