"""Goals: prices, order, weights, splits; by hand, and by property."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.webshop import build_goals, bundled_catalog, split_goals
from siri.envs.webshop.goals import NO_BOUND, draw_goal, draw_price_bound
from siri.errors import ConfigError

from .shop import goal, load, record

INS = {
    "attributes": ["soft", "warm"],
    "instruction": "Find me soft socks",
    "instruction_attributes": ["soft"],
}
OPTIONS = {
    "Size": [{"value": "L"}, {"value": "M"}],
    "Color": [{"value": "Red"}],
}


def test_the_tightest_bound_never_comes() -> None:
    """For 33: 40, 50, 60, 70; the larger of two of them is 50, 60, 70 with 1/6, 2/6, 3/6."""
    rng = random.Random(0)
    counts = Counter(draw_price_bound(33.0, rng) for _ in range(6000))
    assert set(counts) == {50.0, 60.0, 70.0}
    for bound, share in ((50.0, 1 / 6), (60.0, 2 / 6), (70.0, 3 / 6)):
        assert abs(counts[bound] / 6000 - share) < 0.02  # over three standard errors


@pytest.mark.parametrize(("price", "bounds"), [(970.0, {990.0}), (980.0, {NO_BOUND}), (5000.0, {NO_BOUND})])
def test_no_bound_at_the_top(price: float, bounds: set[float]) -> None:
    rng = random.Random(0)
    assert {draw_price_bound(price, rng) for _ in range(50)} == bounds


def test_a_price_on_a_bound_is_not_below_it() -> None:
    rng = random.Random(0)
    assert min(draw_price_bound(10.0, rng) for _ in range(200)) == 30.0  # 20 is the tightest above 10


def test_synthetic_goals_by_hand(tmp_path: Path) -> None:
    rows = [record("A", name="Socks", customization_options=OPTIONS), record("B"), record("C")]
    ins = {
        "A": INS,
        "B": {**INS, "instruction": None},
        "C": {**INS, "instruction_attributes": ["soft", "warm"]},
    }
    goals = build_goals(load(tmp_path, rows, ins))
    mine = sorted((g for g in goals if g.asin == "A"), key=lambda g: g.options)
    # sorted names: color before size, in the order of the values
    assert [g.options for g in mine] == [(("color", "red"), ("size", "l")), (("color", "red"), ("size", "m"))]
    assert len({g.price_upper for g in mine}) == 1  # one bound for the product
    bound = mine[0].price_upper
    assert mine[0].instruction == (
        f"Find me soft socks with color: red, and size: l, and price lower than {bound:.2f} dollars"
    )
    other = [g for g in goals if g.asin == "C"]
    assert len(other) == 2  # the size's two values; "B" has no instruction
    # soft: 2 goals of A and 2 of C; warm: 2 of C
    assert mine[0].weight == 1 / 4
    assert other[0].weight == (1 / 4 + 1 / 2) / 2


def test_an_option_without_values_gives_no_goal(tmp_path: Path) -> None:
    rows = [record("A", customization_options={"size": []}), record("B", customization_options=None)]
    goals = build_goals(load(tmp_path, rows, {"A": INS, "B": INS}))
    assert [g.asin for g in goals] == ["B"]


def test_human_goals_by_hand(tmp_path: Path) -> None:
    told = [
        {
            "instruction": "..i want a shirt.",
            "instruction_attributes": ["soft"],
            "instruction_options": ["8", "red"],
        },
        {"instruction": "nothing", "instruction_attributes": [], "instruction_options": []},
    ]
    [found] = build_goals(load(tmp_path, [record(pricing="$985")], {}, {"B000000001": told}), human=True)
    assert found.options == ("8", "red")
    assert found.instruction == "i want a shirt"  # dots stripped at both ends, no bound above 980
    assert found.price_upper == NO_BOUND
    assert found.weight == 1.0


def test_instruction_without_options_or_bound() -> None:
    assert goal(base="Find me x", price_upper=NO_BOUND).instruction == "Find me x"
    assert (
        goal(base="Find me x", price_upper=40.0).instruction
        == "Find me x, and price lower than 40.00 dollars"
    )


@pytest.mark.parametrize(
    ("count", "first"), [(6910, [3963, 2638, 2193, 1856]), (12087, [8655, 10304, 6940, 2750])]
)
def test_the_shuffle_is_upstreams(count: int, first: list[int]) -> None:
    """Old positions of the first goals, as observed with the original code."""
    from siri.envs.webshop.goals import SHUFFLE_SEED

    order = list(range(count))
    random.Random(SHUFFLE_SEED).shuffle(order)
    assert order[:4] == first


def test_build_goals_shuffles_so() -> None:
    catalog = bundled_catalog("tiny")
    goals = build_goals(catalog)
    order = list(range(len(goals)))
    random.Random(233).shuffle(order)
    back = dict(zip(order, goals, strict=True))
    unshuffled = [back[n].asin for n in range(len(goals))]
    wanted = [p.asin for p in catalog.products if p.instruction]
    assert list(dict.fromkeys(unshuffled)) == wanted
    assert build_goals(catalog) == goals
    assert build_goals(catalog, seed=1) != goals
    assert sorted(map(repr, build_goals(catalog, seed=1))) == sorted(map(repr, goals))


def test_splits_by_hand() -> None:
    assert dict(split_goals(6910)) == {"valid": range(500), "train": range(500, 6910)}
    original = split_goals(12087, layout="original")
    assert dict(original) == {"valid": range(500), "eval": range(500, 1500), "train": range(1500, 12087)}
    assert dict(split_goals(120)) == {"valid": range(40), "train": range(40, 120)}
    with pytest.raises(ConfigError, match="layout 'mine'"):
        split_goals(10, layout="mine")  # type: ignore[arg-type]


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 3), st.sampled_from(["verl-agent", "original"]), st.booleans()
)
def test_no_validation_goal_is_trained_on(seed: int, shop: int, layout: str, human: bool) -> None:
    """For every seed of the shuffle; by identity of the goal, not only by position."""
    goals = build_goals(bundled_catalog("tiny", seed=shop % 2), human=human, seed=seed)
    splits = split_goals(len(goals), layout=layout)  # type: ignore[arg-type]
    keys = [(g.asin, g.base, g.options, g.price_upper) for g in goals]
    if not human:
        assert len(set(keys)) == len(keys)
        parts = [{keys[n] for n in numbers} for numbers in splits.values()]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(goals)
    positions = [n for numbers in splits.values() for n in numbers]
    assert sorted(positions) == list(range(len(goals)))


def test_drawing_by_weight_is_off_by_one() -> None:
    rng = random.Random(0)
    counts = Counter(draw_goal([1.0] * 4, rng) for _ in range(8000))
    assert set(counts) == {1, 2, 3}
    for index, share in ((1, 0.25), (2, 0.25), (3, 0.5)):
        assert abs(counts[index] / 8000 - share) < 0.02
