"""Slow losses over rows of tokens, written from the equations. No torch, no siri.

Rows are lists of lists; ``mask`` says which tokens count. Z is the number of them unless it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log, tanh

Rows = Sequence[Sequence[float]]
Flags = Sequence[Sequence[bool]]


def tokens(mask: Flags) -> list[tuple[int, int]]:
    """Places of the tokens that count."""
    return [(b, t) for b, row in enumerate(mask) for t, on in enumerate(row) if on]


def completions(mask: Flags) -> Iterator[list[tuple[int, int]]]:
    """Each uninterrupted stretch of a row."""
    for b, row in enumerate(mask):
        stretch: list[tuple[int, int]] = []
        for t, on in enumerate([*row, False]):
            if on:
                stretch.append((b, t))
            elif stretch:
                yield stretch
                stretch = []


def mean(terms: Sequence[float], z: float | None) -> float:
    """Σ / Z, 0 for nothing."""
    z = len(terms) if z is None else z
    return sum(terms) / z if z else 0.0


def surrogate(
    logp: Rows,
    old: Rows,
    advantage: Rows,
    mask: Flags,
    low: float,
    high: float,
    dual: float | None,
    ratio: str = "token",
    aggregation: str = "token",
    importance: Rows | None = None,
    z: float | None = None,
) -> float:
    """Mean of max(−A r, −A clip r), bounded by −A c when A < 0."""
    each = []
    for stretch in completions(mask):
        gaps = [logp[b][t] - old[b][t] for b, t in stretch]
        whole = exp(sum(gaps) / len(gaps))
        terms = []
        for (b, t), gap in zip(stretch, gaps, strict=True):
            a = advantage[b][t]
            r = whole if ratio == "sequence" else exp(gap)
            term = max(-a * r, -a * min(max(r, 1 - low), 1 + high))
            if a < 0 and dual is not None:
                term = min(term, -a * dual)
            terms.append(term * (importance[b][t] if importance is not None else 1.0))
        each += [sum(terms) / len(terms)] if aggregation == "sequence" else terms
    return mean(each, z)


def mismatch(
    trainer: Rows, engine: Rows, mask: Flags, limit: float, unit: str, outside: str
) -> list[list[float]]:
    """π_trainer / π_engine of a token, of its completion, or of the mean token of its completion."""
    found = [[0.0] * len(row) for row in mask]
    for stretch in completions(mask):
        whole = 1.0
        for b, t in stretch:
            whole *= exp(trainer[b][t] - engine[b][t])
        for b, t in stretch:
            r = {"token": exp(trainer[b][t] - engine[b][t]), "sequence": whole}.get(
                unit, whole ** (1 / len(stretch))
            )
            if outside == "truncate":
                found[b][t] = min(r, limit)
            elif 1 / limit <= r <= limit:
                found[b][t] = r
    return found


def kl_token(lp: float, lr: float, estimator: str) -> float:
    """k1, k2 or k3 of one token."""
    if estimator == "k1":
        return lp - lr
    return (lp - lr) ** 2 / 2 if estimator == "k2" else exp(lr) / exp(lp) - 1 - (lr - lp)


def kl(logp: Rows, reference: Rows, mask: Flags, estimator: str, z: float | None = None) -> float:
    """Mean of the estimate, clamped to ±10."""
    terms = [kl_token(logp[b][t], reference[b][t], estimator) for b, t in tokens(mask)]
    return mean([max(-10.0, min(10.0, term)) for term in terms], z)


def entropy(logits: Sequence[float]) -> float:
    """−Σ p log p."""
    total = sum(exp(x) for x in logits)
    return -sum(exp(x) / total * log(exp(x) / total) for x in logits)


def average(values: Rows, mask: Flags, z: float | None = None) -> float:
    """Mean of the masked values."""
    return mean([values[b][t] for b, t in tokens(mask)], z)


def gate(used: Flags, utility: Rows, action: Flags) -> list[list[bool]]:
    """Skill used ∧ beneficial ∧ action token."""
    return [
        [s and u > 0 and j for s, u, j in zip(*rows, strict=True)]
        for rows in zip(used, utility, action, strict=True)
    ]


def internalization(
    logp: Rows,
    advantage: Rows,
    chosen: Flags,
    response: Flags,
    cap: float,
    floor: float,
    clip: float | None = None,
    old: Rows | None = None,
) -> float:
    """−(1/Z) Σ gate·clip(A, 0, cap)·log π (or min(r, 1 + ε)), with Z = max(Σ gate, floor·Σ response)."""
    total = 0.0
    for b, t in tokens(chosen):
        weight = min(max(advantage[b][t], 0.0), cap)
        value = logp[b][t]
        if clip is not None and old is not None:
            value = min(exp(value - old[b][t]), 1 + clip)
        total += weight * value
    z = max(len(tokens(chosen)), floor * len(tokens(response)))
    return -total / z if z else 0.0


def reverse_kl(student: Rows, teacher: Rows, mask: Flags, z: float | None = None) -> float:
    """Mean of ½ (log π_S − log π_T)²."""
    return mean([0.5 * (student[b][t] - teacher[b][t]) ** 2 for b, t in tokens(mask)], z)


def gated(
    student: Rows, teacher: Rows, mask: Flags, sharpness: float | None, z: float | None = None
) -> float:
    """Mean of sigmoid(κ Δ) Δ with Δ = log π_T − log π_S; g = 1 without κ."""
    terms = []
    for b, t in tokens(mask):
        gap = teacher[b][t] - student[b][t]
        opening = 1.0 if sharpness is None else 0.5 * (1 + tanh(0.5 * sharpness * gap))
        terms.append(opening * gap)
    return mean(terms, z)


def importance_k3(student: Rows, teacher: Rows, old: Rows, mask: Flags, z: float | None = None) -> float:
    """Mean of ρ (exp(−l) − 1 + l) with l = log π_S − log π_T and ρ = π_S / π_old."""
    terms = []
    for b, t in tokens(mask):
        gap = student[b][t] - teacher[b][t]
        ratio = exp(min(student[b][t] - old[b][t], 10.0))
        terms.append(ratio * (exp(min(-gap, 20.0)) - 1 + gap))
    return mean(terms, z)


def view(
    student: Rows, teacher: Rows, weight: Rows, mask: Flags, sharpness: float | None, z: float | None = None
) -> float:
    """Mean of −w sigmoid(κ (log π_T − log π_S)) log π_S."""
    terms = []
    for b, t in tokens(mask):
        gap = teacher[b][t] - student[b][t]
        opening = 1.0 if sharpness is None else 0.5 * (1 + tanh(0.5 * sharpness * gap))
        terms.append(-weight[b][t] * opening * student[b][t])
    return mean(terms, z)


def top_k(student: Sequence[float], teacher: Sequence[float]) -> float:
    """KL(π_T ‖ π_S) over the given words and all others as one."""
    rest = max(1 - sum(exp(x) for x in teacher), 1e-6)
    left = max(1 - sum(exp(x) for x in student), 1e-6)
    inside = sum(exp(t) * (t - s) for s, t in zip(student, teacher, strict=True))
    return inside + rest * (log(rest) - log(left))
