"""Files that are whole or absent: every byte is checked, and a failed write leaves what was there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.errors import CheckpointError
from siri.storage import is_sealed, remove_leftovers, sealed_folder, verify, write_atomic
from tests.limits import file_limit


def fill(target: Path, **files: str) -> Path:
    with sealed_folder(target) as fresh:
        for name, text in files.items():
            (fresh / name).write_text(text)
    return target


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("sealed") / "000001", a="one", b="two" * 40)


def test_a_sealed_folder_is_whole(sealed: Path) -> None:
    assert is_sealed(sealed)
    verify(sealed)
    assert sorted(path.name for path in sealed.parent.iterdir()) == ["000001"]


@given(name=st.sampled_from(["a", "b", "manifest.json"]), share=st.floats(0, 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused_by_name(sealed: Path, name: str, share: float, flip: int) -> None:
    whole = (sealed / name).read_bytes()
    place = min(int(share * len(whole)), len(whole) - 1)
    (sealed / name).write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
    try:
        with pytest.raises(CheckpointError, match=rf"000001: {name}"):
            verify(sealed)
    finally:
        (sealed / name).write_bytes(whole)


def test_missing_added_and_cut_files_are_refused(tmp_path: Path) -> None:
    target = fill(tmp_path / "1", a="one")
    (target / "extra").write_text("")
    with pytest.raises(CheckpointError, match="extra was added"):
        verify(target)
    (target / "extra").unlink()
    os.truncate(target / "a", 2)
    with pytest.raises(CheckpointError, match="a changed"):
        verify(target)
    (target / "a").unlink()
    with pytest.raises(CheckpointError, match="a is missing"):
        verify(target)
    (target / "manifest.json").unlink()
    assert not is_sealed(target)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = fill(tmp_path / "1", a="one")
    write_atomic(tmp_path / "file", "before")
    with file_limit(1000):
        with pytest.raises(CheckpointError, match=r"File too large while writing .*expected room"):
            fill(target, a="x" * 5000)
        with pytest.raises(CheckpointError, match="File too large"):
            write_atomic(tmp_path / "file", "x" * 5000)
    verify(target)
    assert (target / "a").read_text() == "one"
    assert (tmp_path / "file").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "file"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="Not a directory"):
        fill(tmp_path / "file" / "1", a="one")
    with pytest.raises(CheckpointError, match="Not a directory"):
        write_atomic(tmp_path / "file" / "x", "one")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="Permission denied"):
        write_atomic(tmp_path / "x", "one")
    tmp_path.chmod(0o700)


def test_an_exception_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sealed_folder(tmp_path / "1"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".1.77.new", ".1.77.old", ".ssh.old", ".12.77.old.old", ".2.77.new"):
        (tmp_path / name).mkdir()
    for name in (
        ".file.77.new",
        ".bashrc.old",
        ".file.new",
        ".file.x7.new",
        ".other.77.new",
        ".lock",
        "file",
    ):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path, r"1|file")
    kept = [
        ".12.77.old.old",
        ".2.77.new",
        ".bashrc.old",
        ".file.new",
        ".file.x7.new",
        ".lock",
        ".other.77.new",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*kept, ".ssh.old", "file"]


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "none", "file")
