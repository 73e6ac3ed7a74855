"""Moving weights: from the learner to a model, from the files of a checkpoint, to an engine."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from siri.models.adapters import has_adapter, low_rank, merged
from siri.models.files import WeightFiles
from siri.protocols import WeightSource

__all__ = [
    "Outline",
    "Rows",
    "cast",
    "copy_weights",
    "frozen",
    "hollow",
    "is_hollow",
    "is_spread",
    "outlines",
    "rows_of",
    "streamed",
    "whole",
]

Rows = Callable[[str, tuple[int, int] | None], Tensor]
"""Reads rows (first, end) of a weight by its name, or all of it (None)."""


def copy_weights(source: WeightSource, model: nn.Module) -> None:
    """Copy the weights of ``source`` into ``model``; do nothing if they are the model's own.

    A collective, like ``source.named_weights()``. Names that the model does not have are left out.
    """
    if source.model is model:
        return
    own = model.state_dict()
    with torch.no_grad():
        for name, value in source.named_weights():
            if name in own and own[name].data_ptr() != value.data_ptr():
                own[name].copy_(value)


def frozen(model: nn.Module) -> nn.Module:
    """Copy the model as it is now, in evaluation mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Give the parameters of ``model`` another dtype, in place.

    Its buffers do not change: angles of rotary positions are useless with the eight bits of a bfloat16.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def hollow(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a model without its weights: parameters have shapes but no memory (torch's meta device).

    Args:
        model: the model; it is not changed.
        dtype: dtype of the parameters; None keeps each parameter's own.
    """
    empty: dict[int, Any] = {}
    for parameter in model.parameters():
        shape = torch.empty(parameter.shape, dtype=dtype or parameter.dtype, device="meta")
        empty[id(parameter)] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
    return copy.deepcopy(model, empty)


def is_hollow(model: nn.Module) -> bool:
    """Whether some weights of ``model`` are still in its files."""
    return any(parameter.is_meta for parameter in model.parameters())


def is_spread(model: nn.Module) -> bool:
    """Whether ``model`` is sharded over the processes of the job, so that no process has it whole."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(value: Any) -> Any:
    """Gather a tensor that is sharded over processes (a collective); return any other unchanged."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def rows_of(model: Any) -> Rows:
    """Make a reader of the current weights of ``model``; weights without memory come from its files."""
    own = {name: value.detach() for name, value in model.named_parameters()}
    files = WeightFiles(model.name_or_path) if any(value.is_meta for value in own.values()) else None

    def read(name: str, rows: tuple[int, int] | None) -> Tensor:
        value: Tensor = own[name]
        if files is not None and value.is_meta:
            return files.read(name.replace(".base_layer.", "."), rows)
        return value if rows is None or not value.ndim else value[rows[0] : rows[1]]

    return read


def streamed(
    model: Any, dtype: torch.dtype | None = None, *, merge: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """Yield whole weights under their checkpoint names, one after the other, with an adapter merged in.

    A collective where the model is sharded: every process iterates to the end. A shard is cast before it is
    gathered. A merged weight is base + alpha / rank · B A, computed in float32 and rounded once to ``dtype``;
    the trained weights are not changed.

    A tied head is also yielded under its own name. On CPUs vLLM computes with a packed copy of the head, and
    makes that copy again only when it receives the head.

    Args:
        model: a transformers causal LM, whole, sharded over processes, or with weights still in its files.
        dtype: dtype of the yielded weights; None keeps each weight's own.
        merge: whether an adapter is merged in; False yields the weights below it.
    """
    read = rows_of(model) if is_hollow(model) else None
    adapter = merge and has_adapter(model)
    for own, name, parameter in _carried(model):
        value, added = parameter.detach(), low_rank(model, own) if adapter else None
        if value.is_meta and read is not None:
            value = read(own, None)
        if added is None:
            yield name, whole(value if dtype is None else value.to(dtype))
        else:
            base: Tensor = whole(value)
            yield name, merged(base, whole(added.a), whole(added.b), added).to(dtype or base.dtype)


class Outline(NamedTuple):
    """What is known of a weight before it is gathered."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole weight."""
        return self.dtype.itemsize * math.prod(self.shape)


def outlines(model: Any, dtype: torch.dtype | None = None) -> list[Outline]:
    """Outline everything that ``streamed`` yields, in its order; nothing is gathered."""
    return [
        Outline(name, dtype or parameter.dtype, tuple(parameter.shape))
        for _, name, parameter in _carried(model)
    ]


def _carried(model: Any) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Own name, checkpoint name and parameter of everything that an engine is given."""
    adapter, names = has_adapter(model), {}
    for name, parameter in model.named_parameters():
        if adapter and ".lora_" in name:
            continue
        names[id(parameter)] = name
        yield name, name.replace(".base_layer.", "."), parameter
    if model.config.get_text_config().tie_word_embeddings:
        head = model.get_output_embeddings().weight
        yield names.get(id(head), "lm_head.weight"), "lm_head.weight", head
