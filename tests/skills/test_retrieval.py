from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import ConfigError
from siri.skills import Evidence, Retriever, SkillBank
from siri.types import SkillStatus
from tests.skills.helpers import make_skill, make_task

ACTIVE, CANDIDATE, RETIRED = SkillStatus.ACTIVE, SkillStatus.CANDIDATE, SkillStatus.RETIRED


def bank_of(*rows):
    """Rows of (strategy, condition, status, uses)."""
    bank = SkillBank()
    for strategy, condition, status, uses in rows:
        skill = make_skill(strategy, condition=condition)
        assert bank.add(skill)
        bank.update(skill.id, status, Evidence((0.5,) * uses, 0.5), 0)
    return bank


def chosen(bank, seed=0, **kw):
    return [s.strategy for s in Retriever(**kw).select(bank, make_task(goal="heat some apple"), seed)]


def test_nothing_for_an_unknown_kind_or_retired_skills():
    bank = bank_of(("gone", "heat", RETIRED, 9))
    assert chosen(bank) == []
    assert Retriever().select(bank, make_task("other")) == ()


def test_active_skills_by_similarity():
    bank = bank_of(
        ("far", "you clean a mug", ACTIVE, 8),
        ("near", "you heat an apple", ACTIVE, 8),
        ("mid", "you heat", ACTIVE, 8),
    )
    assert chosen(bank) == ["near", "mid"]
    assert chosen(bank, top_k=1) == ["near"]


def test_candidates_alone_and_one_is_finished_first():
    bank = bank_of(
        ("new", "heat", CANDIDATE, 0), ("begun", "heat", CANDIDATE, 5), ("undecided", "heat", CANDIDATE, 8)
    )
    assert chosen(bank, n_eval=8) == ["begun"]
    done = bank_of(("often", "heat", CANDIDATE, 20), ("less", "heat", CANDIDATE, 9))
    assert chosen(done, n_eval=8) == ["less"]


def test_candidates_and_active_skills_take_turns():
    bank = bank_of(("trial", "heat", CANDIDATE, 1), ("known", "heat", ACTIVE, 9))
    share = sum(chosen(bank, seed) == ["trial"] for seed in range(400)) / 400
    assert 0.4 < share < 0.6
    assert all(chosen(bank, seed, candidate_share=0.0) == ["known"] for seed in range(20))
    assert all(chosen(bank, seed, candidate_share=1.0) == ["trial"] for seed in range(20))


@given(st.permutations(range(6)), st.integers(0, 99))
def test_the_order_of_the_bank_does_not_matter(order, seed):
    rows = [(f"skill {'abcdef'[i]}", "heat", (CANDIDATE, ACTIVE)[i % 2], i) for i in range(6)]
    assert chosen(bank_of(*(rows[i] for i in order)), seed) == chosen(bank_of(*rows), seed)


def test_bad_settings_are_refused():
    for bad in ({"top_k": 0}, {"n_eval": 0}, {"candidate_share": 2.0}):
        with pytest.raises(ConfigError, match="expected"):
            Retriever(**bad)
