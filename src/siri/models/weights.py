"""Weights on their way from the learner to a model."""

from __future__ import annotations

import copy

import torch
from torch import nn

from siri.protocols import WeightSource

__all__ = ["cast", "copy_weights", "frozen"]


def copy_weights(source: WeightSource, model: nn.Module) -> None:
    """Copy the weights of ``source`` into ``model``; those that are the model's own stay where they are.

    A collective, as ``source.named_weights()`` is. Names that the model does not have are left out.
    """
    own = model.state_dict()
    with torch.no_grad():
        for name, value in source.named_weights():
            if name in own and own[name].data_ptr() != value.data_ptr():
                own[name].copy_(value)


def frozen(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without gradients: the model as it is now."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Give the parameters of ``model`` another dtype, in place.

    Its buffers stay: angles of rotary positions are useless with the eight bits of a bfloat16.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
