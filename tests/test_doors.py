"""Parts of the small form, completed: what a user writes in ten lines runs as siri's own parts do."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from siri import doors
from siri.algos import (
    ClippedSurrogate,
    EntropyBonus,
    Internalization,
    KLPenalty,
    SiriObjective,
    needs_reference,
)
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Phase
from siri.errors import ConfigError, EnvironmentFault, MinerFault, PolicyFault
from siri.rollout import Rollout
from siri.rollout.episodes import GroupPlan
from siri.rollout.suite import Suite
from siri.skills import PairedValidator, SelfMiner
from siri.testing import ScriptedEnvironment, ScriptedMiner, ScriptedPolicy, make_skill, scripted_suite
from siri.testing.fakes import SOLUTION, ScriptedPrompter
from siri.types import Request, Sampling, SkillStatus, StopReason


def config(*assignments: str) -> RunConfig:
    return load_config(preset("smoke"), assignments=["rollout.tasks=2", *assignments])


def reply(request: Request) -> str:
    """Solves the task where a skill is shown, and by half of the seeds where none is."""
    content = str(request.messages[-1]["content"])
    done = int(content.split("You have done ")[1][0])
    return SOLUTION[done] if "Skill:" in content or request.seed % 8 else "wait"


class Helpful:
    """A validator of one method."""

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        return SkillStatus.ACTIVE


def test_the_fakes_run_all_phases_without_a_model() -> None:
    began = time.process_time()
    run = Curriculum(
        scripted_suite(),
        ScriptedPolicy(reply),
        miner=ScriptedMiner(make_skill()),
        validator=Helpful(),
        learner=None,
        config=config("warmup.successes=1"),
    )
    iterations = list(run)
    assert {i.phase for i in iterations} == {Phase.WARMUP, Phase.MINING, Phase.INTERNALIZATION}
    assert run.bank.get("skill").status is SkillStatus.ACTIVE
    assert run.bank.get("skill").uses > 0
    assert all("learn/loss" not in i.metrics for i in iterations)
    assert iterations[-1].metrics["arm/skill/success"] == 1.0
    assert time.process_time() - began < 2  # of this process: a busy machine does not count


def test_a_policy_without_weights_cannot_be_trained() -> None:
    parts = {"miner": None, "objective": SiriObjective(), "config": config()}
    with pytest.raises(ConfigError, match="learner=None") as caught:
        Curriculum(scripted_suite(), ScriptedPolicy(reply), **parts)
    assert "model" in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_closing_a_completed_policy_closes_what_it_completes() -> None:
    class Connected(ScriptedPolicy):
        connected = True

        def close(self) -> None:
            self.connected = False

    given = Connected(reply)
    completed = doors.policy(given)
    assert completed is not given
    doors.closed(completed)
    assert not given.connected


def test_a_miner_without_bind_keeps_its_skills() -> None:
    run = Curriculum(
        scripted_suite(),
        ScriptedPolicy(reply),
        miner=ScriptedMiner(make_skill()),
        learner=None,
        config=config(
            "warmup={successes: 100000, max_iterations: 50}",
            "mining={every: 100, max_iterations: 60, min_iterations: 60}",
            "validation={n_eval: 1000, max_age: 40}",
        ),
    )
    events = [event for _ in range(60) for event in run.step().events]
    assert run.bank.get("skill").skill.created == 50
    assert run.bank.get("skill").status is SkillStatus.CANDIDATE
    assert not any("expired" in event for event in events)


def test_a_sum_a_multiple_and_a_function_know_whether_they_need_a_reference() -> None:
    @needs_reference
    def around(batch, scores):
        return SiriObjective()(batch, scores)

    def alone(batch, scores):
        return SiriObjective(kl=0.0)(batch, scores)

    with_kl = (
        ClippedSurrogate() + Internalization() + 0.01 * KLPenalty(),
        1.0 * SiriObjective(kl=0.01),
        SiriObjective(kl=0.01),
        around,
        0.5 * KLPenalty() + around,
    )
    assert all(doors.objective(one).needs_reference for one in with_kl)
    without = (
        ClippedSurrogate() + EntropyBonus(),
        1.0 * SiriObjective(kl=0.0),
        alone,
        ClippedSurrogate() + alone,
    )
    assert not any(doors.objective(one).needs_reference for one in without)


def test_full_forms_come_through_as_they_are() -> None:
    validator, miner, objective = PairedValidator(), SelfMiner(), SiriObjective()
    assert doors.judge(validator) is validator
    assert doors.miner(miner) is miner
    assert doors.objective(objective) is objective
    small = doors.policy(ScriptedPolicy(reply))
    assert doors.policy(small) is small
    assert small.model is None
    assert small.decode([1]) is None


@pytest.mark.parametrize(
    ("door", "what"),
    [("policy", "generate"), ("miner", "mine"), ("judge", "observe"), ("objective", "function")],
)
def test_what_is_no_part_at_all_is_refused(door: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        getattr(doors, door)(7)


def test_a_class_in_place_of_an_object_is_refused_with_the_call() -> None:
    for door, given in ((doors.miner, SelfMiner), (doors.judge, PairedValidator)):
        with pytest.raises(ConfigError, match=rf"fix: {given.__name__}\(\)"):
            door(given)  # type: ignore[operator]


def test_whatever_a_miner_raises_is_its_fault_by_name() -> None:
    class Broken:
        def mine(self, trajectories):
            raise KeyError("skills")

    class Wordy:
        def mine(self, trajectories):
            return "search first"

    with pytest.raises(MinerFault, match="Broken: KeyError"):
        doors.mined(doors.miner(Broken()), [])
    with pytest.raises(MinerFault, match="Wordy"):
        doors.mined(doors.miner(Wordy()), [])


def test_a_policy_answers_every_request_with_a_completion() -> None:
    class Short:
        def generate(self, requests, sampling):
            return ["text"]

    request = Request([{"role": "user", "content": "?"}])
    [wrong], _ = doors.generated(doors.policy(Short()), [request], Sampling())
    assert isinstance(wrong, PolicyFault)
    assert "Short" in str(wrong)
    with pytest.raises(PolicyFault, match="Short"):
        doors.generated(doors.policy(Short()), [request] * 2, Sampling())


@pytest.mark.parametrize(
    "answer",
    [
        "open",
        ("Open.", 1.0, True, False),
        (b"Open.", 1.0, True, False, {}),
        ("Open.", float("nan"), True, False, {}),
        ("Open.", 1.0, True, False, {"success": True}),
    ],
)
def test_what_an_environment_returns_is_checked(answer: object) -> None:
    class Odd(ScriptedEnvironment):
        def step(self, action):
            return answer

    with pytest.raises(EnvironmentFault, match="Odd"):
        doors.seat(Odd()).step("open door")


def test_state_that_json_cannot_hold_is_refused_when_the_run_starts() -> None:
    class Keeps(Helpful):
        def state_dict(self):
            return {"seen": {1, 2}}

        def load_state_dict(self, state):
            pass

    with pytest.raises(ConfigError, match="validator"):
        Curriculum(
            scripted_suite(),
            ScriptedPolicy(reply),
            miner=None,
            validator=Keeps(),
            learner=None,
            config=config(),
        )


def test_a_function_can_be_told_of_faults() -> None:
    told = []

    class Breaks(ScriptedEnvironment):
        def step(self, action):
            raise RuntimeError("gone")

    suite = scripted_suite(train=1)
    rollout = Rollout(
        Breaks,
        suite.prompter,
        ScriptedPolicy(reply),
        sampling=Sampling(),
        on_fault=lambda fault, task: told.append((str(fault), task.id)),
    )
    [group] = rollout.play([GroupPlan(suite.split("train")[0], 2)])
    assert group.trajectories == ()
    assert [task for _, task in told] == ["train-0"] * 2
    assert all(said.startswith("Breaks.step: RuntimeError: gone (test_doors.py:") for said, _ in told)


def test_episodes_end_whatever_the_environment_says() -> None:
    class Endless(ScriptedEnvironment):
        def step(self, action):
            text, reward, won, _, info = super().step("wait")
            return text, reward, won, False, info

    whole = scripted_suite(train=1)
    endless = Suite("endless", lambda: Endless(max_steps=10**9), whole.tasks, ScriptedPrompter(), max_steps=7)
    run = Curriculum(endless, ScriptedPolicy(reply), miner=None, learner=None, config=config())
    trajectories = [t for g in run.step().groups for t in g.trajectories]
    assert {(len(t.turns), t.stop) for t in trajectories} == {(7, StopReason.STEP_LIMIT)}
