"""The clipped policy-gradient surrogate with asymmetric and dual clipping."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from siri.algos._checks import require_dtype, require_same_shape
from siri.algos.masked import masked_mean
from siri.errors import ConfigError

__all__ = ["SurrogateStats", "clipped_surrogate"]

LOG_RATIO_LIMIT = 20.0
"""exp(20) ≈ 5e8 is far outside every clip range and still finite in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class SurrogateStats:
    """Token means of the surrogate, detached scalars."""

    clip_frac: Tensor
    """Share of tokens whose gradient a clip has stopped."""
    approx_kl: Tensor
    """r − 1 − log r, the k3 estimate of KL(π_old ‖ π)."""
    ratio_mean: Tensor
    """Mean of r = π / π_old; 1 when on-policy."""


def clipped_surrogate(
    logprobs: Tensor,
    *,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    normalizer: float | None = None,
) -> tuple[Tensor, SurrogateStats]:
    """PPO's pessimistic clipped surrogate, per token (arXiv 1707.06347; dual clip arXiv 1912.09729).

        r    = π_θ(y[j]) / π_old(y[j])
        ℓ[j] = max(−A r, −A clip(r, 1−ε_low, 1+ε_high)),   and for A < 0   ℓ[j] = min(ℓ[j], −A c)
        L    = (1/Z) Σ_j mask[j] ℓ[j]

    Args:
        logprobs: float [B, T], log π_θ with gradient.
        old_logprobs: float [B, T], log π_old; constant.
        advantages: float [B, T], A; constant.
        mask: bool [B, T], the tokens that count; elsewhere the inputs may hold anything.
        clip_low: ε_low.
        clip_high: ε_high (larger than ε_low: "clip higher", arXiv 2503.14476).
        dual_clip: c > 1; None switches it off.
        normalizer: Z, tokens of the global mini-batch. Default: the tokens of this mask.

    Returns:
        (float32 scalar L, SurrogateStats normalised by the same Z).
    """
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    require_dtype("float", logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    require_dtype("bool", mask=mask)
    if dual_clip is not None and dual_clip <= 1.0:
        raise ConfigError(f"got dual_clip={dual_clip}, expected more than 1; fix: use 3.0, or None for none")
    log_ratio = torch.where(mask, logprobs.float() - old_logprobs.detach().float(), 0.0)
    log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    advantage = torch.where(mask, advantages.detach().float(), 0.0)
    ratio = log_ratio.exp()

    free = -advantage * ratio
    clipped = -advantage * ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = torch.maximum(free, clipped)
    stopped = clipped > free
    if dual_clip is not None:
        ceiling = -advantage * dual_clip
        beyond = (advantage < 0) & (loss > ceiling)
        loss = torch.where(beyond, ceiling, loss)
        stopped = stopped | beyond

    with torch.no_grad():
        stats = SurrogateStats(
            clip_frac=masked_mean(stopped.float(), mask, normalizer=normalizer),
            approx_kl=masked_mean(ratio - 1.0 - log_ratio, mask, normalizer=normalizer),
            ratio_mean=masked_mean(ratio, mask, normalizer=normalizer),
        )
    return masked_mean(loss, mask, normalizer=normalizer), stats
