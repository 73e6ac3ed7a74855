"""Horizons: when episodes of training end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri import doors
from siri.errors import ConfigError, PartFault
from siri.policies.scripted import ScriptedPolicy
from siri.rollout import GroupPlan, Rollout, WonHorizon
from siri.types import Group, Sampling, StopReason, Task, Trajectory, Turn
from tests.worlds import Counter, Prompter, reply

HEAT, COOL = (Task(kind, kind, "a goal", "train") for kind in ("heat", "cool"))


def group(task: Task, *lengths: int, arm: str = "plain", success: bool = True) -> Group:
    """Episodes of so many turns."""
    turn = Turn("seen", (), "up", "up", True, 0.0, None)
    stop = StopReason.SUCCESS if success else StopReason.STEP_LIMIT
    return Group(
        task,
        tuple(
            Trajectory(str(n), task, arm, (), (turn,) * length, success, stop)
            for n, length in enumerate(lengths)
        ),
    )


def test_the_limit_is_the_slack_times_the_median_win_of_the_kind() -> None:
    horizon = WonHorizon(1.5, least=3)
    horizon.observe([group(HEAT, 6, 10), group(HEAT, 25, 25, success=False), group(COOL, 3, 3, 3)])
    assert horizon.turns(HEAT) is None  # two wins are too few
    assert horizon.turns(COOL) == 5  # 4.5, rounded up
    horizon.observe([group(HEAT, 20, arm="skill")])
    assert horizon.turns(HEAT) == 15


def test_only_the_last_wins_count() -> None:
    horizon = WonHorizon(1.0, recent=4, least=2)
    horizon.observe([group(HEAT, 20, 20, 20, 20)])
    horizon.observe([group(HEAT, 8, 8, 8)])
    assert horizon.turns(HEAT) == 8


@given(lengths=st.lists(st.integers(1, 50), min_size=4, max_size=40), slack=st.floats(1, 3))
def test_a_limit_lets_the_median_win_through_and_survives_a_checkpoint(
    lengths: list[int], slack: float
) -> None:
    horizon, other = WonHorizon(slack), WonHorizon(slack)
    horizon.observe([group(HEAT, *lengths)])
    limit = horizon.turns(HEAT)
    recent = sorted(lengths[-32:])
    assert recent[(len(recent) - 1) // 2] <= limit <= slack * recent[-1] + 1
    other.load_state_dict(json.loads(json.dumps(horizon.state_dict())))
    assert other.turns(HEAT) == limit
    other.observe([group(HEAT, 1)])
    assert horizon.turns(HEAT) == limit  # the state was copied


@pytest.mark.parametrize("wrong", [{"slack": 0.9}, {"slack": float("nan")}, {"least": 0}, {"recent": 3}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected slack >= 1"):
        WonHorizon(**wrong)


def test_a_plan_ends_its_episodes() -> None:
    task = Task("t", "count", "reach the goal", "train", source=9)
    rollout = Rollout(Counter, Prompter(), ScriptedPolicy(reply), sampling=Sampling(), max_steps=5)
    plan = GroupPlan(task, plain=2)
    short, whole = rollout.play([replace(plan, turns=2), plan])
    assert [len(t.turns) for t in short.trajectories] == [2, 2]
    assert {t.stop for t in short.trajectories} == {StopReason.STEP_LIMIT}
    assert [len(t.turns) for t in whole.trajectories] == [5, 5]
    [long] = rollout.play([replace(plan, turns=9)])
    assert [len(t.turns) for t in long.trajectories] == [5, 5]


@pytest.mark.parametrize("answer", [0, -1, 2.5, True, "ten"])
def test_an_answer_that_is_no_number_of_turns_is_a_fault(answer: object) -> None:
    class Wrong(WonHorizon):
        def turns(self, task):
            return answer

    with pytest.raises(PartFault, match=r"Wrong\.turns, expected a number of turns"):
        doors.limited(Wrong(), HEAT)
