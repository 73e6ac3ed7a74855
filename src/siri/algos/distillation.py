"""What a study puts beside internalisation: imitation, and distillation on the student's own samples.

In the last two the student π_S is the policy under the plain prompt x0, the teacher π_T the same weights
under the skill prompt x1, and y is sampled from the *student*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from siri.algos._checks import require_choice, require_dtype, require_rank, require_same_shape
from siri.algos.masked import masked_mean, widen
from siri.errors import ConfigError

__all__ = [
    "DistillationStats",
    "Gate",
    "cross_entropy",
    "gated_distillation",
    "reverse_kl_distillation",
]

Gate = Literal["sigmoid", "constant"]

GAP_LIMIT = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class DistillationStats:
    """Token means, detached scalars."""

    gap: Tensor
    """log π_T − log π_S of the sampled tokens: minus the k1 estimate of KL(π_S ‖ π_T)."""
    gate: Tensor
    """Mean gate; 1 without one."""


def cross_entropy(logprobs: Tensor, *, mask: Tensor, normalizer: float | None = None) -> Tensor:
    """Plain imitation of the masked tokens (SFT): every one weighs the same, helpful or not.

        L = −(1/Z) Σ_j mask[j] log π_θ(y[j])

    Args:
        logprobs: float [B, T], log π_θ with gradient.
        mask: bool [B, T].
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        scalar in float32 or wider.
    """
    require_rank(2, logprobs=logprobs)
    require_same_shape(logprobs=logprobs, mask=mask)
    require_dtype("float", logprobs=logprobs)
    return masked_mean(-widen(logprobs), mask, normalizer=normalizer)


def reverse_kl_distillation(
    logprobs: Tensor, *, teacher: Tensor, mask: Tensor, normalizer: float | None = None
) -> tuple[Tensor, DistillationStats]:
    """On-policy self-distillation by the reverse divergence KL(π_S ‖ π_T) (arXiv 2306.13649).

        L = (1/Z) Σ_j mask[j] ½ (log π_S(y[j]) − log π_T(y[j]))²

    The square, not the difference, is the loss: its gradient, (log π_S − log π_T) ∇log π_S, has the gradient
    of the divergence as its mean, while that of the difference, ∇log π_S, has mean 0.

    Args:
        logprobs: float [B, T], log π_S of the student's own samples, with gradient.
        teacher: float [B, T], log π_T of the same tokens; constant.
        mask: bool [B, T].
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        (scalar in float32 or wider, DistillationStats).
    """
    gap = _gap(logprobs, teacher, mask)
    loss = masked_mean(0.5 * gap.square(), mask, normalizer=normalizer)
    return loss, _stats(gap, torch.ones_like(gap), mask, normalizer)


def gated_distillation(
    logprobs: Tensor,
    *,
    teacher: Tensor,
    mask: Tensor,
    gate: Gate = "sigmoid",
    sharpness: float = 1.0,
    normalizer: float | None = None,
) -> tuple[Tensor, DistillationStats]:
    """Self-distillation with a gate on each token (SDAR, arXiv 2605.15155).

        Δ[j] = log π_T(y[j]) − log π_S(y[j]),   g[j] = stop_gradient( sigmoid(κ Δ[j]) )
        L    = (1/Z) Σ_j mask[j] g[j] Δ[j]

    Gradient of a token: −g ∇log π_S. Because ∇log π_S has mean 0 under the student, only the *variation* of
    the gate teaches: tokens that the teacher likes more than the average gain. With ``gate="constant"``
    (or κ = 0) the expected gradient is exactly 0 whatever the teacher says, and what remains is noise; it
    is here to show that, not to be used.

    Args:
        logprobs: float [B, T], log π_S of the student's own samples, with gradient.
        teacher: float [B, T], log π_T of the same tokens; constant.
        mask: bool [B, T].
        gate: ``"sigmoid"`` or ``"constant"``.
        sharpness: κ ≥ 0.
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        (scalar in float32 or wider, DistillationStats).
    """
    require_choice(gate, ("sigmoid", "constant"), "gate")
    if sharpness < 0:
        raise ConfigError(f"got sharpness={sharpness}, expected 0 or more; fix: use 1.0")
    gap = _gap(logprobs, teacher, mask)
    opening = torch.ones_like(gap) if gate == "constant" else torch.sigmoid(sharpness * gap.detach())
    loss = masked_mean(opening * gap, mask, normalizer=normalizer)
    return loss, _stats(gap, opening, mask, normalizer)


def _gap(logprobs: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    require_rank(2, logprobs=logprobs)
    require_same_shape(logprobs=logprobs, teacher=teacher, mask=mask)
    require_dtype("float", logprobs=logprobs, teacher=teacher)
    require_dtype("bool", mask=mask)
    gap = torch.where(mask, widen(teacher.detach()) - widen(logprobs), 0.0)
    return gap.clamp(-GAP_LIMIT, GAP_LIMIT)


def _stats(gap: Tensor, gate: Tensor, mask: Tensor, normalizer: float | None) -> DistillationStats:
    return DistillationStats(
        gap=masked_mean(gap.detach(), mask, normalizer=normalizer),
        gate=masked_mean(gate, mask, normalizer=normalizer),
    )
