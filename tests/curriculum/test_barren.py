"""Runs of which nothing is left: no step played, no step learned. They say so, and stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from siri.algos import Loss, SiriObjective
from siri.build import run as compose
from siri.config import load_config
from siri.curriculum import Curriculum, State
from siri.curriculum.phases import PATIENCE, refuse_barren, strike
from siri.errors import LearningFault, PolicyFault
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.runs import RunDirectory, execute
from tests.smoke import SMOKE, suite

PLAYED = {"env/steps": 9.0, "learn/steps": 2.0, "learn/skipped": 0.0}


def strikes(*metrics: dict[str, float]) -> State:
    state = State()
    for found in metrics:
        strike(state, {**PLAYED, **found}, trouble="nan")
    return state


def test_only_a_row_of_iterations_counts() -> None:
    idle = {"env/steps": 0.0, "learn/steps": 0.0}
    skipped, partly = {"learn/skipped": 2.0}, {"learn/skipped": 1.0}
    for good in (
        strikes(idle, idle, {}, idle, idle),
        strikes(skipped, skipped, partly, skipped),
        strikes(skipped, idle, skipped),
        strikes(),
    ):
        refuse_barren(good)
    with pytest.raises(LearningFault, match="without a played step"):
        refuse_barren(strikes(*[idle] * PATIENCE))
    with pytest.raises(LearningFault, match=r"all skipped \(nan\)"):
        refuse_barren(strikes(skipped, skipped, idle, skipped))


def test_a_baseline_whose_prompts_never_fit_ends_at_once_with_the_numbers(tmp_path: Path) -> None:
    """What --match sets, with no miner, has no other end."""
    config = load_config(SMOKE, assignments=["max_env_steps=100000", "evaluation.splits=[valid_seen]"])
    policy = HFPolicy.load(base_path(), slots=16, max_context=20)
    run = compose(suite(), policy, None, config)
    directory = RunDirectory(tmp_path / "run")
    directory.create({"env": "alfworld", "policy": "tiny", "miner": "none", "data": None, "config": {}})
    with pytest.raises(PolicyFault, match=r"the prompt has \d+ tokens, the policy takes \d+") as caught:
        execute(run, directory)
    assert len(str(caught.value)) <= 300
    lines = directory.read_metrics()
    assert len(lines) == 1
    assert "the prompt has" in lines[0]["events"][0]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_a_run_with_its_reason(wrong: float, tmp_path: Path) -> None:
    calls = []

    def objective(batch, scores):
        calls.append(batch)
        found = SiriObjective(kl=0.0)(batch, scores)
        if len(calls) == 1:  # the trial
            return found
        return Loss(found.value + torch.tensor(wrong), {**found.metrics, "own/figure": wrong})

    config = load_config(SMOKE, assignments=["warmup.max_iterations=9", "warmup.successes=9999"])
    policy = HFPolicy.load(base_path(), slots=16)
    run = Curriculum(suite(), policy, miner=None, objective=objective, config=config)
    before = [value.clone() for value in policy.model.parameters()]
    iterations = []
    with pytest.raises(LearningFault, match=f"the loss was {wrong}"):
        iterations.extend(run)
    assert len(iterations) == PATIENCE
    for iteration in iterations:
        json.dumps(dict(iteration.metrics), allow_nan=False)
        assert "own/figure" not in iteration.metrics
        assert any("optimizer steps skipped: the loss was" in event for event in iteration.events)
    assert all(torch.equal(was, now) for was, now in zip(before, policy.model.parameters(), strict=True))
    with pytest.raises(LearningFault):
        run.step()
