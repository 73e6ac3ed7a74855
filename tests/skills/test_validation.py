from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import CheckpointError, ConfigError
from siri.protocols import Validator
from siri.skills import PairedValidator, Retriever, SequentialValidator, SkillBank
from siri.types import SkillStatus
from tests.skills.helpers import make_skill, make_task

CANDIDATE, ACTIVE, INTERNALIZED, RETIRED = SkillStatus
WIN, LOSS = ([False] * 4, [True] * 4), ([True] * 4, [False] * 4)
TIE = ([True, False], [True, False])

outcomes = st.lists(st.booleans(), min_size=1, max_size=4)
groups = st.lists(st.tuples(outcomes, outcomes), max_size=30)
rules = st.sampled_from(["threshold", "confidence"])
kinds_of_validator = st.sampled_from(["threshold", "confidence", "sequential"])


def make(rule, *arguments, **options):
    if rule == "sequential":
        return SequentialValidator(*arguments, min_effect=0.3, max_groups=30, **options)
    return PairedValidator(*arguments, rule=rule, **options)


def rollouts(rng, chance, size=4):
    return [rng.random() < chance for _ in range(size)]


@given(groups, kinds_of_validator, st.floats(0, 8), st.integers(1, 4))
def test_utility_is_bounded_and_retired_is_absorbing(history, rule, shrink, n_eval):
    validator = make(rule, shrink=shrink, n_eval=n_eval, patience=1)
    order, highest = list(SkillStatus), 0
    retired = False
    for i, (plain, skilled) in enumerate(history):
        status = validator.observe("s", plain, skilled)
        validator.observe(f"peer{i % 2}", skilled, plain)
        evidence = validator.evidence("s")
        assert -1 <= evidence.utility <= 1
        assert -1 <= evidence.interval[0] <= evidence.interval[1] <= 1
        assert evidence.uses == i + 1
        assert not retired or status is RETIRED
        retired = status is RETIRED
        assert order.index(status) >= highest
        highest = order.index(status)


@given(groups, kinds_of_validator)
def test_alone_and_with_a_bank_decide_alike_and_resume(history, rule):
    skill, bank = make_skill(), SkillBank()
    bank.add(skill)
    alone, banked = make(rule, n_eval=3), make(rule, bank, n_eval=3)
    for plain, skilled in history:
        resumed = make(rule, n_eval=3)
        resumed.load_state_dict(json.loads(json.dumps(alone.state_dict())))
        alone = resumed
        assert alone.observe(skill.id, plain, skilled) is banked.observe(skill.id, plain, skilled)
    assert alone.evidence(skill.id) == bank.get(skill.id).evidence
    assert alone.status(skill.id) is bank.get(skill.id).status
    assert banked.state_dict()["own"]["skills"] == []


def test_activates_at_n_eval_only():
    validator = PairedValidator(n_eval=8)
    assert isinstance(validator, Validator)
    assert [validator.observe("s", *WIN) for _ in range(8)] == [CANDIDATE] * 7 + [ACTIVE]


def test_retires_after_patience():
    validator = PairedValidator(n_eval=3, patience=2)
    assert [validator.observe("s", *LOSS) for _ in range(4)] == [CANDIDATE] * 3 + [RETIRED]
    assert validator.observe("s", *WIN) is RETIRED


def test_the_band_keeps_a_good_skill_whose_effect_vanishes():
    validator = PairedValidator(n_eval=2)
    statuses = [validator.observe("s", *WIN) for _ in range(2)] + [
        validator.observe("s", [False] * 2, [False] * 2) for _ in range(99)
    ]
    assert statuses[1:] == [ACTIVE] * 100  # the skill arm fell: nothing was internalised
    assert 0 <= validator.evidence("s").utility < 0.02


def test_confidence_rule_needs_strong_evidence():
    validator = PairedValidator(rule="confidence", n_eval=2)
    statuses = [validator.observe("good", *WIN) for _ in range(40)]
    assert statuses[1] is CANDIDATE
    assert statuses[-1] is ACTIVE
    assert validator.evidence("good").interval[0] > 0
    assert [validator.observe("bad", *LOSS) for _ in range(40)][-1] is RETIRED
    assert [validator.observe("none", *TIE) for _ in range(40)][-1] is CANDIDATE


def test_shrinkage_pulls_toward_the_kind():
    bank = SkillBank()
    good, bad, other = make_skill("one"), make_skill("two"), make_skill("three", kind="cool")
    for skill in (good, bad, other):
        bank.add(skill)
    validator = PairedValidator(bank, shrink=4.0, n_eval=8)
    for skill, outcome in ((bad, LOSS), (other, LOSS)):
        for _ in range(4):
            validator.observe(skill.id, *outcome)
    for _ in range(4):
        validator.observe(good.id, *WIN)
    # Own mean 1, mean of its kind (1 + -1) / 2 = 0: (4·1 + 4·0) / 8. The other kind does not count.
    assert validator.evidence(good.id).utility == pytest.approx(0.5)
    assert validator.evidence(other.id).utility == -1.0


def test_old_candidates_expire():
    bank = SkillBank()
    fresh, stale, proven = make_skill("a", created=10), make_skill("b"), make_skill("c")
    for skill in (fresh, stale, proven):
        bank.add(skill)
    validator = PairedValidator(bank, n_eval=2, max_age=40)
    for _ in range(2):
        validator.observe(proven.id, *TIE)
    assert validator.expire(40) == ()
    assert validator.expire(41) == (stale.id,)
    assert bank.get(stale.id).retired_at == 41
    assert bank.get(fresh.id).status is CANDIDATE
    assert bank.get(proven.id).status is CANDIDATE
    assert PairedValidator().expire(99) == ()


