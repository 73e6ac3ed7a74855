"""Runs of today next to the committed ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from benchmarks.study.finished import Finished, Runs
from benchmarks.study.statistics import FEWEST, MEASURES
from siri.counting import counted

__all__ = ["compare"]


def compare(found: Sequence[Finished], others: Runs) -> int:
    """Set runs of one arm and regime beside the committed ones; 0 if they are of their kind.

    That is: each measure's mean over the m runs lies in the 95 % prediction interval of m more runs,
    mean ± t · s · √(1/m + 1/n), from the n committed runs of other seeds, and of all if there is no other.
    Fewer than three committed runs give no such interval; then each run has to equal its committed one.
    """
    own = Runs(found)
    [(regime, arm)] = {(regime, arm) for regime, arm, _ in own.of}
    fresh, known = own.seeds(regime, arm), others.seeds(regime, arm)
    beside = [seed for seed in known if seed not in fresh]
    beside = beside if len(beside) >= FEWEST else known
    judged = len(known) >= FEWEST
    apart = 0
    for name in MEASURES:
        values = own.measured(name, regime, arm, fresh)
        for seed, value in zip(fresh, values, strict=True):
            [old] = others.measured(name, regime, arm, [seed]) if seed in known else [None]
            print(f"{name}, seed {seed}: {value:.3f} ({'not' if old is None else f'{old:.3f}'} in the table)")
            apart += not judged and value != old
        if not judged:
            continue
        levels = others.measured(name, regime, arm, beside)
        spread = levels.std(ddof=1) * np.sqrt(1 / len(values) + 1 / len(levels))
        half = t.ppf(0.975, len(levels) - 1) * spread
        low, high = levels.mean() - half, levels.mean() + half
        inside = low <= values.mean() <= high
        print(
            f"{name}: {values.mean():.3f}; of {arm} in {regime}, {len(levels)} committed runs expect "
            f"[{low:.3f}, {high:.3f}] of {len(values)} more: {'inside' if inside else 'OUTSIDE'}"
        )
        apart += not inside
    if apart and not judged:
        few = counted(len(known), "committed run")
        print(f"not equal, and {few} of {arm} in {regime} cannot judge by how much")
    return 1 if apart else 0
