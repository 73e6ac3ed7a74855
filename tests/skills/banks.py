"""Banks for property tests: what several processes could have written."""

from __future__ import annotations

from hypothesis import strategies as st

from siri.skills import SkillBank, UtilityEstimator, skill_id
from siri.types import Skill, SkillStatus

texts = st.text(min_size=1, max_size=20)
rates = st.integers(0, 4).map(lambda n: n / 4)
WORDS = ("open it", "take it", "use the lamp", "Open IT!", "go home and wait", "heat it well")


@st.composite
def skills(draw, condition=texts, strategy=texts):
    c, s, kind = draw(condition), draw(strategy), draw(st.sampled_from("ab"))
    ids = st.lists(st.sampled_from("tuvw"), max_size=3).map(tuple)
    return Skill(
        skill_id(kind, f"When {c}: {s}"),
        kind,
        c,
        s,
        draw(st.sampled_from(["self", "openai:m", "human"])),
        draw(st.integers(0, 9)),
        draw(ids),
        draw(ids),
    )


@st.composite
def banks(draw, writer="", estimator=None, free_text=True):
    """A bank with a life behind it: skills added, groups observed, statuses moved on."""
    bank = SkillBank(writer=writer, estimator=estimator or UtilityEstimator(n_eval=2, shrink=1.0))
    part = texts if free_text else st.sampled_from(WORDS)
    for skill in draw(st.lists(skills(st.just("x") if not free_text else texts, part), max_size=5)):
        bank.add(skill, priority=draw(st.sampled_from([0.0, 1.0])))
    ids = [record.skill.id for record in bank.records()]
    for key in ids:
        for iteration in sorted(draw(st.lists(st.integers(0, 20), max_size=4))):
            bank.observe(key, plain=draw(rates), skilled=draw(rates), iteration=iteration)
            later = [s for s in SkillStatus if list(SkillStatus).index(s) >= _rank(bank, key)]
            reason = draw(st.sampled_from(["", "harmful"]))
            bank.set_status(key, draw(st.sampled_from(later)), iteration, reason=reason)
    return bank


def _rank(bank, key):
    return list(SkillStatus).index(bank.get(key).status)
