"""Divergence from a reference model, and entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from siri.algos._checks import require_choice, require_dtype, require_same_shape
from siri.algos.masked import masked_mean
from siri.errors import ShapeError

__all__ = ["DivergenceStats", "Estimator", "kl_divergence", "mean_entropy", "token_entropy"]

Estimator = Literal["k1", "k2", "k3"]

LOG_RATIO_LIMIT = 20.0
ESTIMATE_LIMIT = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class DivergenceStats:
    """Token means of the divergence, detached scalars."""

    mean: Tensor
    """The estimate itself."""
    clamp_frac: Tensor
    """Share of tokens whose estimate was clamped, and so has no gradient."""


def kl_divergence(
    logprobs: Tensor,
    *,
    reference: Tensor,
    mask: Tensor,
    estimator: Estimator = "k3",
    normalizer: float | None = None,
) -> tuple[Tensor, DivergenceStats]:
    """Sampled estimate of KL(π_θ ‖ π_ref), per token (J. Schulman, "Approximating KL divergence", 2020).

        d = log π_ref(y[j]) − log π_θ(y[j])
        k1 = −d        k2 = ½ d²        k3 = exp(d) − 1 − d,        each clamped to ±10
        L = (1/Z) Σ_j mask[j] k[j]

    k2 and k3 are ≥ 0. As a loss, k1 has a gradient of mean 0: use it to measure only.

    Args:
        logprobs: float [B, T], log π_θ with gradient.
        reference: float [B, T], log π_ref; constant.
        mask: bool [B, T], the tokens that count; elsewhere the inputs may hold anything.
        estimator: ``"k1"``, ``"k2"`` or ``"k3"``.
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        (float32 scalar L, DivergenceStats normalised by the same Z).
    """
    require_same_shape(logprobs=logprobs, reference=reference, mask=mask)
    require_dtype("float", logprobs=logprobs, reference=reference)
    require_dtype("bool", mask=mask)
    require_choice(estimator, ("k1", "k2", "k3"), "estimator")
    d = torch.where(mask, reference.detach().float() - logprobs.float(), 0.0)
    d = d.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    if estimator == "k1":
        estimate = -d
    elif estimator == "k2":
        estimate = 0.5 * d.square()
    else:
        estimate = torch.expm1(d) - d
    bounded = estimate.clamp(-ESTIMATE_LIMIT, ESTIMATE_LIMIT)
    loss = masked_mean(bounded, mask, normalizer=normalizer)
    clamped = (estimate.detach().abs() > ESTIMATE_LIMIT).float()
    stats = DivergenceStats(mean=loss.detach(), clamp_frac=masked_mean(clamped, mask, normalizer=normalizer))
    return loss, stats


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution: H = −Σ_v p[v] log p[v], in nats.

    Args:
        logits: float [..., V]; −∞ marks a forbidden token.

    Returns:
        float32 [...], in 0…log V.
    """
    if logits.ndim < 1:
        raise ShapeError(
            f"got logits of shape {tuple(logits.shape)}, expected [..., V]; fix: pass all logits"
        )
    require_dtype("float", logits=logits)
    logp = torch.log_softmax(logits.float(), dim=-1)
    # 0 · log 0 = 0; a finite stand-in keeps −∞ out of the gradient as well.
    return -(logp.exp() * logp.clamp(min=torch.finfo(torch.float32).min)).sum(dim=-1)


def mean_entropy(entropy: Tensor, *, mask: Tensor, normalizer: float | None = None) -> Tensor:
    """Mean entropy of the masked tokens: (1/Z) Σ_j mask[j] H[j].

    Args:
        entropy: float [B, T].
        mask: bool [B, T].
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        float32 scalar.
    """
    require_same_shape(entropy=entropy, mask=mask)
    require_dtype("float", entropy=entropy)
    return masked_mean(entropy.float(), mask, normalizer=normalizer)
