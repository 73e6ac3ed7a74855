"""Weights against an engine that samples with other numbers than the trainer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from siri.algos._checks import require_choice, require_dtype, require_rank, require_same_shape
from siri.algos.masked import run_means, widen
from siri.algos.surrogate import LOG_RATIO_LIMIT
from siri.errors import ConfigError

__all__ = ["MismatchUnit", "Outside", "mismatch_weights"]

MismatchUnit = Literal["token", "sequence", "geometric"]
"""A sequence is a run of masked tokens, the completion of one turn; geometric is its mean token."""
Outside = Literal["truncate", "mask"]
"""What becomes of a weight that is too large, and of what it belongs to."""


def mismatch_weights(
    old_logprobs: Tensor,
    *,
    rollout_logprobs: Tensor,
    mask: Tensor,
    limit: float = 2.0,
    unit: MismatchUnit = "token",
    outside: Outside = "truncate",
) -> Tensor:
    """Importance weights from the engine's distribution to the trainer's, of the same weights and prompt.

        d[j] = log π_old(y[j]) − log π_rollout(y[j])
        r[j] = exp d[j]                          unit = token
        r[j] = exp Σ_k d[k]                      unit = sequence, k over the completion of j
        r[j] = exp( 1/|y| Σ_k d[k] )             unit = geometric
        ρ[j] = min(r[j], C)                      outside = truncate
        ρ[j] = r[j] if 1/C ≤ r[j] ≤ C else 0     outside = mask

    Token and truncate is TIS (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
    Training"); sequence and mask are of Liu et al. 2025, "When Speed Kills Stability: Demystifying RL
    Collapse from the Training-Inference Mismatch"; token and mask is IcePop's (arXiv 2510.18855) with its
    two bounds tied. The ratio of tokens is biased, of little variance; that of sequences is unbiased before
    it is cut, and its variance grows with their length. What is masked stays in the normaliser Z.

    Args:
        old_logprobs: float [B, T], of the sampled tokens under the trainer, before the update.
        rollout_logprobs: float [B, T], as the engine reported them when it sampled; of the distribution that
            it sampled from, which with top_p below 1 or another temperature they are not.
        mask: bool [B, T].
        limit: C > 0, and above 1 to mask.
        unit: whose ratio weighs a token.
        outside: cut at C, or 0 outside [1/C, C].

    Returns:
        float [B, T] in float32 or wider, without gradient; 0 outside the mask.

    Raises:
        ShapeError: tensors that do not fit each other. ConfigError: an option out of range.
    """
    require_rank(2, old_logprobs=old_logprobs)
    require_same_shape(old_logprobs=old_logprobs, rollout_logprobs=rollout_logprobs, mask=mask)
    require_dtype("float", old_logprobs=old_logprobs, rollout_logprobs=rollout_logprobs)
    require_dtype("bool", mask=mask)
    require_choice(unit, ("token", "sequence", "geometric"), "unit")
    require_choice(outside, ("truncate", "mask"), "outside")
    if limit <= (outside == "mask"):
        least = "1" if outside == "mask" else "0"
        raise ConfigError(f"got limit={limit}, expected more than {least}; fix: use 2.0")
    gap = torch.where(mask, widen(old_logprobs.detach()) - widen(rollout_logprobs.detach()), 0.0)
    if unit != "token":
        mean, length = run_means(gap, mask)
        gap = mean * length if unit == "sequence" else mean
    ratio = gap.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    if outside == "truncate":
        return torch.where(mask, ratio.clamp(max=limit), 0.0)
    return torch.where(mask & (ratio >= 1.0 / limit) & (ratio <= limit), ratio, 0.0)
