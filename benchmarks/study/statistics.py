"""The study's measures of a learning curve, and intervals over seeds.

Intervals are paired by seed: 10,000 bootstrap resamples of the seeds (fixed generator), and Student's t,
as a percentile bootstrap of 4 or 8 values is too narrow. Interquartile means use stratified resampling as in
Agarwal et al. 2021 (arXiv 2108.13264); the strata are the kinds of task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, trim_mean

__all__ = ["FEWEST", "MEASURES", "Floats", "area", "bootstrap", "iqm", "last_five", "student"]

Floats: TypeAlias = NDArray[np.float64]
FEWEST = 3
"""Seeds without which nothing is decided."""


def area(steps: Sequence[float], success: Sequence[float]) -> float:
    """Mean height of the curve: area under plain success divided by the range of environment steps."""
    x, y = np.asarray(steps, float), np.asarray(success, float)
    return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2 / (x[-1] - x[0]))


def last_five(steps: Sequence[float], success: Sequence[float]) -> float:
    """Mean of the last five evaluations."""
    del steps
    return float(np.mean(success[-5:]))


MEASURES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "area": area,
    "last five": last_five,
}
"""Fixed before any reported run."""


def bootstrap(values: Floats, *, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean over seeds, [S]."""
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def student(values: Floats) -> tuple[float, float]:
    """95 % interval of the mean by Student's t, for values [S] with S ≥ 2."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def iqm(scores: Floats, *, resamples: int = 2_000, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Interquartile mean over all runs and kinds, with a 95 % stratified bootstrap interval.

    Args:
        scores: [S, K], seeds × kinds; seeds are resampled within each kind.
        resamples: bootstrap samples.
        seed: of the private generator.
    """
    rng = np.random.default_rng(seed)
    seeds, kinds = scores.shape
    picks = rng.integers(0, seeds, (resamples, seeds, kinds))
    drawn = np.take_along_axis(np.broadcast_to(scores, (resamples, seeds, kinds)), picks, axis=1)
    means = trim_mean(drawn.reshape(resamples, -1), 0.25, axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(trim_mean(scores, 0.25, axis=None)), (float(low), float(high))
