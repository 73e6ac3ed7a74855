"""A model in training that is spread over the processes of a job (FSDP2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["shard", "whole"]


def shard(scorer: nn.Module, compute: torch.dtype | None) -> None:
    """FSDP2: each block of the transformer on its own, the rest as one; gradients are reduced in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    precision = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32 if compute else None)
    names = set(getattr(scorer, "_no_split_modules", None) or ())
    for part in scorer.modules():
        if type(part).__name__ in names:
            fully_shard(part, mp_policy=precision)
    fully_shard(scorer, mp_policy=precision)


def whole(value: Any) -> Any:
    """A tensor that is spread over processes, gathered: a collective. Others as they are."""
    gather = getattr(value, "full_tensor", None)
    return value if gather is None else gather()
