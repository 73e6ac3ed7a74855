"""Groups of rollouts made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from siri.training.credit import Advantages, turn_arrays
from siri.training.lessons import Gate, GateLevel, Lesson, Scope, Standing
from siri.training.rows import Row, build_rows
from siri.types import Arm, Group, StopReason, Task, Trajectory, Turn

TASK = Task("t", "put", "put it there", "train")


def make_turn(
    prompt: tuple[int, ...],
    completion: tuple[int, ...] = (7, 8),
    *,
    plain: tuple[int, ...] | None = None,
    reward: float = 0.0,
    anchor: str = "s",
    valid: bool = True,
) -> Turn:
    return Turn(
        observation="",
        admissible=(),
        action="look",
        text="look",
        valid=valid,
        reward=reward,
        anchor=anchor,
        prompt_ids=prompt,
        plain_prompt_ids=prompt if plain is None else plain,
        completion_ids=completion,
        logprobs=tuple(-0.5 - i for i in range(len(completion))),
        action_mask=tuple(i == 0 for i in range(len(completion))),
    )


def make_trajectory(name: str, *turns: Turn, arm: Arm = "plain", success: bool = False) -> Trajectory:
    skills = ("k",) if arm == "skill" else ()
    stop = StopReason.SUCCESS if success else StopReason.STEP_LIMIT
    return Trajectory(name, TASK, arm, skills, turns, success, stop)


def make_group() -> Group:
    """Plain: a transcript of two turns, lost. Skill: two windowed turns (1 5 | 2 5), won."""
    plain = make_trajectory("p", make_turn((1, 2)), make_turn((1, 2, 7, 8, 3), (9,)))
    skill = make_trajectory(
        "s",
        make_turn((1, 5), plain=(1,)),
        make_turn((2, 5), (9,), plain=(2,), reward=10.0, anchor="e"),
        arm="skill",
        success=True,
    )
    return Group(TASK, (plain, skill), ("k",))


def given(groups: Sequence[Group], values: Sequence[float] | float = 1.0) -> Advantages:
    """These advantages, one a turn, or the same for all."""
    turns = turn_arrays(groups)
    numbers = [values] * len(turns.rewards) if isinstance(values, float) else values
    return Advantages(torch.tensor(numbers), turns)


def lessons_of(
    groups: Sequence[Group],
    values: Sequence[float] | float = 1.0,
    *,
    known: Sequence[str] = ("k",),
    utilities: dict[str, float] | None = None,
    level: GateLevel = "episode",
    scope: Scope = "response",
) -> list[Lesson]:
    """What siri's gate teaches, where the skills in ``known`` are those of the bank."""
    standing = Standing(dict.fromkeys(known, 0.0) if utilities is None else utilities)
    return Gate(level, scope).lessons(groups, given(groups, values), standing)


def rows_of(groups: Sequence[Group], values: Sequence[float] | float = 1.0) -> list[Row]:
    """All rows, with siri's lessons."""
    return build_rows(groups, given(groups, values), lessons_of(groups, values))
