"""Weights in files of shared memory: a trainer writes them, vLLM's workers map them.

A file is the bytes of tensors, one after the other. What they are is JSON: name, dtype, shape and offset.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["SHARED", "mapped", "written"]

SHARED = "siri-shm"
"""Name of the backend, for vLLM."""
_ALIGNED = 64
"""Every tensor begins at a multiple of so many bytes."""


def written(weights: Iterable[tuple[str, Tensor]], folder: Path, *, most: int) -> Iterator[dict[str, Any]]:
    """Write weights into files of ``folder``, one tensor at a time; yield the contents of each, as JSON.

    Files of older weights are written over: memory that is there already takes half as long to fill.

    Args:
        weights: names and tensors, on any device.
        folder: the folder.
        most: most bytes of a file, unless one tensor is larger.

    Raises:
        OSError: there is no room.
    """
    rest = iter(weights)
    item, number = next(rest, None), 0
    while item is not None:
        tensors: list[list[Any]] = []
        size = 0
        with os.fdopen(os.open(folder / f"{number:05d}", os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            while item is not None and (not tensors or size + item[1].nbytes <= most):
                name, value = item
                tensors.append([name, str(value.dtype).removeprefix("torch."), list(value.shape), size])
                file.write(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
                size += file.write(bytes(-value.nbytes % _ALIGNED)) + value.nbytes
                item = next(rest, None)
            file.truncate()
        yield {"file": f"{number:05d}", "tensors": tensors}
        number += 1


def mapped(path: Path, tensors: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of a file; they share its memory, and are valid while it is kept.

    Args:
        path: the file.
        tensors: name, dtype, shape and offset of each, as ``written`` yielded them.

    Raises:
        ValueError: the file ends before a tensor does.
    """
    size = path.stat().st_size
    memory = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    for name, dtype, shape, offset in tensors:
        kind: torch.dtype = getattr(torch, dtype)
        end = offset + kind.itemsize * torch.Size(shape).numel()
        if end > size:
            raise ValueError(f"got a file of {size} bytes, expected {end} for {name!r}")
        yield name, memory[offset:end].view(kind).view(shape)
