from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import ConfigError
from siri.skills.stats import (
    betting,
    empirical_bernstein,
    hoeffding,
    log_capital,
    running_utility,
    shrink_toward,
    utilities,
    wilson,
)

deltas = st.lists(st.floats(-1, 1), max_size=40)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (9, 10, 0.5958, 0.9821),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_published_values(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_estimate_and_mirrors(case):
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("bad", [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_wilson_refuses(bad):
    with pytest.raises(ConfigError, match="expected"):
        wilson(*bad)


def test_running_utility_by_hand():
    assert running_utility([]) == 0.0
    assert running_utility([1.0, 0.0, -0.5], n_eval=8) == pytest.approx(1 / 6)
    assert running_utility([1.0, 0.0, 1.0], n_eval=2, ema=0.1) == pytest.approx(0.9 * 0.5 + 0.1)


@given(deltas, st.integers(1, 12), st.floats(0.01, 1))
def test_running_utility_is_bounded_by_the_data(values, n_eval, ema):
    utility = running_utility(values, n_eval=n_eval, ema=ema)
    assert -1 <= utility <= 1
    if values:
        assert min(values) - 1e-9 <= utility <= max(values) + 1e-9


def test_shrink_by_hand():
    assert shrink_toward(0.4, n=8, target=0.1, strength=4) == pytest.approx((8 * 0.4 + 4 * 0.1) / 12)
    assert shrink_toward(0.4, n=8, target=0.1, strength=0) == 0.4


@pytest.mark.parametrize("interval", [betting, empirical_bernstein, hoeffding])
def test_intervals_are_vacuous_without_data_and_narrow_with_it(interval):
    assert interval([]) == (-1.0, 1.0)
    widths = [high - low for low, high in (interval([0.5, 0.25] * n) for n in (8, 40, 200, 1000))]
    assert widths == sorted(widths, reverse=True)
    low, high = interval([0.5, 0.25] * 1000)
    assert low < 0.375 < high
    assert low > 0


@given(deltas)
def test_intervals_are_ordered_within_range_and_antisymmetric(values):
    for interval in (betting, empirical_bernstein, hoeffding):
        low, high = interval(values)
        assert -1 <= low <= high <= 1
        mirrored = interval([-v for v in values])
        assert mirrored == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("interval", [betting, empirical_bernstein, hoeffding])
@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_intervals_cover_at_all_times_at_once(interval, chance):
    """Peeking at many times, the fraction of sequences that ever miss stays below alpha."""
    rng = random.Random(7)
    peeks, misses, sequences = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128), 0, 200
    for _ in range(sequences):
        # Δ of two arms of four: what a group really yields; mean chance - 1/2
        values = [
            sum((rng.random() < chance) - (rng.random() < 0.5) for _ in range(4)) / 4
            for _ in range(peeks[-1])
        ]
        bounds = [interval(values[:n], 0.9) for n in peeks]
        misses += any(not low <= chance - 0.5 <= high for low, high in bounds)
    assert misses / sequences <= 0.1


def test_empirical_bernstein_uses_the_variance():
    low, high = empirical_bernstein([0.1, 0.0, 0.2, 0.1] * 50)
    wide_low, wide_high = hoeffding([0.1, 0.0, 0.2, 0.1] * 50)
    assert high - low < 0.7 * (wide_high - wide_low)


def capital(values, null, side):
    """The betting game played by hand, one round after another."""
    money, sign = 1.0, 1.0 if side == "above" else -1.0
    seen = []
    m = (sign * null + 1) / 2
    for value in values:
        # one pseudo-observation at 1/2 with squared distance 1/4; the distances are to the mean of their time
        mean = (0.5 + sum(seen)) / (len(seen) + 1)
        squares, partial = 0.25, 0.5
        for count, x in enumerate(seen, start=1):
            partial += x
            squares += (x - partial / (count + 1)) ** 2
        variance = squares / (len(seen) + 1)
        most = 0.9 / m if m > 0 else math.inf
        bet = min(max(0.0, (mean - m) / (variance + (mean - m) ** 2)), most)
        x = (sign * value + 1) / 2
        money *= 1 + bet * (x - m)
        seen.append(x)
    return money


@given(
    st.lists(st.integers(-4, 4).map(lambda n: n / 4), max_size=12),
    st.floats(-1, 1),
    st.sampled_from(["above", "below"]),
)
def test_log_capital_is_the_game_played_by_hand(values, null, side):
    assert math.exp(float(log_capital(values, null, side=side))) == pytest.approx(
        capital(values, null, side), rel=1e-9
    )


def test_betting_is_narrower_where_it_matters():
    values = [0.25, 0.5, 0.0, 0.25, 0.5, 0.25] * 4
    low, high = betting(values)
    other = empirical_bernstein(values)
    assert high - low < 0.6 * (other[1] - other[0])
    assert low > 0 > other[0]


def test_utilities_are_the_running_utility_of_each_beginning():
    values = [0.5, -0.25, 1.0, 0.0, -1.0]
    expected = tuple(running_utility(values[: n + 1], n_eval=2) for n in range(5))
    assert utilities(values, n_eval=2) == expected
