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


def normalized(
    x: float,
    sample: Rows,
    alone: bool,
    normalize: str,
    ceiling: float,
    centre: Rows = (),
    least: float = 0.0,
) -> float:
    """(x − μ) / (max(σ, least) + 1e-7·R_max); 0 without a peer or spread; μ of ``centre`` if there is one."""
    if alone or len(sample) < 2 or stdev(sample) < 1e-3 * ceiling:
        return 0.0
    deviation = max(stdev(sample), least) + 1e-7 * ceiling
    return (x - fmean(centre or sample)) / (deviation if normalize == "mean_std" else 1.0)


def lost(totals: Rows, group: Ids, ceiling: float = 10.0) -> list[bool]:
    """Whether every rollout of the row's group failed: equal returns, below R_max."""
    out = []
    for g in group:
        own = [total for total, other in zip(totals, group, strict=True) if other == g]
        out.append(max(own) - min(own) < 1e-3 * ceiling and max(own) < 0.999 * ceiling)
    return out


def episode_part(
    values: Rows,
    group: Ids,
    episode: Ids,
    normalize: str,
    statistics: str,
    ceiling: float = 10.0,
    baseline: Sequence[bool] | None = None,
    bounded: Sequence[bool] | None = None,
) -> list[float]:
    """A_E; with a baseline, μ over its rows (or its episodes). σ is R_max/2 at least in bounded groups."""
    out = []
    for position, (x, g) in enumerate(zip(values, group, strict=True)):
        least = ceiling / 2 if bounded is not None and bounded[position] else 0.0
        rows = [n for n in range(len(values)) if group[n] == g]
        members = sorted({episode[n] for n in rows})
        kept = [n for n in rows if baseline is not None and baseline[n]]
        if statistics == "per_turn":
            sample = [values[n] for n in rows]
            centre = [values[n] for n in kept]
        else:
            mean = {m: fmean(values[n] for n in rows if episode[n] == m) for m in members}
            sample = list(mean.values())
            centre = [mean[m] for m in sorted({episode[n] for n in kept})]
        out.append(normalized(x, sample, len(members) < 2, normalize, ceiling, centre, least))
    return out


def step_part(
    values: Rows,
    group: Ids,
    anchor: Ids,
    normalize: str,
    ceiling: float = 10.0,
    bounded: Sequence[bool] | None = None,
    free: Rows = (),
) -> list[float]:
    """A_S; σ is R_max/2 at least in bounded groups where ``free``, returns without penalties, are equal."""
    out = []
    for n in range(len(values)):
        peers = [m for m in range(len(values)) if group[m] == group[n] and anchor[m] == anchor[n]]
        sample = [values[m] for m in peers]
        least = 0.0
        if bounded is not None and bounded[n]:
            env = [free[m] for m in peers]
            least = ceiling / 2 if max(env) - min(env) < 1e-3 * ceiling else 0.0
        out.append(normalized(values[n], sample, len(peers) < 2, normalize, ceiling, least=least))
    return out


def leave_one_out(values: Rows, group: Ids, episode: Ids) -> list[float]:
    """S[i,t] minus the mean score of the other episodes of the group."""
    out = []
    for n in range(len(values)):
        others = sorted({episode[m] for m in range(len(values)) if group[m] == group[n]} - {episode[n]})
        means = [fmean(values[m] for m in range(len(values)) if episode[m] == other) for other in others]
        out.append(values[n] - fmean(means) if means else 0.0)
    return out


def utility(success: Sequence[bool], group: Ids, skill: Sequence[bool], level: str) -> list[float]:
    """U of each episode: own or mean skill success, minus the mean of the plain arm of the same group."""
    out = []
    for i in range(len(success)):
        peers = [j for j in range(len(success)) if group[j] == group[i]]
        plain = [float(success[j]) for j in peers if not skill[j]]
        treated = [float(success[j]) for j in peers if skill[j]]
        if not skill[i] or not plain:
            out.append(0.0)
        else:
            out.append((float(success[i]) if level == "episode" else fmean(treated)) - fmean(plain))
    return out


def clusters(features: Sequence[Rows], group: Ids, threshold: float) -> list[int]:
    """Leaders: commonest rows first, then the smaller features; a row joins the first that is near enough."""

    def cosine(a: Rows, b: Rows) -> float:
        norms = sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5
        return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0

    kinds = sorted({(g, tuple(f)) for g, f in zip(group, features, strict=True)})
    count = {k: sum((g, tuple(f)) == k for g, f in zip(group, features, strict=True)) for k in kinds}
    leaders: list[tuple[int, tuple[float, ...]]] = []
    home: dict[tuple[int, tuple[float, ...]], int] = {}
    for kind in sorted(kinds, key=lambda k: -count[k]):
        for number, leader in enumerate(leaders):
            if leader[0] == kind[0] and cosine(leader[1], kind[1]) >= threshold:
                home[kind] = number
                break
        else:
            home[kind] = len(leaders)
            leaders.append(kind)
    return [home[(g, tuple(f))] for g, f in zip(group, features, strict=True)]
