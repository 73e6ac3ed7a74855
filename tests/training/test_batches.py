"""Mini-batches, their parts and their normalisers."""

from __future__ import annotations

from itertools import pairwise

from siri.training.batches import Totals, micro_batches, minibatches
from tests.training.hand import make_group, rows_of


def test_minibatches_hold_both_kinds_and_depend_on_the_seed_only() -> None:
    rows = rows_of([make_group()] * 4)
    parts = minibatches(rows, count=3, seed=1)
    assert parts == minibatches(rows, count=3, seed=1)
    assert sum(map(len, parts)) == len(rows)
    assert all({row.kind for row in part} == {"rl", "int"} for part in parts)
    totals = [Totals.of(part) for part in parts]
    assert sum(t.rl_tokens for t in totals) == 24
    assert sum(t.int_tokens for t in totals) == 12
    assert len(minibatches(rows[:2], count=9, seed=0)) == 2


def test_micro_batches_respect_the_budget() -> None:
    rows = rows_of([make_group()] * 3)
    parts = micro_batches(rows, max_tokens=12)
    assert sum(map(len, parts)) == len(rows)
    assert all(len(part) * max(len(row.ids) for row in part) <= 12 for part in parts)
    assert all(len(a[-1].ids) >= len(b[0].ids) for a, b in pairwise(parts))
    assert all(len(part) == 1 for part in micro_batches(rows, max_tokens=1))
