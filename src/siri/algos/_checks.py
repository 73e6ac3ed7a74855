"""Shape and dtype checks for the first lines of a public function. They read no values: no device sync."""

from __future__ import annotations

import torch
from torch import Tensor

from siri.errors import ConfigError, ShapeError

__all__ = ["require_choice", "require_dtype", "require_rank", "require_same_shape"]


def require_rank(rank: int, **tensors: Tensor) -> None:
    """Raise ShapeError unless every tensor has ``rank`` dimensions."""
    for name, tensor in tensors.items():
        if tensor.ndim != rank:
            raise ShapeError(
                f"got {name} of shape {tuple(tensor.shape)}, expected rank {rank}; "
                f"fix: reshape {name} to {rank} dimension(s)"
            )


def require_same_shape(**tensors: Tensor) -> None:
    """Raise ShapeError unless all tensors have the shape of the first one."""
    first, *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first[1].shape:
            raise ShapeError(
                f"got {name} of shape {tuple(tensor.shape)}, expected {tuple(first[1].shape)} "
                f"like {first[0]}; fix: align their rows and padding"
            )


def require_dtype(kind: str, **tensors: Tensor) -> None:
    """Raise ShapeError unless every tensor is of ``kind``: ``"float"``, ``"int64"`` or ``"bool"``."""
    for name, tensor in tensors.items():
        fits = tensor.is_floating_point() if kind == "float" else tensor.dtype is getattr(torch, kind)
        if not fits:
            raise ShapeError(
                f"got {name} of dtype {tensor.dtype}, expected {kind}; fix: convert it with {name}.to(...)"
            )


def require_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ConfigError(f"got {name}={value!r}, expected one of {choices}; fix: choose one of them")
