"""Slow advantages in plain Python, from the equations of GiGPO (arXiv 2505.10978). No torch, no siri."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

Rows = Sequence[float]
Ids = Sequence[int]


def returns(rewards: Rows, episode: Ids, gamma: float) -> list[float]:
    """G[t] = Σ_k γᵏ r[t+k]."""
    out = []
    for t in range(len(rewards)):
        later = [rewards[u] for u in range(t, len(rewards)) if episode[u] == episode[t]]
        out.append(sum(gamma**k * reward for k, reward in enumerate(later)))
    return out


def scores(rewards: Rows, episode: Ids, invalid: Sequence[bool], cost: float) -> list[float]:
    """S[t] = R − c·invalid[t]."""
    total = [sum(r for r, e in zip(rewards, episode, strict=True) if e == own) for own in episode]
    return [value - cost * bad for value, bad in zip(total, invalid, strict=True)]


def normalized(x: float, sample: Rows, alone: bool, normalize: str, ceiling: float) -> float:
    """(x − μ) / (σ + 1e-6), 0 without a peer or without spread."""
    if alone or len(sample) < 2 or stdev(sample) < 1e-3 * ceiling:
        return 0.0
    return (x - fmean(sample)) / (stdev(sample) + 1e-6 if normalize == "mean_std" else 1.0)


def episode_part(
    values: Rows, group: Ids, episode: Ids, normalize: str, statistics: str, ceiling: float = 10.0
) -> list[float]:
    """A_E."""
    out = []
    for x, g in zip(values, group, strict=True):
        rows = [n for n in range(len(values)) if group[n] == g]
        members = sorted({episode[n] for n in rows})
        if statistics == "per_turn":
            sample = [values[n] for n in rows]
        else:
            sample = [fmean(values[n] for n in rows if episode[n] == m) for m in members]
        out.append(normalized(x, sample, len(members) < 2, normalize, ceiling))
    return out


def step_part(values: Rows, group: Ids, anchor: Ids, normalize: str, ceiling: float = 10.0) -> list[float]:
    """A_S."""
    out = []
    for n in range(len(values)):
        peers = [m for m in range(len(values)) if group[m] == group[n] and anchor[m] == anchor[n]]
        sample = [values[m] for m in peers]
        out.append(normalized(values[n], sample, len(peers) < 2, normalize, ceiling))
    return out


def leave_one_out(values: Rows, group: Ids, episode: Ids) -> list[float]:
    """S[i,t] minus the mean score of the other episodes of the group."""
    out = []
    for n in range(len(values)):
        others = sorted({episode[m] for m in range(len(values)) if group[m] == group[n]} - {episode[n]})
        means = [fmean(values[m] for m in range(len(values)) if episode[m] == other) for other in others]
        out.append(values[n] - fmean(means) if means else 0.0)
    return out
