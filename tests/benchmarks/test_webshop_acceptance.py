"""The acceptance script names the lines that a catalogue misses, and the fact that its docs rest on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from benchmarks import webshop_acceptance
from siri.envs.webshop import bundled_catalog

GOOD: dict[str, Any] = {
    "found": [0] * 7 + [20] * 3,
    "best": 1.0,
    "poor": (50.0, 0.02),
    "counts": [1, 2, 3],
}


def test_a_catalogue_that_keeps_every_line_misses_none() -> None:
    assert webshop_acceptance.verdicts(**GOOD) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"found": [0] * 10}, "top 10 100.0%"),
        ({"found": [0] * 5 + [20] * 5}, "top 10 50.0%"),
        ({"found": [0] * 7 + [1000] * 3}, "top 50 70.0%"),
        ({"best": 0.99}, "oracle"),
        ({"poor": (39.9, 0.02)}, "scores 39.9"),
        ({"poor": (65.1, 0.02)}, "scores 65.1"),
        ({"poor": (50.0, 0.1)}, "succeeds on 10.0%"),
        ({"counts": [1, 2, 3, 4]}, "25.0% of 4 goals have over 3 purchases, at most 4"),
        ({"counts": [1] * 99 + [5]}, "1.0% of 100 goals have over 3 purchases, at most 5"),
    ],
)
def test_each_line_is_judged(change: dict[str, Any], told: str) -> None:
    misses = webshop_acceptance.verdicts(**GOOD | change)
    assert len(misses) == 1
    assert told in misses[0]


def test_a_query_of_the_tiny_catalogue_has_more_products_than_a_page() -> None:
    counts = Counter(product.query for product in bundled_catalog("tiny").products)
    assert set(counts.values()) == {30}
