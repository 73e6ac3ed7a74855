"""Weights in shared memory: what is written is what is mapped, and nothing outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from siri.policies import shared_memory
from siri.policies.buckets import mapped, written

WEIGHTS = {
    "matrix": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "half": torch.linspace(-1, 1, 7).bfloat16(),
    "transposed": torch.arange(6, dtype=torch.float16).reshape(2, 3).T,
    "bytes": torch.tensor([1, 2, 3], dtype=torch.int8),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
}


@pytest.mark.parametrize("most", [1, 64, 10_000])
def test_what_is_mapped_is_what_was_written(tmp_path: Path, most: int) -> None:
    contents = list(written(WEIGHTS.items(), tmp_path, most=most))
    found = {}
    for part in contents:
        assert len(part["tensors"]) == 1 or (tmp_path / part["file"]).stat().st_size <= most
        found |= dict(mapped(tmp_path / part["file"], part["tensors"]))
    assert list(found) == list(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert found[name].dtype == value.dtype
        assert found[name].equal(value)
    assert len(contents) == {1: 6, 64: 5, 10_000: 1}[most]


def test_files_of_older_weights_are_written_over(tmp_path: Path) -> None:
    list(written({"matrix": torch.ones(9, 9), "more": torch.ones(3)}.items(), tmp_path, most=1000))
    before = (tmp_path / "00000").stat()
    [part] = written({"matrix": WEIGHTS["matrix"]}.items(), tmp_path, most=1000)
    after = (tmp_path / "00000").stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, 64)
    assert dict(mapped(tmp_path / part["file"], part["tensors"]))["matrix"].equal(WEIGHTS["matrix"])


def test_weights_are_taken_one_at_a_time(tmp_path: Path) -> None:
    taken = []

    def weights():
        for name, value in WEIGHTS.items():
            taken.append(name)
            yield name, value

    parts = written(weights(), tmp_path, most=1)
    assert taken == []
    next(parts)
    assert taken == ["matrix", "half"]  # the first of the next file is known


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    [part] = written({"matrix": WEIGHTS["matrix"]}.items(), tmp_path, most=100)
    os.truncate(tmp_path / part["file"], 20)
    with pytest.raises(ValueError, match="got a file of 20 bytes, expected 48 for 'matrix'"):
        list(mapped(tmp_path / part["file"], part["tensors"]))


CLAIM = """
import sys, time
from pathlib import Path
from siri.policies import shared_memory
shared_memory.MEMORY = Path(sys.argv[1])
folder, _ = shared_memory.claimed()
(folder / "weights").write_bytes(bytes(100))
print(folder, flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_its_folder_only_until_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "MEMORY", tmp_path)
    other = subprocess.Popen([sys.executable, "-c", CLAIM, tmp_path], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other:
        theirs = Path(other.stdout.readline().strip())
        mine, lock = shared_memory.claimed()
        assert sorted(tmp_path.iterdir()) == sorted([mine, theirs])
        other.send_signal(signal.SIGKILL)
    other_things = tmp_path / "siri-weights-of-a-checkpoint"  # with TMPDIR=/dev/shm
    other_things.mkdir()
    again, second = shared_memory.claimed()
    assert sorted(tmp_path.iterdir()) == sorted([mine, again, other_things])
    os.close(lock)
    os.close(second)
