"""Figures of an iteration's rollouts, by hand."""

from __future__ import annotations

from dataclasses import replace

from siri.curriculum.iteration import outcomes
from siri.types import Group
from tests.skills.helpers import make_task, make_trajectory


def test_flat_groups_and_valid_turns_by_arm() -> None:
    plain, skill = make_trajectory("a"), make_trajectory("b", arm="skill")
    turns = skill.turns
    won = replace(skill, turns=(*turns[:-1], replace(turns[-1], reward=10.0, valid=True)))
    task = make_task(plain.task.kind)
    found = outcomes([Group(task, (plain, skill)), Group(task, (plain, won))])
    assert found["env/flat_groups"] == 0.5
    share = sum(turn.valid for turn in turns) / len(turns)
    assert found["arm/plain/valid"] == share
    assert found["arm/skill/valid"] == share + 1 / (2 * len(turns))
    assert "env/flat_groups" not in outcomes([])
