"""Passes through a model: in training, without gradient, and of the reference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from siri.algos.objectives import TokenBatch
from siri.models.adapters import adapter_off, has_adapter
from siri.models.scoring import likeliest, logprobs_only, score

__all__ = ["Scorer", "autocast", "mode", "reference_logprobs"]


class Scorer(nn.Module):
    """``score`` as a module: what wraps it (DDP, FSDP, autocast) sees the forward pass it has to see.

    Args:
        model: a causal language model.
        half: compute in bfloat16 where it is safe (autocast); weights and their gradients stay as they are.
    """

    def __init__(self, model: nn.Module, *, half: bool = False) -> None:
        super().__init__()
        self.model, self.rounds = model, half
        self._no_split_modules = getattr(model, "_no_split_modules", None)

    def forward(self, batch: TokenBatch, entropy: bool = True, top_k: int = 0) -> tuple[Tensor, ...]:
        """Log-probs and entropies, and those of ``batch.top``; or, with ``top_k``, the likeliest tokens."""
        with autocast(batch, half=self.rounds):
            if top_k:
                return likeliest(self.model, batch, top_k)
            scores = score(self.model, batch, entropy=entropy)
        if scores.top is None:
            return scores.logprobs, scores.entropy
        return scores.logprobs, scores.entropy, scores.top


def autocast(batch: TokenBatch, *, half: bool) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where it is safe, with ``half``; otherwise what is in force already."""
    if not half:
        return contextlib.nullcontext()
    return torch.autocast(batch.input_ids.device.type, dtype=torch.bfloat16)


def reference_logprobs(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Of the frozen initial model, float32 [B, T]; a model with an adapter is read without it."""
    if not has_adapter(model):
        return logprobs_only(model, batch)
    with mode(model, training=False), adapter_off(model):
        return logprobs_only(model, batch)


@contextlib.contextmanager
def mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Training or evaluation mode for the time being; afterwards each part has the one it had."""
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was in before.items():
            part.training = was
