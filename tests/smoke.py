"""Runs at the smallest size, and the command line in this process: what tests of several rooms start from."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from siri import cli
from siri.build import run as compose
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Iteration
from siri.envs.alfworld import alfworld_suite
from siri.errors import MinerFault
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout.suite import Suite
from siri.types import Skill

LOOK = "look_at_obj_in_light"
SMOKE = load_config(
    preset("smoke"),
    assignments=[f"env.kinds=[{LOOK}]", "env.max_steps=10", "rollout.tasks=2", "warmup.successes=1"],
)


@cache
def suite() -> Suite:
    return alfworld_suite(train_games=8, valid_games=4, max_steps=10, kinds=[LOOK])


class Writer:
    """Writes one right skill, with no model."""

    def mine(self, trajectories):
        names = tuple(t.id for t in trajectories)
        return [
            Skill(
                "right",
                LOOK,
                "the task is to look at an object under a light",
                "search the desk first, take it, then use the desklamp.",
                "human",
                0,
                names,
            )
        ]


class Silent:
    """A miner that is out."""

    def mine(self, trajectories):
        raise MinerFault("no answer")


def fresh(miner, config: RunConfig = SMOKE) -> Curriculum:
    torch.set_num_threads(1)
    return compose(suite(), HFPolicy.load(base_path(), slots=16), miner, config)


def record(run: Curriculum, count: int = 100) -> list[Iteration]:
    iterations = []
    for iteration in run:
        iterations.append(iteration)
        if len(iterations) == count:
            break
    return iterations


def numbers(iterations: list[Iteration]) -> list:
    return [(i.index, i.phase, dict(i.metrics), i.events) for i in iterations]


def siri(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["siri", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]
