"""The bundled catalogue: its schema, its families, and what scripted agents score on it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from siri.envs.webshop import (
    SearchIndex,
    build_goals,
    bundled_catalog,
    load_catalog,
    make_catalog,
    naive,
    oracle,
    play,
    reward,
    shared_index,
    write_catalog,
)
from siri.envs.webshop.lexicon import BRANDS, CATEGORIES, SHOE_SIZES
from siri.envs.webshop.reward import fuzzy_match, normalize_color, option_reward
from siri.errors import ConfigError


def test_deterministic_and_of_the_size_asked_for() -> None:
    assert make_catalog(40, seed=3) == make_catalog(40, seed=3)
    assert make_catalog(40, seed=3) != make_catalog(40, seed=4)
    for count in (1, 4, 5, 61):
        items, ins, _ = make_catalog(count)
        assert len(items) == len(ins) == count
    assert sum(len(rows) for rows in make_catalog(40, human=7)[2].values()) == 7
    with pytest.raises(ConfigError, match="products=0"):
        make_catalog(0)
    with pytest.raises(ConfigError, match="catalogue 'big'"):
        bundled_catalog("big")


def test_the_files_go_through_the_loader(tmp_path: Path) -> None:
    catalog = load_catalog(*write_catalog(tmp_path, 60, seed=0), name="siri-shop-tiny")
    assert catalog.products == bundled_catalog("tiny").products
    assert catalog.name == bundled_catalog("tiny").name == "siri-shop-tiny"


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("human", [False, True])
def test_the_oracle_is_perfect_and_the_naive_agent_is_not(size: str, human: bool) -> None:
    catalog = bundled_catalog(size)
    goals = build_goals(catalog, human=human)
    index = shared_index(catalog)
    shown = goals[::3] if size == "small" else goals  # benchmarks/webshop_acceptance.py plays them all
    best = play(oracle, catalog, shown, index=index)
    assert (best.task_score, best.success, best.n) == (100.0, 1.0, len(shown))
    poor = play(naive, catalog, shown, index=index)
    assert 40 <= poor.task_score <= 65
    assert poor.success < 0.1


def test_the_first_page_of_hits_often_lacks_the_product() -> None:
    catalog = bundled_catalog("tiny")
    goals, index = build_goals(catalog), shared_index(catalog)
    assert 140 <= len(goals) <= 180
    hits = [[catalog.products[n].asin for n in index.search(goal.instruction.lower())] for goal in goals]
    first = sum(goal.asin in found[:10] for goal, found in zip(goals, hits, strict=True))
    assert 0.6 <= first / len(goals) <= 0.85
    assert all(goal.asin in found for goal, found in zip(goals, hits, strict=True))


def test_families_differ_in_what_has_to_be_read() -> None:
    catalog = bundled_catalog("small")
    families: dict[tuple[str, ...], list] = {}
    for product in catalog.products:
        families.setdefault((product.query, *product.title.split()[:3]), []).append(product)
    whole = [family for family in families.values() if len(family) == 5]
    assert len(whole) > 150
    for family in whole[:50]:
        assert len({p.attributes for p in family}) == 3  # as it is, another attribute, another material
        assert len({p.price for p in family if " to " not in p.price_text}) >= 1
        assert max(p.price for p in family) > min(p.price for p in family)


@pytest.mark.parametrize(("human", "most"), [(False, 4), (True, 3)])
def test_no_goal_is_satisfied_by_many_purchases(human: bool, most: int) -> None:
    catalog = bundled_catalog("tiny")
    counts = []
    for goal in build_goals(catalog, human=human):
        found = 0
        for product in catalog.products:
            for names in itertools.combinations(product.options, len(goal.options)):
                for values in itertools.product(*[product.options[name] for name in names]):
                    found += reward(product, goal, options=dict(zip(names, values, strict=True))).total == 1.0
        counts.append(found)
    assert min(counts) >= 1
    assert max(counts) <= most
    assert sorted(counts)[int(0.95 * len(counts))] <= 3


def test_every_option_value_satisfies_itself() -> None:
    """ "rustic" would not: it contains a colour, "rust", and then no longer equals itself."""
    for category in CATEGORIES:
        for name, values in category.options.items():
            for value in (*values, *SHOE_SIZES):
                assert option_reward([value], [(name, value)])[1] == 1, value
                assert option_reward([value], [value])[1] == 1, value


def test_attributes_are_told_apart() -> None:
    for category in CATEGORIES:
        words = [*category.adjectives, *category.features, *category.uses, *category.materials]
        assert len(set(words)) == len(words)
        assert all(normalize_color(word) is not None for word in words)
        for left, right in itertools.permutations(words, 2):
            assert not fuzzy_match(left, right), (left, right)


def test_brands_are_words_that_no_attribute_holds() -> None:
    assert len(set(BRANDS)) == len(BRANDS)


def test_another_index_is_built_when_it_is_not_the_catalogues() -> None:
    catalog, other = bundled_catalog("tiny"), bundled_catalog("tiny", seed=1)
    goals = build_goals(catalog)[:5]
    assert play(oracle, catalog, goals, index=SearchIndex.build(other)).success == 1.0
