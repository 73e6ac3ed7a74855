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
