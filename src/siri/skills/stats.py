"""Small statistics of skill evaluation, as pure functions of numbers. No state, no siri types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from siri.errors import ConfigError

__all__ = ["Interval", "empirical_bernstein", "hoeffding", "running_utility", "shrink_toward", "wilson"]

Interval = tuple[float, float]
"""(lower end, upper end)."""


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"got confidence={confidence}, expected a number between 0 and 1; fix: e.g. 0.95")


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; (0, 1) without trials.

    centre = (p + z²/2n) / (1 + z²/n),  radius = z √(p(1-p)/n + z²/4n²) / (1 + z²/n)

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    _check_confidence(confidence)
    if n < 0 or not 0 <= successes <= n:
        raise ConfigError(f"got {successes} successes of {n}, expected 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    radius = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale
    # The ends are exact at p = 0 and p = 1; rounding must not push them past the estimate.
    return min(p, max(0.0, centre - radius)), max(p, min(1.0, centre + radius))


def running_utility(differences: Iterable[float], *, n_eval: int = 8, ema: float = 0.1) -> float:
    """Utility of a skill: the mean of its first ``n_eval`` differences, then an average that forgets.

    u_n = u_{n-1} + (Δ_n - u_{n-1}) · (1/n if n <= n_eval else ema),  u_0 = 0

    Every step is a convex combination, so differences in [-1, 1] give u in [-1, 1].
    """
    utility = 0.0
    for n, delta in enumerate(differences, start=1):
        weight = 1.0 / n if n <= n_eval else ema
        utility = (1.0 - weight) * utility + weight * delta
    return min(1.0, max(-1.0, utility))


def shrink_toward(value: float, *, n: int, target: float, strength: float) -> float:
    """Pull an estimate from ``n`` observations toward ``target``, which counts ``strength`` observations.

    (n · value + strength · target) / (n + strength)
    """
    if strength <= 0.0 or n <= 0:
        return value
    return (n * value + strength * target) / (n + strength)


def hoeffding(differences: Sequence[float], confidence: float = 0.95, *, tuned_for: int = 32) -> Interval:
    """Anytime-valid interval of the mean of differences in [-1, 1]: two-sided normal mixture.

    P(∃ n: |S_n - Σ μ_i| >= √((n + ρ) log((n + ρ) / (α² ρ)))) <= α     with ρ tightest near n = tuned_for

    A variable in [-1, 1] is 1-sub-Gaussian, so the intrinsic time is n.
    Source: Howard, Ramdas, McAuliffe and Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", eq. 14 (arXiv 1810.08240).
    """
    _check_confidence(confidence)
    n = len(differences)
    if n == 0:
        return -1.0, 1.0
    alpha = 1.0 - confidence
    # Howard et al.: the ρ that is best at one intrinsic time, Lambert's W approximated by its logarithms.
    rho = tuned_for / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))
    radius = math.sqrt((n + rho) * (math.log((n + rho) / rho) + 2 * math.log(1 / alpha))) / n
    mean = math.fsum(differences) / n
    return max(-1.0, mean - radius), min(1.0, mean + radius)


def empirical_bernstein(
    differences: Sequence[float], confidence: float = 0.95, *, bet_cap: float = 0.5
) -> Interval:
    """Anytime-valid interval of the mean of differences in [-1, 1] that narrows with their variance.

    With X = (Δ + 1) / 2 in [0, 1] and predictable λ_i (a function of X_1 … X_{i-1} only):

    Σ λ_i X_i / Σ λ_i  ±  (log(2/α) + Σ (X_i - m_{i-1})² · (-log(1-λ_i) - λ_i)) / Σ λ_i
    λ_i = min( √(2 log(2/α) / (v_{i-1} · i · log(1 + i))), bet_cap )

    Valid at every n at once, so it may be looked at after each group. When the conditional means drift
    (training moves them), it covers their λ-weighted average; that is why the intervals of earlier n are
    not intersected. Source: Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables
    by betting", theorem 2 (arXiv 2010.09686), from Howard et al. 2021, theorem 4 (arXiv 1810.08240).
    """
    _check_confidence(confidence)
    level = math.log(2.0 / (1.0 - confidence))
    mean, variance = 0.5, 0.25  # regularised by one pseudo-observation at 1/2
    total, squares = 0.5, 0.25
    weights = weighted = penalty = 0.0
    for i, delta in enumerate(differences, start=1):
        x = (delta + 1.0) / 2.0
        bet = min(math.sqrt(2.0 * level / (variance * i * math.log(1.0 + i))), bet_cap)
        weights += bet
        weighted += bet * x
        penalty += (x - mean) ** 2 * (-math.log1p(-bet) - bet)
        total += x
        mean = total / (i + 1)
        squares += (x - mean) ** 2
        variance = squares / (i + 1)
    if weights == 0.0:
        return -1.0, 1.0
    centre, radius = 2.0 * weighted / weights - 1.0, 2.0 * (level + penalty) / weights
    return max(-1.0, centre - radius), min(1.0, centre + radius)
