"""Tensors written by some processes and read by others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from siri.errors import CheckpointError
from siri.training.shards import Piece, Shards, piece, share, snapshot, write_shard

TENSORS = {
    "embedding": torch.arange(44.0).reshape(11, 4),
    "half": torch.arange(6.0, dtype=torch.bfloat16).reshape(3, 2),
    "norm": torch.arange(5.0),
    "one": torch.tensor([2.0]),
    "scale": torch.tensor(3.0),
    "step": torch.tensor(7, dtype=torch.int64),
    "bytes": torch.arange(9, dtype=torch.uint8),
}


def rows(tensor: Tensor, rank: int, size: int) -> tuple[int, int]:
    """Of process ``rank``, by torch.chunk itself: a ruler of row numbers is cut."""
    parts = torch.arange(len(tensor)).chunk(size)
    if rank >= len(parts):
        return len(tensor), len(tensor)
    return int(parts[rank][0]), int(parts[rank][-1]) + 1


def write(folder: Path, size: int, spread: set[str]) -> None:
    folder.mkdir()
    for rank in range(size):
        pieces = []
        for name, tensor in TENSORS.items():
            if name in spread:
                a, b = rows(tensor, rank, size)
                pieces.append(Piece(name, tensor[a:b], tuple(tensor.shape), a, spread=True))
            else:
                pieces.append(piece(name, tensor))
        write_shard(folder, snapshot(share(pieces, rank=rank, size=size)), rank=rank, size=size)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("spread", [set(), {"embedding", "half", "norm", "one", "bytes"}])
def test_any_number_reads_what_another_wrote(tmp_path: Path, size: int, spread: set[str]) -> None:
    write(tmp_path / "s", size, spread if size > 1 else set())
    found = Shards(tmp_path / "s")
    assert found.names() == sorted(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(found.read(name), tensor)
        assert found.read(name).dtype == tensor.dtype
        for readers in (1, 2, 3, 7):
            if tensor.ndim:
                parts = [found.read(name, rows(tensor, rank, readers)) for rank in range(readers)]
                assert torch.equal(torch.cat(parts), tensor)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 6))
def test_whole_tensors_are_written_once_and_evenly(lengths: list[int], size: int) -> None:
    pieces = [piece(str(n), torch.zeros(length)) for n, length in enumerate(lengths)]
    shares = [list(share(pieces, rank=rank, size=size)) for rank in range(size)]
    assert sorted(p.name for own in shares for p in own) == sorted(p.name for p in pieces)
    loads = [sum(p.bytes for p in own) for own in shares]
    assert max(loads) - min(loads) <= 4 * max(lengths, default=0)


def test_a_snapshot_does_not_follow_the_tensor() -> None:
    tensor = torch.zeros(3)
    [kept] = snapshot([piece("x", tensor)])
    tensor += 1
    assert kept.value.tolist() == [0, 0, 0]


def test_a_missing_or_damaged_shard_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "s", 3, {"embedding"})
    target = tmp_path / "s" / "shard-00001-of-00003.safetensors"
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        Shards(tmp_path / "s")
    target.unlink()
    with pytest.raises(CheckpointError, match="2 shards"):
        Shards(tmp_path / "s")
    with pytest.raises(CheckpointError, match="0 shards"):
        Shards(tmp_path / "none")


def test_rows_that_lie_in_no_file_are_missed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    tensor = TENSORS["embedding"]
    for rank, (a, b) in enumerate([(0, 4), (5, 11)]):
        write_shard(tmp_path / "s", [Piece("x", tensor[a:b].clone(), (11, 4), a)], rank=rank, size=2)
    with pytest.raises(CheckpointError, match="rows of 'x' are missing"):
        Shards(tmp_path / "s")


def test_an_unknown_name_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "s", 1, set())
    with pytest.raises(CheckpointError, match="'other' is missing"):
        Shards(tmp_path / "s").read("other")
