"""Credit of tokens by a privileged teacher, in plain Python, from the papers. No torch, no siri."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, expm1, log
from statistics import fmean, pstdev

Ragged = Sequence[Sequence[float | None]]
"""Δ of each token of each turn; None where the token has no teacher."""


def sign(x: float) -> float:
    return (x > 0) - (x < 0)


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def known(gaps: Sequence[float | None]) -> list[float]:
    return [gap for gap in gaps if gap is not None]


def rlsd(advantages: Sequence[float], gaps: Ragged, level: str, lam: float, band: float) -> list[list[float]]:
    out = []
    for a, own in zip(advantages, gaps, strict=True):
        mean = fmean(known(own)) if known(own) else 0.0
        row = []
        for gap in own:
            d = 0.0 if gap is None else gap
            if level == "turn":
                d = mean
            row.append(a * (1 - lam + lam * clip(exp(sign(a) * clip(d, -20, 20)), 1 - band, 1 + band)))
        out.append(row)
    return out


def grsd(
    advantages: Sequence[float],
    gaps: Ragged,
    group: Sequence[int],
    success: Sequence[bool],
    lam: float,
    cap: float,
    floor: float,
) -> list[float]:
    q = [
        expm1(clip(sign(a) * fmean(known(own)), -20, 20)) if known(own) else None
        for a, own in zip(advantages, gaps, strict=True)
    ]
    out = []
    for i, a in enumerate(advantages):
        mine = [j for j in range(len(advantages)) if group[j] == group[i]]
        mixed = len({success[j] for j in mine}) == 2
        heard = [abs(gap) for j in mine for gap in known(gaps[j])]
        own = q[i]
        if own is None or not mixed or not heard or fmean(heard) < floor:
            out.append(a)
            continue
        scale = fmean(abs(q[j]) for j in mine if q[j] is not None)
        out.append(a * max(0.1, 1 + lam * clip(own / (scale + 1e-6), -cap, cap)))
    return out


def agent_opsd(
    advantages: Sequence[float],
    gaps: Ragged,
    episode: Sequence[int],
    prior: Sequence[float],
    lam: float,
    band: float,
    floor: float,
) -> list[float]:
    out = list(advantages)
    for e in set(episode):
        mine = [i for i in range(len(advantages)) if episode[i] == e]
        heard = [abs(gap) for i in mine for gap in known(gaps[i])]
        if not heard or fmean(heard) < floor:
            continue
        start = clip(prior[mine[0]], 1e-4, 1 - 1e-4)
        values, moved = [start], 0.0
        for i in mine:
            moved += sum(known(gaps[i]))
            belief = 1 / (1 + exp(-(log(start / (1 - start)) + moved)))
            values.append(clip(belief, 1e-6, 1 - 1e-6))
        gains = [b - a for a, b in pairwise(values)]
        for i, gain in zip(mine, gains, strict=True):
            z = (gain - fmean(gains)) / (pstdev(gains) + 1e-6)
            factor = clip(1 + band * sign(advantages[i]) * z, 1 - band, 1 + band)
            out[i] = advantages[i] * (1 - lam + lam * factor)
    return out


def opid(advantages: Sequence[float], gaps: Ragged, weight: float) -> list[list[float]]:
    return [[a + weight * (gap or 0.0) for gap in own] for a, own in zip(advantages, gaps, strict=True)]
