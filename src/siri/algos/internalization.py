"""Moving skill-conditioned behaviour under the plain prompt (SIRI, arXiv 2606.02355, phase 2).

Computing the weights is kept apart from applying them. Notation: B rows (turns), T tokens; a turn-level
quantity is given as [B], or as [B, T] when one row holds several turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from siri.algos._checks import require_dtype, require_rank, require_same_shape
from siri.algos.masked import masked_mean
from siri.errors import ConfigError, ShapeError

__all__ = ["InternalizationStats", "internalization_gate", "internalization_loss", "internalization_weights"]


@dataclass(frozen=True, slots=True, eq=False)
class InternalizationStats:
    """Diagnostics of the internalisation loss, detached scalars."""

    nll_plain: Tensor
    """Mean of −log π_θ(y | x0) over the gated tokens."""
    weight_mean: Tensor
    """Mean weight over the gated tokens."""
    gate_frac: Tensor
    """Gated tokens as a share of all response tokens."""


def internalization_gate(used: Tensor, *, utility: Tensor, action_mask: Tensor) -> Tensor:
    """Which tokens may be internalised: skill used ∧ beneficial ∧ action token (SIRI, arXiv 2606.02355).

        gate[i,j] = 1[used[i]] · 1[U[i] > 0] · 1[token j of turn i is an action token]

    Args:
        used: bool [B] or [B, T], the skill block was in the turn's prompt.
        utility: float [B] or [B, T], U.
        action_mask: bool [B, T].

    Returns:
        bool [B, T].
    """
    require_rank(2, action_mask=action_mask)
    require_dtype("bool", used=used, action_mask=action_mask)
    require_dtype("float", utility=utility)
    beneficial = _per_token("utility", utility, action_mask) > 0
    return action_mask & _per_token("used", used, action_mask) & beneficial


def internalization_weights(
    advantages: Tensor, *, used: Tensor, utility: Tensor, action_mask: Tensor, max_weight: float = 2.0
) -> Tensor:
    """How strongly each token is internalised (SIRI, arXiv 2606.02355).

        w[i,j] = gate[i,j] · stop_gradient( clip( A[i], 0, w_max ) )

    Args:
        advantages: float [B] or [B, T], A.
        used: bool [B] or [B, T], the skill block was in the turn's prompt.
        utility: float [B] or [B, T], U; only its sign matters.
        action_mask: bool [B, T].
        max_weight: w_max > 0.

    Returns:
        float32 [B, T] without gradient.
    """
    require_dtype("float", advantages=advantages)
    gate = internalization_gate(used, utility=utility, action_mask=action_mask)
    if max_weight <= 0:
        raise ConfigError(f"got max_weight={max_weight}, expected more than 0; fix: use 2.0")
    strength = _per_token("advantages", advantages.detach().float(), action_mask).clamp(0.0, max_weight)
    return torch.where(gate, strength, 0.0)


def internalization_loss(
    plain_logprobs: Tensor,
    *,
    weights: Tensor,
    response_mask: Tensor,
    floor: float = 0.02,
    gate: Tensor | None = None,
    gate_tokens: float | None = None,
    response_tokens: float | None = None,
) -> tuple[Tensor, InternalizationStats]:
    """Weighted cross-entropy of skill-arm completions under the plain prompt (SIRI, arXiv 2606.02355).

        L_int = −(1/Z) Σ_j gate[j]·w[j]·log π_θ(y[j] | x0, y[<j]),   Z = max(Σ gate, floor · Σ response)

    There is no importance ratio: it would vanish on exactly the tokens that are to be learned. The floor
    keeps a handful of gated tokens from carrying the weight of a whole mini-batch.

    Args:
        plain_logprobs: float [B, T], log π_θ under x0, with gradient.
        weights: float [B, T], w ≥ 0; no gradient flows through it.
        response_mask: bool [B, T], all sampled response tokens.
        floor: least share of the response tokens that Z stands for.
        gate: bool [B, T]. Default: ``weights > 0``.
        gate_tokens: Σ gate over the global mini-batch. Default: that of these rows.
        response_tokens: Σ response over the global mini-batch. Default: that of these rows.

    Returns:
        (float32 scalar L_int, InternalizationStats). Given both counts, parts of a mini-batch add up.
    """
    require_same_shape(plain_logprobs=plain_logprobs, weights=weights, response_mask=response_mask)
    require_dtype("float", plain_logprobs=plain_logprobs, weights=weights)
    require_dtype("bool", response_mask=response_mask)
    constant = weights.detach().float()
    chosen = constant > 0 if gate is None else gate
    require_same_shape(plain_logprobs=plain_logprobs, gate=chosen)
    require_dtype("bool", gate=chosen)
    gated = float(chosen.sum()) if gate_tokens is None else gate_tokens
    responses = float(response_mask.sum()) if response_tokens is None else response_tokens

    nll = torch.where(chosen, -plain_logprobs.float(), 0.0)
    loss = masked_mean(constant * nll, chosen, normalizer=max(gated, floor * responses))
    with torch.no_grad():
        stats = InternalizationStats(
            nll_plain=masked_mean(nll, chosen, normalizer=gated),
            weight_mean=masked_mean(constant, chosen, normalizer=gated),
            gate_frac=masked_mean(torch.ones_like(constant), chosen, normalizer=responses),
        )
    return loss, stats


def _per_token(name: str, value: Tensor, like: Tensor) -> Tensor:
    if value.shape == like.shape:
        return value
    if value.shape == like.shape[:1]:
        return value[:, None].expand(like.shape)
    raise ShapeError(
        f"got {name} of shape {tuple(value.shape)}, expected {tuple(like.shape[:1])} or {tuple(like.shape)}; "
        f"fix: give one value per row, or one per token"
    )
