"""Checkpoints of a real run: what they hold, what stays, what is refused.

That a run goes on to the same end is in tests/test_curriculum.py.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pytest
import torch

from siri.build import run as compose
from siri.config import load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Iteration
from siri.errors import CheckpointError
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.runs import RunDirectory, checkpoint, execute
from siri.testing import ScriptedPolicy, scripted_suite
from tests.limits import file_limit
from tests.smoke import SMOKE, fresh, record, suite
from tests.test_doors import reply

SHARD = "shard-00000-of-00001.safetensors"
FILES = {SHARD, "skills.json", "state.json", "manifest.json"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of one run without a miner."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    run = fresh(None)
    for _ in range(2):
        record(run, 1)
        checkpoint.save(run, folder)
    return folder


def flip(path: Path, place: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])


def test_a_checkpoint_is_safetensors_and_json(saved: Path) -> None:
    assert {path.name for path in (saved / "000002").iterdir()} == FILES
    body = json.loads((saved / "000002" / "state.json").read_text())
    assert body["config"] == SMOKE.model_dump(mode="json")
    assert body["state"]["index"] == 2


def test_a_damaged_checkpoint_is_refused_by_name_and_the_previous_one_used(
    saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    places = random.Random(0)
    run = fresh(None)
    for name in FILES:
        path = tmp_path / "000002" / name
        size = path.stat().st_size
        for place in (0, size - 1, places.randrange(size)):
            flip(path, place)
            said: list[str] = []
            assert checkpoint.latest(tmp_path, damaged=said.append) == tmp_path / "000001"
            assert len(said) == 1
            assert name in said[0]
            assert "000002" in said[0]
            with pytest.raises(CheckpointError, match=name):
                checkpoint.restore(run, tmp_path / "000002")
            flip(path, place)
    assert checkpoint.latest(tmp_path) == tmp_path / "000002"
    (tmp_path / "000001" / "state.json").unlink()
    flip(tmp_path / "000002" / SHARD, 500)
    with pytest.raises(CheckpointError, match=r"no whole checkpoint.*000002.*000001"):
        checkpoint.latest(tmp_path)


def test_the_last_and_the_best_stay(tmp_path: Path) -> None:
    run = fresh(None)
    for index, score in enumerate([0.1, 0.7, 0.3, None, 0.5]):
        run.state.index = index
        checkpoint.save(run, tmp_path, keep=2, score=score)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000003", "000004"]
    (tmp_path / "000001" / "state.json").write_text("{")
    run.state.index = 5
    checkpoint.save(run, tmp_path, keep=1, score=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004", "000005"]


def test_a_full_disk_leaves_the_previous_checkpoint(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    run = fresh(None)
    record(run, 1)
    run.state.index = 3
    for size in (100, 100_000):  # before the state is written, and before the weights are
        with file_limit(size), pytest.raises(CheckpointError, match=r"000003.*resume=True"):
            checkpoint.save(run, tmp_path)
    assert checkpoint.latest(tmp_path) == tmp_path / "000002"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000002"]


def test_another_configuration_or_model_is_refused(saved: Path) -> None:
    other = load_config(SMOKE, assignments=["optimizer.lr=0.5"])
    with pytest.raises(CheckpointError, match=r"optimizer\.lr=0\.5, expected 0\.0006"):
        checkpoint.restore(fresh(None, other), saved / "000002")
    run = fresh(None)
    del run.policy.model.model.layers[2]
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.restore(run, saved / "000002")


def test_every_generator_is_put_back(tmp_path: Path) -> None:
    run = fresh(None)
    path = checkpoint.save(run, tmp_path)
    expected = (torch.rand(3).tolist(), random.random())
    checkpoint.restore(run, path)
    assert (torch.rand(3).tolist(), random.random()) == expected


def test_a_save_in_the_background_holds_what_was_there_when_it_began(tmp_path: Path) -> None:
    run = fresh(None)
    record(run, 1)
    wanted = {name: value.clone() for name, value in run.learner.weights().items()}
    saving = checkpoint.Saving(run, tmp_path, background=True)
    assert checkpoint.saved(tmp_path) == []  # not before it is sealed
    record(run, 1)
    path = saving.finish()
    assert checkpoint.saved(tmp_path) == [path]
    again = fresh(None)
    checkpoint.restore(again, path)
    assert all(torch.equal(value, wanted[name]) for name, value in again.learner.weights().items())


def test_a_full_disk_in_the_background_is_said_when_it_ends(tmp_path: Path) -> None:
    run = fresh(None)
    record(run, 1)
    with file_limit(100_000):
        saving = checkpoint.Saving(run, tmp_path, background=True)
        with pytest.raises(CheckpointError, match="resume=True"):
            saving.finish()
    assert list(tmp_path.iterdir()) == []


def test_weights_alone(saved: Path) -> None:
    policy = HFPolicy.load(base_path(), slots=1)
    run = compose(suite(), policy, None, SMOKE)
    checkpoint.restore(run, saved / "000002")
    found = checkpoint.weights_of(saved / "000002")
    assert all(torch.equal(found[name], value) for name, value in policy.model.named_parameters())


def test_what_a_kill_cut_short_is_no_checkpoint(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "000001", tmp_path / ".000009.77.new")
    assert checkpoint.saved(tmp_path) == []
    (tmp_path / "000008").mkdir()
    assert checkpoint.saved(tmp_path) == []


@pytest.mark.parametrize("lost", [False, True])
def test_a_fault_during_a_save_in_the_background(
    lost: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was on its way is sealed before the fault is raised; if it cannot be, that is said too."""
    config = load_config(
        preset("smoke"),
        assignments=["rollout.tasks=2", "checkpoint={every: 1, background: true}", "evaluation.splits=[]"],
    )
    run = Curriculum(scripted_suite(), ScriptedPolicy(reply), miner=None, learner=None, config=config)
    directory = RunDirectory(tmp_path / "run")
    directory.create({"env": "scripted", "policy": "scripted", "miner": "none", "data": None, "config": {}})

    def report(iteration: Iteration, seconds: float) -> None:
        if iteration.index == 2:
            if lost:
                [fresh] = directory.checkpoints.glob(".000003.*.new")
                time.sleep(0.2)
                shutil.rmtree(fresh)
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        execute(run, directory, report=report)
    assert [path.name for path in checkpoint.saved(directory.checkpoints)] == (
        ["000001", "000002"] if lost else ["000001", "000002", "000003"]
    )
    assert ("while writing" in caplog.text) == lost
    assert not list(directory.checkpoints.glob(".*.new"))


def test_whatever_happens_in_the_thread_of_a_save_is_said_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(checkpoint, "write_shard", breaks)
    run = fresh(None)
    saving = checkpoint.Saving(run, tmp_path, background=True)
    with pytest.raises(CheckpointError, match=r"ZeroDivisionError \(odd\).*resume=True"):
        saving.finish()
    assert list(tmp_path.iterdir()) == []
