"""Where time goes and metrics are sent."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

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
