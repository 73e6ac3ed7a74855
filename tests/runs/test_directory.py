"""The run directory: who may train in it, and what may lie in it already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from siri.errors import ConfigError
from siri.runs import RunDirectory

HOLDER = """
import sys, time
from pathlib import Path
from siri.runs import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""

DESCRIPTION = dict.fromkeys(("env", "policy", "miner", "data", "config"))
"""What config.json must hold at least."""


def test_a_directory_in_use_is_locked_until_its_process_dies(folder: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process trains in"), RunDirectory(folder).locked():
            pass
        holder.kill()
        holder.wait()
    with RunDirectory(folder).locked():
        RunDirectory(folder).create(DESCRIPTION)
    assert RunDirectory(folder).describe() == DESCRIPTION


def test_a_start_that_was_killed_may_be_repeated(folder: Path) -> None:
    directory = RunDirectory(folder)
    with directory.locked():
        directory.create(DESCRIPTION | {"a": 1})
    directory.config.unlink()
    (folder / ".config.json.77.new").write_text("{")
    with directory.locked():
        directory.create(DESCRIPTION | {"a": 2})
    assert directory.describe() == DESCRIPTION | {"a": 2}
    with directory.locked(), pytest.raises(ConfigError, match="holds a run"):
        directory.create(DESCRIPTION)


def test_lines_of_repeated_iterations_and_half_lines_are_dropped(folder: Path) -> None:
    directory = RunDirectory(folder)
    folder.mkdir()
    directory.metrics.write_text('{"iteration": 0}\n{"iteration": 1}\n{"itera')
    directory.truncate_metrics(1)
    assert directory.metrics.read_text() == '{"iteration": 0}\n'


HOME = (".bashrc.old", ".profile.12.new", ".vimrc.tmp", "notes.txt", ".ssh.old/id", ".config.old/a/b")
"""What a home folder may hold."""


def _fill(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
    return _content(folder)


def _content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("config.json",),
        ("versions.json",),
        ("checkpoints/.x.old/a", "checkpoints/.000001.7.new/a"),
        (".config.json.77.new",),
    ],
)
def test_a_folder_that_is_not_a_run_is_refused_and_left_as_it_is(
    folder: Path, extra: tuple[str, ...]
) -> None:
    before = _fill(folder, (*HOME, *extra))
    with pytest.raises(ConfigError), RunDirectory(folder).locked():
        pass
    with pytest.raises(ConfigError):
        RunDirectory(folder).create(DESCRIPTION)
    assert _content(folder) == before  # not even a lock file


@pytest.mark.parametrize("name", HOME)
def test_one_file_of_somebody_else_is_enough(folder: Path, name: str) -> None:
    before = _fill(folder, (name,))
    with pytest.raises(ConfigError), RunDirectory(folder).locked():
        pass
    assert _content(folder) == before


def test_in_a_run_only_what_siri_wrote_aside_is_removed(folder: Path) -> None:
    directory = RunDirectory(folder)
    with directory.locked():
        directory.create(DESCRIPTION)
    kept = (*HOME, "checkpoints/.cache.old/a", "checkpoints/.run.7.new")
    ours = (".skills.json.7.new", ".metrics.jsonl.7.new", ".model.7.old/a", "checkpoints/.000012.7.new/a")
    _fill(folder, (*kept, *ours))
    with directory.locked():
        assert {name for name in (*kept, *ours) if (folder / name).exists()} == set(kept)
