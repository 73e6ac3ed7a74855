"""How long GiGPO advantages take: siri's segment operations beside two per-row implementations in Python.

    python benchmarks/advantages.py --out benchmarks/results/advantages.md

All three compute the same numbers (checked in every run) on the same rows, on one thread: 16 groups of 8
episodes of 50 turns, then ever more groups. The first per-row implementation walks over tensors, element by
element, as trainers of this field do; the second over lists of floats, which is the best that plain Python
can do.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siri.algos import gigpo_advantages

GAMMA, EPSILON = 0.95, 1e-6


def rollout(turns: int, *, episodes: int = 8, length: int = 50) -> dict[str, Tensor]:
    """Rows of ``turns`` turns: groups of ``episodes`` episodes of ``length`` turns, 12 states in a group."""
    generator = torch.Generator().manual_seed(0)
    row = torch.arange(turns)
    episode = row // length
    won = torch.rand(int(episode.max()) + 1, generator=generator) < 0.4
    last = row % length == length - 1
    return {
        "rewards": torch.where(last & won[episode], 10.0, 0.0),
        "group": episode // episodes,
        "episode": episode,
        "anchor": torch.randint(0, 12, (turns,), generator=generator),
    }


def vectorised(rows: dict[str, Tensor]) -> Tensor:
    """siri."""
    return gigpo_advantages(
        rows["rewards"],
        group=rows["group"],
        episode=rows["episode"],
        anchor=rows["anchor"],
        gamma=GAMMA,
    )


def over_tensors(rows: dict[str, Tensor]) -> Tensor:
    """Per row, on the elements of tensors."""
    rewards, group, episode, anchor = rows.values()
    count = len(rewards)
    total: defaultdict[int, Any] = defaultdict(float)
    after: defaultdict[int, Any] = defaultdict(float)
    returns = torch.zeros(count)
    for n in reversed(range(count)):
        name = int(episode[n])
        total[name] = total[name] + rewards[n]
        after[name] = returns[n] = rewards[n] + GAMMA * after[name]
    scores = torch.stack([total[int(episode[n])] for n in range(count)])
    result = torch.zeros(count)
    for values, labels in ((scores, [(g,) for g in group.tolist()]), (returns, _pairs(group, anchor))):
        members: defaultdict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for n in range(count):
            members[labels[n]].append(values[n])
        mean, std = {}, {}
        for label, found in members.items():
            several = torch.stack(found)
            mean[label] = several.mean()
            std[label] = several.std() if len(found) > 1 else torch.tensor(0.0)
        for n in range(count):
            if std[labels[n]] > 1e-2:
                result[n] += (values[n] - mean[labels[n]]) / (std[labels[n]] + EPSILON)
    return result


def over_lists(rows: dict[str, Tensor]) -> Tensor:
    """Per row, on floats."""
    rewards, group, episode, anchor = (rows[name].tolist() for name in rows)
    total: defaultdict[int, float] = defaultdict(float)
    after: defaultdict[int, float] = defaultdict(float)
    returns = [0.0] * len(rewards)
    for n in reversed(range(len(rewards))):
        total[episode[n]] += rewards[n]
        after[episode[n]] = returns[n] = rewards[n] + GAMMA * after[episode[n]]
    scores = [total[name] for name in episode]
    result = [0.0] * len(rewards)
    for values, labels in ((scores, group), (returns, list(zip(group, anchor, strict=True)))):
        members: defaultdict[Any, list[float]] = defaultdict(list)
        for label, value in zip(labels, values, strict=True):
            members[label].append(value)
        mean = {label: statistics.fmean(found) for label, found in members.items()}
        std = {label: statistics.stdev(f, mean[label]) if len(f) > 1 else 0.0 for label, f in members.items()}
        for n, label in enumerate(labels):
            if std[label] > 1e-2:
                result[n] += (values[n] - mean[label]) / (std[label] + EPSILON)
    return torch.tensor(result)


def _pairs(group: Tensor, anchor: Tensor) -> list[tuple[int, ...]]:
    return list(zip(group.tolist(), anchor.tolist(), strict=True))


def seconds(run: Callable[[], object], *, repeats: int) -> float:
    """Processor time of the fastest of several runs: one thread, and no other program counts."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def measure(turns: int) -> list[str]:
    """One table row: all three at this size."""
    rows = rollout(turns)
    want = vectorised(rows)
    few = 1 if turns >= 10**5 else 3
    cells = [seconds(lambda: vectorised(rows), repeats=15)]
    for other in (over_tensors, over_lists):
        if turns > 10**5 and other is over_tensors:
            cells.append(float("nan"))
            continue
        torch.testing.assert_close(other(rows), want, atol=1e-3, rtol=1e-3)
        cells.append(seconds(lambda other=other: other(rows), repeats=few))  # type: ignore[misc]
    ours, tensors, lists = cells
    ratios = [f"{other / ours:.0f} ×" if other == other else "–" for other in (tensors, lists)]
    shown = [f"{1e3 * cell:.2f} ms" if cell == cell else "–" for cell in cells]
    return [f"{turns:,}", *shown, *ratios, f"{1e9 * ours / turns:.0f} ns"]


def report(table: Sequence[Sequence[str]]) -> str:
    """The page."""
    head = [
        "turns",
        "siri",
        "per row, tensors",
        "per row, lists",
        "tensors ÷ siri",
        "lists ÷ siri",
        "siri a turn",
    ]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---:"] * len(head), *table)]
    return "\n".join(
        [
            "# GiGPO advantages: time",
            "",
            "`python benchmarks/advantages.py`: groups of 8 episodes of 50 turns, fastest of 15 runs",
            "(per row: of 3, or 1 from 100,000 turns on), processor time on one thread, float32 with",
            "statistics in float64.",
            f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}.",
            "",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[6_400, 10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = report([measure(turns) for turns in arguments.sizes])
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
