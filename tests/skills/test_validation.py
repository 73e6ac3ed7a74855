from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import CheckpointError, ConfigError
from siri.protocols import Validator
from siri.skills import PairedValidator, SkillBank
from siri.types import SkillStatus
from tests.skills.helpers import make_skill

CANDIDATE, ACTIVE, RETIRED = SkillStatus.CANDIDATE, SkillStatus.ACTIVE, SkillStatus.RETIRED
WIN, LOSS = ([False] * 4, [True] * 4), ([True] * 4, [False] * 4)
TIE = ([True, False], [True, False])

outcomes = st.lists(st.booleans(), min_size=1, max_size=4)
groups = st.lists(st.tuples(outcomes, outcomes), max_size=30)
rules = st.sampled_from(["threshold", "confidence"])


@given(groups, rules, st.floats(0, 8), st.integers(1, 4))
def test_utility_is_bounded_and_retired_is_absorbing(history, rule, shrink, n_eval):
    validator = PairedValidator(rule=rule, shrink=shrink, n_eval=n_eval, patience=1)
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


@given(groups, rules)
def test_alone_and_with_a_bank_decide_alike_and_resume(history, rule):
    skill, bank = make_skill(), SkillBank()
    bank.add(skill)
    alone, banked = PairedValidator(rule=rule, n_eval=3), PairedValidator(bank, rule=rule, n_eval=3)
    for plain, skilled in history:
        resumed = PairedValidator(rule=rule, n_eval=3)
        resumed.load_state_dict(json.loads(json.dumps(alone.state_dict())))
        alone = resumed
        assert alone.observe(skill.id, plain, skilled) is banked.observe(skill.id, plain, skilled)
    assert alone.evidence(skill.id) == bank.get(skill.id).evidence
    assert alone.status(skill.id) is bank.get(skill.id).status
    assert banked.state_dict()["skills"] == {}


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
        validator.observe("s", *TIE) for _ in range(99)
    ]
    assert statuses[1:] == [ACTIVE] * 100
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
    assert list(validator.state_dict()["skills"]) == ["elsewhere"]


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
    ):
        with pytest.raises(ConfigError, match="expected"):
            PairedValidator(**bad)
    with pytest.raises(CheckpointError, match="malformed"):
        PairedValidator().load_state_dict({"skills": {"s": {}}, "iteration": 0})