def test_bind_moves_evidence_into_the_bank():
    validator, bank, skill = PairedValidator(n_eval=1), SkillBank(), make_skill()
    bank.add(skill)
    validator.observe(skill.id, *WIN)
    validator.observe("elsewhere", *WIN)
    validator.bind(bank)
    assert bank.get(skill.id).status is ACTIVE
    assert [r["skill"]["id"] for r in validator.state_dict()["own"]["skills"]] == ["elsewhere"]


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        PairedValidator().observe("s", [], [True])
    for bad in (
        {"rule": "x"},
        {"n_eval": 0},
        {"ema": 0.0},
        {"retire": 0.5},
        {"shrink": -1.0},
        {"confidence": 1.0},
        {"patience": 0},
        {"caught_up": 0.0},
    ):
        with pytest.raises(ConfigError, match="expected"):
            PairedValidator(**bad)
    with pytest.raises(CheckpointError, match="malformed"):
        PairedValidator().load_state_dict({"iteration": 0})


ONE_OF_TWO = [True, False]
FELL, CAUGHT_UP = ([False, False], [False, False]), ([True, True], [True, True])


@pytest.mark.parametrize("rule", ["threshold", "confidence"])
def test_a_skill_that_the_plain_arm_caught_up_with_is_internalized(rule):
    def life(after):
        validator = PairedValidator(rule=rule, n_eval=4)
        history = [validator.observe("s", *WIN) for _ in range(20)]
        assert history[-1] is ACTIVE
        return [validator.observe("s", *after) for _ in range(60)]

    absorbed = life(CAUGHT_UP)
    assert absorbed[3] is ACTIVE  # the utility still remembers
    assert absorbed[-1] is INTERNALIZED
    assert set(absorbed) == {ACTIVE, INTERNALIZED}
    assert set(life(FELL)) == {ACTIVE}


def test_noise_around_zero_internalizes_rather_than_retires():
    """Δ → 0 because the plain arm rose: the EMA dips below the threshold, and the skill is not thrown out."""
    ends = []
    for seed in range(40):
        rng, validator = random.Random(seed), PairedValidator()
        status = CANDIDATE
        for _ in range(40):
            status = validator.observe("s", rollouts(rng, 0.2), rollouts(rng, 0.8))
            if status is ACTIVE:
                break
        for step in range(80):
            plain = min(0.8, 0.2 + 0.02 * step)
            status = validator.observe("s", rollouts(rng, plain), rollouts(rng, 0.8))
        ends.append(status)
    assert ends.count(INTERNALIZED) >= 36
    assert ends.count(RETIRED) <= 2


def test_a_skill_that_turns_harmful_is_retired():
    for rule, groups in (("threshold", 30), ("confidence", 120)):
        validator = PairedValidator(rule=rule, n_eval=4)
        assert [validator.observe("s", *WIN) for _ in range(20)][-1] is ACTIVE
        half = [True, True, False, False]
        assert [validator.observe("s", half, [False] * 4) for _ in range(groups)][-1] is RETIRED


def test_sequential_decides_and_says_why():
    bank, skills = SkillBank(), [make_skill(text) for text in ("good", "bad", "idle", "unclear")]
    for skill in skills:
        bank.add(skill)
    good, bad, idle, unclear = (skill.id for skill in skills)
    validator = SequentialValidator(bank, min_effect=0.3, max_groups=24)
    rng = random.Random(1)
    for key, chance in ((good, 0.9), (bad, 0.1), (idle, 0.5)):
        for _ in range(24):
            if validator.observe(key, rollouts(rng, 0.5), rollouts(rng, chance)) is not CANDIDATE:
                break
    for _ in range(24):
        validator.observe(unclear, [True, False, False], [True, True, False])
    assert bank.get(good).status is ACTIVE
    assert (bank.get(bad).status, bank.get(bad).reason) == (RETIRED, "useless")
    assert bank.get(bad).uses < bank.get(idle).uses
    assert bank.get(idle).status is RETIRED
    assert bank.get(unclear).reason in ("undecided", "")


def test_sequential_spends_groups_where_they_decide():
    bank, skills = SkillBank(), [make_skill(text) for text in ("old", "new", "poor")]
    for skill in skills:
        bank.add(skill)
    validator = SequentialValidator(bank, explore=2)
    old, new, poor = (skill.id for skill in skills)
    for _ in range(3):
        validator.observe(old, [False] * 4, [True, True, False, False])
        validator.observe(poor, ONE_OF_TWO, ONE_OF_TWO)

    def turn():
        return Retriever(candidate_share=1.0, priority=validator.priority).select(bank, make_task())[0].id

    assert turn() == new
    for _ in range(2):
        validator.observe(new, ONE_OF_TWO, ONE_OF_TWO)
    assert turn() == old
    assert validator.priority(bank.get(old)) > validator.priority(bank.get(poor))
    bank.set_status(old, ACTIVE, 0)
    assert validator.priority(bank.get(old)) is None


@pytest.mark.parametrize("bad", [{"min_effect": 0.0}, {"max_groups": 0}, {"explore": -1}])
def test_sequential_refuses_bad_input(bad):
    with pytest.raises(ConfigError, match="expected"):
        SequentialValidator(**bad)


@pytest.mark.parametrize("rule", ["confidence", "sequential"])
@pytest.mark.parametrize("plain", [0.1, 0.5])
def test_a_skill_without_effect_is_rarely_activated_however_often_one_looks(rule, plain):
    """200 skills without effect, judged after each of 30 groups."""
    rng, wrong = random.Random(3), 0
    for _ in range(200):
        validator = make(rule)
        for _ in range(30):
            status = validator.observe("s", rollouts(rng, plain), rollouts(rng, plain))
            if status is not CANDIDATE:
                break
        wrong += status is ACTIVE
    assert wrong / 200 <= 0.05
