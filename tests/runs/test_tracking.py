"""Where time goes and metrics are sent."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import siri
from siri.errors import ConfigError, MissingExtra
from siri.processes import peak_memory
from siri.rollout.clock import Clock
from siri.runs.tracking import Trackers


def test_a_clock_adds_up_and_starts_anew() -> None:
    clock = Clock()
    for _ in range(2):
        with clock.part("generate"):
            time.sleep(0.01)
        clock.count("tokens", 5)
    found = clock.take()
    assert found["generate"] >= 0.02
    assert found["tokens_per_second"] == pytest.approx(10 / found["generate"], rel=0.1)
    assert "env_steps_per_second" not in found
    assert clock.take() == {}


def test_peak_memory_is_that_of_a_python_process() -> None:
    assert 10 < peak_memory() < 100_000


def test_unknown_and_missing_trackers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'paper'"):
        Trackers(["paper"], tmp_path, {})
    if importlib.util.find_spec("wandb") is None:
        with pytest.raises(MissingExtra, match="wandb"):
            Trackers(["wandb"], tmp_path, {})


def test_no_tracker_is_none_at_all(tmp_path: Path) -> None:
    trackers = Trackers([], tmp_path, {"a": {"b": 1}})
    trackers.log({"x": 1.0}, 0)
    trackers.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers = Trackers(["tensorboard"], tmp_path, {"a": {"b": 1, "c": None}})
    trackers.log({"arm/delta": 0.5}, 3)
    trackers.close()
    [events] = (tmp_path / "trackers").rglob("events.out*")
    found = EventAccumulator(str(events.parent)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("arm/delta")] == [(3, 0.5)]


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="needs trackio")
def test_trackio_gets_metrics_tables_and_episodes_as_traces(tmp_path: Path) -> None:
    """On this machine alone, read back from its own store by another process that knows where it lies."""
    script = """
import json, sys
from pathlib import Path
from siri.curriculum.notes import KeptGroup
from siri.rollout.evaluation import Evaluation
from siri.runs import StageResult
from siri.runs.tracking import Trackers
from siri.types import Group
from tests.skills.helpers import make_trajectory
trackers = Trackers(["trackio"], Path(sys.argv[1]) / "run", {"a": {"b": 1}})
trackers.stage("base", StageResult({"valid_seen": {"plain": Evaluation(1, 2, 0, {"k": (1, 2)})}}))
episode = make_trajectory()
trackers.log({"arm/delta": 0.5}, 3, [KeptGroup(0, Group(episode.task, (episode,)), ())])
trackers.close()
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO")}
    places = [str(Path(__file__).parents[2]), str(Path(siri.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment | {"PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [store] = (tmp_path / "run" / "trackers" / "trackio").glob("siri*.db")
    with closing(sqlite3.connect(store)) as base:
        rows = [json.loads(text) for (text,) in base.execute("select metrics from metrics")]
        traces = list(base.execute("select step, key, messages from traces"))
    found = {name: value for row in rows for name, value in row.items()}
    assert found["arm/delta"] == 0.5
    assert found["evaluation/valid_seen/plain"] == 0.5
    assert found["evaluation/base"]["_value"][0]["n"] == 2
    [(step, key, messages)] = traces
    assert (step, key) == (3, "episodes")
    assert json.loads(messages)[1] == {"role": "assistant", "content": "go to countertop 1"}
