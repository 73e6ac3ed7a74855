"""Environments in processes of their own: the same answers, and ends for those that hang, raise or die."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from siri.build import run as compose
from siri.config import load_config
from siri.errors import EnvironmentFault, EnvironmentTimeout, GameError
from siri.policies import HFPolicy
from siri.policies.scripted import ScriptedPolicy
from siri.policies.tiny import base_path
from siri.rollout import GroupPlan, Rollout
from siri.rollout.evaluation import evaluate
from siri.rollout.faults import DropEpisode
from siri.rollout.suite import Suite
from siri.rollout.workers import ProcessEnvironment
from siri.runs import RunDirectory, execute
from siri.types import Sampling, Task
from tests.smoke import SMOKE, suite
from tests.worlds import Flaky, FlakyWorld, Odd, Prompter, reply

TASK = Task("t", "count", "count", "train", source=9)


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        ("die", EnvironmentFault, r"ended \(exit code -9\)"),
        ("game", GameError, "got a bad game"),
        ("crash", EnvironmentFault, "broken"),
        ("hang", EnvironmentTimeout, r"no answer to step within 0\.3 s"),
    ],
)
def test_every_way_to_break_is_told(action: str, kind: type[Exception], message: str) -> None:
    env = ProcessEnvironment(Odd, timeout=0.3)
    plain = Odd()
    options = {"task": TASK}
    assert env.reset(seed=3, options=options) == plain.reset(seed=3, options=options)
    assert env.step("up") == plain.step("up")
    began = time.monotonic()
    with pytest.raises(kind, match=message) as caught:
        env.step(action)
    assert type(caught.value) is kind
    assert time.monotonic() - began < 20
    env.close()
    assert not env._process.is_alive()


def test_an_environment_that_raises_and_hangs_costs_only_its_episodes() -> None:
    tasks = [replace(TASK, id=f"t{n}", source=3) for n in range(4)]
    plans = [GroupPlan(task, plain=12, seed=n) for n, task in enumerate(tasks)]
    found = []
    for make in (
        partial(ProcessEnvironment, partial(Flaky, 0.05, 0.01), timeout=0.5),
        partial(Flaky, 0.05, 0.01, naps=False),
    ):
        drop = DropEpisode()
        rollout = Rollout(
            make, Prompter(), ScriptedPolicy(reply), sampling=Sampling(), slots=6, on_fault=drop
        )
        groups = rollout.play(plans)
        kept = sum(len(group.trajectories) for group in groups)
        assert kept == 48 - drop.dropped
        assert drop.dropped > drop.timeouts > 0
        assert "KeyError: 'lost'" in "".join(drop.reasons)
        found.append((groups, drop.dropped, drop.timeouts))
    assert found[0] == found[1]


def test_an_environment_that_only_breaks_ends_the_run() -> None:
    drop = DropEpisode(patience=2)
    rollout = Rollout(
        partial(Flaky, 1.0), Prompter(), ScriptedPolicy(reply), sampling=Sampling(), on_fault=drop
    )
    rollout.play([GroupPlan(TASK, plain=2)])
    with pytest.raises(EnvironmentFault, match=r"no whole episode in 2 rollouts.*lost"):
        rollout.play([GroupPlan(TASK, plain=2)])


def test_a_run_on_a_flaky_world_goes_to_its_end_and_counts(tmp_path: Path) -> None:
    """5 % of all steps raise and 1 % hang, in the evaluations as well; all the rest is a real run."""
    settings = [
        "rollout.slots=16",
        "evaluation.splits=[valid_seen]",
        "rollout.processes=true",
        "rollout.timeout=0.5",
        "rollout.tasks=4",
    ]
    settings += ["internalization.iterations=1", "mining.max_iterations=1", "warmup.max_iterations=1"]
    config = load_config(SMOKE, assignments=settings)
    flaky = replace(suite(), make_env=partial(FlakyWorld, suite().make_env))
    run = compose(flaky, HFPolicy.load(base_path(), slots=16), None, config)
    directory = RunDirectory(tmp_path / "run")
    directory.create({"env": "alfworld", "policy": "tiny", "miner": "none", "data": None, "config": {}})
    played = []
    summary = execute(
        run,
        directory,
        report=lambda iteration, _: played.append(sum(len(g.trajectories) for g in iteration.groups)),
    )
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert summary.iterations == len(lines) == len(played)
    faults = sum(line["env/faults"] for line in lines)
    assert faults > sum(line["env/timeouts"] for line in lines) > 0
    assert sum(played) + faults == len(lines) * config.rollout.tasks * config.rollout.group_size
    events = [event for line in lines for event in line["events"]]
    assert any("episodes lost, the first to task" in event for event in events)


def test_an_evaluation_counts_a_lost_episode_as_a_failure() -> None:
    tasks = [replace(TASK, id=f"t{n}", split="valid", source=1) for n in range(40)]
    suite = Suite("flaky", partial(Flaky, 0.2), {"valid": tasks}, Prompter())
    found = evaluate(suite, ScriptedPolicy(lambda request: "up"), split="valid", sampling=Sampling())
    assert found.n == 40
    assert found.faults > 0
    assert found.successes == 40 - found.faults
