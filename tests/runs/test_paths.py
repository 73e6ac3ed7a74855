"""A policy that is named by a relative folder is found again from any folder, inside an adapter too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import siri
from siri.policies import HFPolicy
from siri.policies.tiny import base_path

SHORT = {
    "env": {"max_steps": 4, "train_games": 4, "valid_games": 2},
    "rollout": {"tasks": 2, "group_size": 2, "max_tokens": 4},
    "warmup": {"max_iterations": 1},
    "mining": {"max_iterations": 1},
    "internalization": {"iterations": 1},
}


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("named", ["./models/mini", "models/mini", "models/../models/mini/"])
def test_a_run_resumes_and_evaluates_from_another_folder(
    named: str, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    (home / "models").mkdir(parents=True)
    other.mkdir()
    shutil.copytree(base_path(), home / "models" / "mini")
    monkeypatch.chdir(home)
    config = {**SHORT, "lora": {"rank": rank, "alpha": 4.0}}
    for _ in siri.stream(policy=named, miner=None, out="runs/a", preset="smoke", config=config):
        break
    assert Path(json.loads(Path("runs/a/config.json").read_text())["policy"]).is_absolute()
    monkeypatch.chdir(other)
    done = siri.train(out="../home/runs/a", miner=None, resume=True)
    assert done.state == "finished"
    before = done.evaluate("valid_seen").each[0].outcomes
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    again = siri.Run.open("../home/runs/a").evaluate("valid_seen").each[0].outcomes
    assert again == before
    loaded = HFPolicy.load("../home/runs/a/model", slots=2)
    assert loaded.slots == 2
    if rank:
        adapter = json.loads((home / "runs/a/model/adapter_config.json").read_text())
        assert Path(adapter["base_model_name_or_path"]).is_absolute()
