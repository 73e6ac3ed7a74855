"""Environments that return wrong things: the episode is lost, named and counted; the others are played."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from siri import doors
from siri.errors import EnvironmentFault
from siri.policies.scripted import ScriptedPolicy
from siri.processes import watching
from siri.protocols import Environment
from siri.rollout import GroupPlan, Rollout
from siri.rollout.faults import DropEpisode
from siri.rollout.workers import ProcessEnvironment
from siri.types import Group, Sampling, Task
from tests.rollout.wrong import WRONG, Wrong, answer
from tests.worlds import Counter, Prompter, reply

TASK = Task("t", "count", "count", "train", source=3)


def play(make: Callable[[], Environment], slots: int = 6) -> tuple[list[Group], DropEpisode]:
    drop = DropEpisode()
    rollout = Rollout(
        make, Prompter(), ScriptedPolicy(reply), sampling=Sampling(), slots=slots, on_fault=drop
    )
    plans = [GroupPlan(replace(TASK, id=f"t{n}"), plain=8, seed=n) for n in range(4)]
    # the handler of a run, which saw no signal
    with watching(lambda: False):
        return rollout.play(plans), drop


@pytest.fixture(scope="module")
def lost() -> int:
    """How many of the 32 episodes meet a wrong step: the draws are those of the seeds."""
    return play(partial(Wrong, "nothing"))[1].dropped


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_wrong_answer_costs_its_episode_alone(kind: str, lost: int) -> None:
    groups, drop = play(partial(Wrong, kind))
    assert drop.dropped == lost > 0
    assert sum(len(group.trajectories) for group in groups) == 32 - lost > 0
    assert all("task 't" in reason and "Wrong" in reason for reason in drop.reasons)
    assert all(len(reason) <= 300 for reason in drop.reasons)
    assert all(type(turn.reward) is float for g in groups for t in g.trajectories for turn in t.turns)


@pytest.mark.parametrize("kind", ["an unhashable anchor", "KeyboardInterrupt"])
def test_the_same_from_processes(kind: str) -> None:
    groups, drop = play(partial(ProcessEnvironment, partial(Wrong, kind), timeout=20), slots=2)
    here, same = play(partial(Wrong, kind), slots=2)
    assert groups == here
    assert sorted(drop.reasons) == sorted(same.reasons)


def test_scalars_of_numpy_and_torch_are_python_s_own() -> None:
    class Scalars(Counter):
        def step(self, action):
            return answer(
                "at 1",
                np.float32(0.5),
                np.bool_(True),
                np.int64(0),
                success=np.bool_(True),
                valid=torch.tensor(1),
                score=np.float64(0.25),
            )

    _, reward, terminated, truncated, info = doors.seat(Scalars()).step("up")
    assert (reward, terminated, truncated) == (0.5, True, False)
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    assert [type(info[key]) for key in ("success", "valid", "score")] == [bool, bool, float]


def test_an_interrupt_is_the_user_s_once_a_signal_came() -> None:
    seat = doors.seat(Wrong("KeyboardInterrupt"))
    seat.given.draw = type("Always", (), {"random": staticmethod(lambda: 0.0)})
    with watching(lambda: True), pytest.raises(KeyboardInterrupt):
        seat.step("up")
    with watching(lambda: False), pytest.raises(EnvironmentFault, match="KeyboardInterrupt"):
        seat.step("up")
    # nobody watches: Python's own handler may have raised it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            seat.step("up")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with pytest.raises(EnvironmentFault):
            seat.step("up")
    finally:
        signal.signal(signal.SIGINT, before)
