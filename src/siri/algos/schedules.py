"""Coefficients that change with the iteration."""

from __future__ import annotations

from siri.errors import ConfigError

__all__ = ["linear_warmup"]


def linear_warmup(iteration: int, *, start: int = 0, length: int = 20, peak: float = 0.1) -> float:
    """Linear rise to a constant (SIRI, arXiv 2606.02355).

        λ(k) = λ_max · min(1, (k − k₂ + 1) / K_w)   for k ≥ k₂, else 0

    Args:
        iteration: k.
        start: k₂, the first iteration with λ > 0.
        length: K_w ≥ 1, the iterations that the rise takes.
        peak: λ_max.

    Returns:
        λ(k).
    """
    if length < 1:
        raise ConfigError(f"got length={length}, expected at least 1; fix: use 1 for no warm-up")
    return peak * min(1.0, max(0, iteration - start + 1) / length)
