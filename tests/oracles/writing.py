"""Advantages of written texts in plain Python. No torch, no siri."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev


def advantages(
    rewards: Sequence[float], group: Sequence[int], floor: float, limit: float | None
) -> list[float]:
    out = []
    for own, g in zip(rewards, group, strict=True):
        mine = [r for r, other in zip(rewards, group, strict=True) if other == g]
        value = (own - fmean(mine)) / max(pstdev(mine), floor) if len(mine) > 1 else 0.0
        out.append(value if limit is None else min(max(value, -limit), limit))
    return out
