"""Slow losses over flat lists of tokens, written from the equations. No torch, no siri."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

Row = Sequence[float]


def surrogate(
    logp: Row, old: Row, advantage: Row, mask: Sequence[bool], low: float, high: float, dual: float
) -> float:
    """Mean of max(−A r, −A clip r), bounded by −A c when A < 0."""
    terms = []
    for lp, lo, a, m in zip(logp, old, advantage, mask, strict=True):
        if not m:
            continue
        r = exp(lp - lo)
        term = max(-a * r, -a * min(max(r, 1 - low), 1 + high))
        terms.append(min(term, -a * dual) if a < 0 else term)
    return sum(terms) / max(len(terms), 1)


def kl(logp: Row, reference: Row, mask: Sequence[bool], estimator: str) -> float:
    """Mean of the k1, k2 or k3 estimate, clamped to ±10."""
    terms = []
    for lp, lr, m in zip(logp, reference, mask, strict=True):
        if m:
            log_r = lr - lp
            value = {"k1": -log_r, "k2": log_r**2 / 2, "k3": exp(log_r) - 1 - log_r}[estimator]
            terms.append(max(-10.0, min(10.0, value)))
    return sum(terms) / max(len(terms), 1)


def internalization(
    logp: Row,
    advantage: Row,
    used: Sequence[bool],
    utility: Row,
    action: Sequence[bool],
    response: Sequence[bool],
    cap: float,
    floor: float,
) -> float:
    """−(1/Z) Σ gate·clip(A, 0, cap)·log π, with Z = max(Σ gate, floor·Σ response)."""
    gate = [s and u > 0 and j for s, u, j in zip(used, utility, action, strict=True)]
    total = sum(min(max(a, 0.0), cap) * lp for g, a, lp in zip(gate, advantage, logp, strict=True) if g)
    z = max(sum(gate), floor * sum(response))
    return -total / z if z else 0.0
