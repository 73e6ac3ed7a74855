"""Environments that return wrong things: the episode is lost, named and counted; the others are played."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from siri import doors
from siri.errors import ConfigError, EnvironmentFault
from siri.policies.scripted import ScriptedPolicy
from siri.processes import watching
from siri.protocols import Environment
from siri.rollout import GroupPlan, Rollout
from siri.rollout.faults import DropEpisode
from siri.rollout.workers import ProcessEnvironment
from siri.types import Group, Sampling, Task
from tests.rollout.wrong import RESETS, WRONG, Unpicklable, Wrong, WrongByTask, WrongResets, answer
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


@pytest.mark.parametrize("kind", sorted(RESETS))
def test_a_wrong_reset_costs_its_episode_alone(kind: str) -> None:
    groups, drop = play(partial(WrongResets, kind))
    assert sum(len(group.trajectories) for group in groups) == 32 - drop.dropped > 0
    assert len(drop.reasons) == drop.dropped > 0
    assert all("WrongResets" in reason and len(reason) <= 300 for reason in drop.reasons)


def test_every_wrong_answer_from_processes() -> None:
    """The same processes serve all kinds, one after the other: a process that was wrong is not used again."""
    plans = [
        GroupPlan(replace(TASK, id=f"{kind}/{n}"), plain=8, seed=n)
        for kind in sorted(WRONG)
        for n in range(4)
    ]
    found = []
    for make in (partial(ProcessEnvironment, WrongByTask, timeout=20), WrongByTask):
        drop = DropEpisode()
        rollout = Rollout(
            make, Prompter(), ScriptedPolicy(reply), sampling=Sampling(), slots=3, on_fault=drop
        )
        with watching(lambda: False):
            found.append((rollout.play(plans), sorted(drop.reasons), drop.dropped))
    assert found[0] == found[1]
    groups, reasons, dropped = found[0]
    assert sum(len(group.trajectories) for group in groups) == 8 * len(plans) - dropped
    assert {reason.removeprefix("task ")[1:].split("/")[0] for reason in reasons} == set(WRONG)


def test_an_answer_that_cannot_leave_its_process_costs_its_episode() -> None:
    groups, drop = play(partial(ProcessEnvironment, Unpicklable, timeout=20), slots=2)
    assert 0 < drop.dropped < 32
    assert all("cannot leave its process" in reason for reason in drop.reasons)
    assert sum(len(group.trajectories) for group in groups) == 32 - drop.dropped


def test_what_cannot_travel_to_a_process_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"cannot travel.*rollout\.processes=false"):
        ProcessEnvironment(partial(Wrong, threading.Lock()))  # type: ignore[arg-type]
    env = ProcessEnvironment(Counter)
    with pytest.raises(EnvironmentFault, match=r"Task\.source"):
        env.reset(options={"task": replace(TASK, source=threading.Lock())})
    env.close()


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
