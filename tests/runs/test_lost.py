"""Resuming where checkpoints cannot be reached or read; files of a run that are not what siri wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from siri.cli.app import threads
from siri.errors import CheckpointError, ConfigError, SiriError
from siri.runs import Run, RunDirectory, checkpoint
from siri.storage import entries_of, seal

DATA = Path(__file__).parent / "data" / "0.1.0"
LINE = json.dumps({"phase": "warmup", "env/total_steps": 8.0})


def sentence(read: Callable[[], object]) -> str | None:
    """What siri says of a damaged file; any other error passes."""
    try:
        read()
    except SiriError as error:
        return str(error)
    return None


def metrics(folder: Path, count: int) -> RunDirectory:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(f"{LINE}\n" * count)
    return RunDirectory(folder)


@pytest.mark.parametrize(
    ("there", "background", "count", "lost"),
    [
        (False, None, 2, False),
        (False, None, 3, True),
        (True, False, 2, False),
        (True, False, 3, True),
        (True, None, 4, False),
        (True, None, 5, True),
    ],
)
def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(
    there: bool, background: bool | None, count: int, lost: bool, tmp_path: Path
) -> None:
    directory = metrics(tmp_path / "run", count)
    if there:
        directory.checkpoints.mkdir()
    if lost:
        with pytest.raises(ConfigError, match="no checkpoint in"):
            directory.refuse_lost_checkpoints(2, background=background)
    else:
        directory.refuse_lost_checkpoints(2, background=background)
    assert len(directory.metrics.read_text().splitlines()) == count


def test_a_link_to_a_mount_that_is_gone_is_refused(tmp_path: Path) -> None:
    directory = metrics(tmp_path / "run", 1)
    directory.checkpoints.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="mount or restore"):
        directory.refuse_lost_checkpoints(10, background=None)


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"schema": 3}', '{"schema": 99}', "[" * 100_000])
def test_a_newest_checkpoint_that_cannot_be_read_is_passed_over_and_named(body: str, tmp_path: Path) -> None:
    whole = {"schema": 3, "score": None, **dict.fromkeys(checkpoint._PARTS)}
    for name, text in (("000001", json.dumps(whole)), ("000002", body)):
        fresh = tmp_path / f".{name}"
        fresh.mkdir()
        (fresh / "state.json").write_text(text)
        seal(fresh, tmp_path / name, entries_of([fresh / "state.json"]))
    said = []
    assert checkpoint.latest(tmp_path, damaged=said.append).name == "000001"
    assert len(said) == 1
    assert "000002" in said[0]
    assert "fix:" in said[0]
    shutil.rmtree(tmp_path / "000001")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        checkpoint.latest(tmp_path)


BAD = [
    b"",
    b"\xff\xfe\x00",
    b"{",
    b"[]",
    b"7",
    b'"x"',
    b"null",
    b"{}",
    b'{"a": 1}',
    b"[" * 100_000,
    b"1" * 5000,
]


@pytest.mark.parametrize(
    "name", ["config.json", "summary.json", "metrics.jsonl", "episodes.jsonl", "skills.json"]
)
@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_each_file_of_a_run_has_one_reader_with_one_sentence(
    name: str, content: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(DATA / "finished", folder)
    # more than the last line, which may be cut off
    extra = content if name.endswith("json") else content + b"\n" + (folder / name).read_bytes()
    (folder / name).write_bytes(extra)
    for read in (
        lambda: Run.open(folder).summary,
        lambda: Run.open(folder).metrics,
        lambda: Run.open(folder).skills,
        lambda: RunDirectory(folder).read_episodes(),
    ):
        said = sentence(read)
        assert said is None or len(said.replace(str(folder), "RUN")) <= 300
        assert said is None or "fix:" in said or name == "skills.json"


def test_parts_that_are_not_names_are_a_damaged_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(DATA / "finished", folder)
    described = json.loads((folder / "config.json").read_text())
    for change in ({"env": 7}, {"config": []}, {"miner": ["self"]}, {"policy": None}):
        (folder / "config.json").write_text(json.dumps({**described, **change}))
        with pytest.raises(ConfigError, match="fix:"):
            Run.open(folder)


def test_a_folder_whose_name_is_not_text_is_refused_before_training(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run\udcff")
    with pytest.raises(ConfigError, match="UTF-8"):
        directory.refuse_taken()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("said", "count"), [("", None), (" ", None), ("4", 4), ("4,2", 4), (" 8 ", 8)])
def test_threads(said: str, count: int | None) -> None:
    assert threads(said) == count


@pytest.mark.parametrize("said", ["0", "-1", "x", "4.0", "99999999999999999999", "²"])
def test_threads_that_are_no_count(said: str) -> None:
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS"):
        threads(said)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from siri.rollout.workers import ProcessEnvironment\n"
        "from siri.testing import ScriptedEnvironment\n"
        "ProcessEnvironment(ScriptedEnvironment, timeout=60).reset(seed=0)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert done.stderr.count('if __name__ == "__main__"') == 1
    assert done.stderr.count("Traceback") == 1
