"""The gate: which rollouts teach, which of their tokens, and how much."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from siri.errors import ConfigError, ShapeError
from siri.training.lessons import Gate, Lesson, Standing
from siri.types import Group
from tests.oracles import advantages as oracle
from tests.oracles import losses
from tests.training.hand import TASK, lessons_of, make_group, make_trajectory, make_turn


def test_siris_lessons_are_responses_under_their_own_plain_prompts() -> None:
    assert lessons_of([make_group()], [-1.0, -2.0, 1.0, 3.0]) == [
        Lesson(2, 2, "plain", 1.0, (True, True)),
        Lesson(3, 3, "plain", 2.0, (True,)),  # 3 is clipped to 2
    ]


def test_the_gate_needs_a_known_skill_benefit_and_a_block_in_the_prompt() -> None:
    group = make_group()
    plain, skill = group.trajectories
    lost = Group(TASK, (make_trajectory("w", make_turn((1,)), success=True), skill))
    unpaired = Group(TASK, (skill,))
    assert lessons_of([group], known=()) == lessons_of([lost]) == lessons_of([unpaired]) == []
    bare = make_trajectory("b", make_turn((1, 2)), arm="skill", success=True)
    assert lessons_of([Group(TASK, (plain, bare))]) == [Lesson(2, 2, "plain", 0.0, (False, False))]


def test_levels_of_benefit() -> None:
    plain, skill = make_group().trajectories
    lost = make_trajectory("l", make_turn((1, 5), plain=(1,)), arm="skill")
    groups = [Group(TASK, (plain, skill, lost), ("k",))]  # turns 0, 1 | 2, 3 | 4

    def taught(**options) -> list[int]:
        return [lesson.response for lesson in lessons_of(groups, **options)]

    assert taught(level="episode") == [2, 3]
    assert taught(level="group") == [2, 3, 4]
    assert taught(level="skill", utilities={"k": 0.3}) == [2, 3, 4]
    assert taught(level="skill", utilities={"k": -0.3}) == taught(level="skill", utilities={}) == []


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="level='turn'"):
        Gate("turn")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scope='all'"):
        Gate(scope="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_weight=0"):
        Gate(max_weight=0.0)


def test_an_action_mask_of_another_length_is_refused() -> None:
    group = make_group()
    plain, skill = group.trajectories
    torn = replace(skill, turns=(replace(skill.turns[0], action_mask=(True,)), *skill.turns[1:]))
    with pytest.raises(ShapeError, match="action_mask of 1, expected one flag for each of 2 tokens"):
        lessons_of([Group(TASK, (plain, torn))], scope="action_span")


def test_standing_says_whose_rollouts_teach_now() -> None:
    standing = Standing({"a": 0.1, "b": 0.1}, active=frozenset("a"), proven=frozenset("ab"))
    assert standing.teaches(("a",))
    assert standing.teaches(())
    assert not standing.teaches(("a", "b"))


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[list[Group], list[float]]:
    """Groups of 1 to 5 episodes, with and without the block in the prompt, and an advantage a turn."""
    groups, values = [], []
    for _ in range(draw(st.integers(1, 3))):
        trajectories = []
        for number in range(draw(st.integers(1, 5))):
            arm = draw(st.sampled_from(["plain", "skill"]))
            turns = []
            for _ in range(draw(st.integers(1, 3))):
                size = draw(st.integers(0, 3))
                shown = arm == "skill" and draw(st.booleans())
                turns.append(make_turn((1, 5) if shown else (1,), tuple(range(size)), plain=(1,)))
                values.append(draw(st.integers(-12, 12)) / 4)
            won = draw(st.booleans())
            trajectories.append(make_trajectory(str(number), *turns, arm=arm, success=won))
        groups.append(Group(TASK, tuple(trajectories), ("k",)))
    return groups, values


@settings(max_examples=100, deadline=None)
@over(rollouts(), st.sampled_from(["episode", "group"]), st.sampled_from(["response", "action_span"]))
def test_what_trains_is_the_equation(played, level, scope) -> None:
    """Against the oracles of U and of the gate, in plain Python: which tokens, and with what weight."""
    groups, values = played
    got = {(x.response, n): x for x in lessons_of(groups, values, level=level, scope=scope) for n in range(9)}
    pairs = [(n, t) for n, group in enumerate(groups) for t in group.trajectories]
    arms = [t.arm == "skill" for _, t in pairs]
    utility = oracle.utility([t.success for _, t in pairs], [n for n, _ in pairs], arms, level)
    number = 0
    for (_, trajectory), gain in zip(pairs, utility, strict=True):
        for turn in trajectory.turns:
            size = len(turn.completion_ids)
            action = turn.action_mask if scope == "action_span" else (True,) * size
            used = trajectory.arm == "skill" and turn.prompt_ids != turn.plain_prompt_ids
            [gate] = losses.gate([[used] * size], [[gain] * size], [list(action)])
            for place, gated in enumerate(gate):
                lesson = got.get((number, place))
                assert gated == (lesson is not None and lesson.mask[place])
                if gated:
                    assert lesson.prompt == number
                    assert lesson.side == "plain"
                    assert lesson.weight == min(max(values[number], 0.0), 2.0)
            number += 1
