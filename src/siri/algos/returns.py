"""Discounted returns, without a loop over rows."""

from __future__ import annotations

import torch
from torch import Tensor

from siri.algos._checks import require_dtype, require_rank, require_same_shape
from siri.algos.masked import segment_count, segment_ids

__all__ = ["discounted_returns"]


def discounted_returns(rewards: Tensor, *, episode: Tensor, gamma: float) -> Tensor:
    """Discounted reward-to-go of each turn within its episode.

        G[t] = r[t] + γ·G[t+1]

    Args:
        rewards: float [N]; the turns of an episode in time order (episodes may interleave).
        episode: int64 [N].
        gamma: γ ∈ [0, 1].

    Returns:
        float [N].
    """
    require_rank(1, rewards=rewards)
    require_dtype("float", rewards=rewards)
    require_same_shape(rewards=rewards, episode=episode)
    require_dtype("int64", episode=episode)
    index, size = segment_ids(episode)
    order = torch.argsort(index, stable=True)
    segment = index[order]
    returns = rewards.detach().double()[order]
    longest = int(segment_count(index, size).max()) if size else 0
    # Doubling: after the pass with shift s, returns[t] holds the rewards of the next 2s turns.
    shift = 1
    while shift < longest:
        ahead = torch.where(segment[shift:] == segment[:-shift], returns[shift:], 0.0)
        returns = torch.cat([returns[:-shift] + gamma**shift * ahead, returns[-shift:]])
        shift *= 2
    return torch.empty_like(returns).index_copy(0, order, returns).to(rewards.dtype)
