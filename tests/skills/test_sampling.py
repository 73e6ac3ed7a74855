"""A group's skill is drawn from what is known of the effects: as often as it is probably the best."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import ConfigError
from siri.skills import EffectSampling, SkillBank
from siri.types import SkillStatus
from tests.skills.helpers import make_skill, make_task

TASK = make_task()


def bank_of(**deltas: list[float]) -> SkillBank:
    """Skills of the task's kind by strategy, with the Δ of their groups."""
    bank = SkillBank()
    for strategy, found in deltas.items():
        skill = make_skill(strategy)
        assert bank.add(skill)
        for number, delta in enumerate(found):
            bank.observe(skill.id, plain=0.5, skilled=0.5 + delta, iteration=number)
    return bank


def shares(bank: SkillBank, draws: int = 2000) -> dict[str, float]:
    """How often each strategy is shown; "" for a plain group."""
    found: dict[str, float] = {}
    for seed in range(draws):
        shown = EffectSampling().select(bank, TASK, seed)
        name = shown[0].strategy if shown else ""
        found[name] = found.get(name, 0.0) + 1 / draws
    return found


def by_hand(deltas: list[float], m: float) -> NormalDist:
    """The posterior of one skill, from the formula."""
    kappa, n = (0.32 / 0.2) ** 2, len(deltas)
    return NormalDist((sum(deltas) + kappa * m) / (n + kappa), 0.32 / math.sqrt(n + kappa))


def test_one_skill_is_shown_as_often_as_it_probably_helps() -> None:
    for deltas in ([0.5] * 4, [0.0] * 8, [-0.25] * 6, []):
        bank = bank_of(one=deltas)
        kappa, n = (0.32 / 0.2) ** 2, len(deltas)
        overall = (sum(deltas) + kappa * 0.1) / (n + kappa)
        kind = (sum(deltas) + kappa * overall) / (n + kappa)
        helps = 1 - by_hand(deltas, kind).cdf(0.0)
        assert shares(bank).get("one", 0.0) == pytest.approx(helps, abs=0.035), deltas


def test_the_better_of_two_is_shown_more_often_and_the_harmful_one_hardly_ever() -> None:
    found = shares(bank_of(good=[0.5] * 8, poor=[0.0] * 8, bad=[-0.5] * 8))
    assert found["good"] > 0.95
    assert found.get("bad", 0.0) < 0.005


def test_a_new_skill_starts_from_what_the_others_were_worth() -> None:
    bad, good, unknown = bank_of(old=[-0.4] * 8), bank_of(old=[0.4] * 8), bank_of()
    expected = [EffectSampling().expected(bank, TASK.kind) for bank in (bad, unknown, good)]
    assert expected[0] < -0.2 < expected[1] == 0.1 < 0.3 < expected[2]
    elsewhere = EffectSampling().expected(bad, "another kind")
    assert expected[0] < elsewhere < 0.1  # what other kinds know counts, and less


def test_only_the_last_groups_count() -> None:
    once = bank_of(faded=[0.5] * 8 + [0.0] * 8)
    never = bank_of(faded=[0.0] * 8)
    [a], [b] = once.records(), never.records()
    assert EffectSampling().posterior(a, once) == EffectSampling().posterior(b, never)


@pytest.mark.parametrize("status", [SkillStatus.RETIRED, SkillStatus.INTERNALIZED])
def test_a_skill_that_is_over_is_not_shown(status: SkillStatus) -> None:
    bank = bank_of(one=[0.5] * 8)
    bank.set_status(bank.records()[0].skill.id, status, 9)
    assert set(shares(bank, 50)) == {""}
    assert EffectSampling().select(bank, make_task("other")) == ()


@given(st.lists(st.lists(st.floats(-0.5, 0.5), max_size=4), max_size=4), st.integers(0, 2**40))
def test_the_draw_is_a_function_of_bank_task_and_seed(found: list[list[float]], seed: int) -> None:
    named = {f"s{n}": deltas for n, deltas in enumerate(found)}
    first, again = bank_of(**named), bank_of(**dict(reversed(named.items())))
    assert EffectSampling().select(first, TASK, seed) == EffectSampling().select(again, TASK, seed)


@pytest.mark.parametrize("wrong", [{"noise": 0.0}, {"spread": -1.0}, {"prior": 2.0}, {"recent": 0}])
def test_impossible_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="fix: the one outside"):
        EffectSampling(**wrong)  # type: ignore[arg-type]
