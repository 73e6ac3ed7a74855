"""Advantages of agent turns: GiGPO and its relatives, as segment operations on flat rows.

Notation: N turns (rows) of any number of episodes and groups, in any order unless said otherwise.
``group``, ``episode`` and ``anchor`` are int64 [N] labels; an episode is named by its (group, episode) pair.
Statistics are taken in float64 and returned in the dtype of the input.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from siri.algos._checks import require_choice, require_dtype, require_rank, require_same_shape
from siri.algos.masked import segment_count, segment_ids, segment_mean, segment_std, segment_sum
from siri.algos.returns import discounted_returns

__all__ = [
    "Normalize",
    "Statistics",
    "discounted_returns",
    "episode_advantages",
    "gigpo_advantages",
    "grpo_advantages",
    "rloo_advantages",
    "step_advantages",
]

Normalize = Literal["mean_std", "mean"]
"""``mean_std``: (x − μ) / (σ + 1e-6). ``mean``: x − μ."""
Statistics = Literal["per_turn", "per_trajectory"]
"""Whether μ and σ of a group weigh every turn alike or every trajectory alike."""

EPSILON = 1e-6
FLAT = 1e-3
"""σ below FLAT · R_max is noise (float rounding, or one lone penalty) and counts as 0."""


def episode_advantages(
    scores: Tensor,
    *,
    group: Tensor,
    episode: Tensor,
    normalize: Normalize = "mean_std",
    statistics: Statistics = "per_turn",
    max_return: float = 10.0,
) -> Tensor:
    """Group-relative advantage of whole episodes (GRPO; GiGPO Eq. 3, arXiv 2505.10978).

        A_E[i,t] = (S[i,t] − μ_group) / (σ_group + 1e-6)

    A group of one episode, or with σ < 1e-3·R_max, has A_E = 0. σ is unbiased (n − 1).

    Args:
        scores: float [N], S: the episode's return, repeated on each of its turns (minus turn penalties).
        group: int64 [N].
        episode: int64 [N].
        normalize: ``"mean"`` sets the divisor to 1.
        statistics: ``"per_turn"`` takes μ and σ over the rows of the group; ``"per_trajectory"`` over its
            episodes, each counted once with the mean score of its turns.
        max_return: R_max, the largest return of the task in the units of ``scores``.

    Returns:
        float [N].
    """
    _check_rows("scores", scores, group=group, episode=episode)
    require_choice(normalize, ("mean_std", "mean"), "normalize")
    require_choice(statistics, ("per_turn", "per_trajectory"), "statistics")
    values = scores.detach().double()
    groups, size = segment_ids(group)
    episode_scores, owner, _ = _by_episode(values, groups, episode)
    sample, segment = (values, groups) if statistics == "per_turn" else (episode_scores, owner)
    mean, std = segment_mean(sample, segment, size), segment_std(sample, segment, size)
    alone = segment_count(owner, size) < 2
    return _standardize(values, groups, mean, std, alone, normalize, max_return).to(scores.dtype)


def step_advantages(
    returns: Tensor,
    *,
    group: Tensor,
    anchor: Tensor,
    normalize: Normalize = "mean_std",
    max_return: float = 10.0,
) -> Tensor:
    """Advantage of a turn among the turns of its group taken in the same state (GiGPO, arXiv 2505.10978).

        A_S[i,t] = (G[i,t] − μ_cluster) / (σ_cluster + 1e-6),   cluster = same group and equal anchor

    A cluster of one turn, or with σ < 1e-3·R_max, has A_S = 0. σ is unbiased (n − 1).

    Args:
        returns: float [N], G: the discounted step returns.
        group: int64 [N].
        anchor: int64 [N], the state in which the turn's action was chosen.
        normalize: ``"mean"`` sets the divisor to 1.
        max_return: R_max, the largest return of the task in the units of ``returns``.

    Returns:
        float [N].
    """
    _check_rows("returns", returns, group=group, anchor=anchor)
    require_choice(normalize, ("mean_std", "mean"), "normalize")
    values = returns.detach().double()
    index, size = segment_ids(group, anchor)
    mean, std = segment_mean(values, index, size), segment_std(values, index, size)
    alone = segment_count(index, size) < 2
    return _standardize(values, index, mean, std, alone, normalize, max_return).to(returns.dtype)


def gigpo_advantages(
    rewards: Tensor,
    *,
    group: Tensor,
    episode: Tensor,
    anchor: Tensor,
    gamma: float = 0.95,
    omega: float = 1.0,
    normalize: Normalize = "mean_std",
    statistics: Statistics = "per_turn",
    invalid: Tensor | None = None,
    invalid_penalty: float = 0.1,
    max_return: float = 10.0,
) -> Tensor:
    """Group-in-group advantage (GiGPO, arXiv 2505.10978).

        A = A_E + ω·A_S,   S[i,t] = Σ_t r[i,t] − c·invalid[i,t],   G[i,t] = Σ_k γᵏ r[i,t+k] − c·invalid[i,t]

    The penalty comes after summing and discounting: it touches the invalid turn alone, never another one.

    Args:
        rewards: float [N], the environment's rewards; the turns of an episode in time order.
        group: int64 [N].
        episode: int64 [N].
        anchor: int64 [N], the state in which the turn's action was chosen.
        gamma: γ.
        omega: ω, weight of the step-level part.
        normalize: see ``episode_advantages``; used for both parts.
        statistics: see ``episode_advantages``.
        invalid: bool [N], True where the action was invalid; None when all were valid.
        invalid_penalty: c, in reward units.
        max_return: R_max in reward units.

    Returns:
        float [N], the same value for every token of the turn.
    """
    _check_rows("rewards", rewards, group=group, episode=episode, anchor=anchor)
    penalty = _penalty(rewards, invalid, invalid_penalty)
    owner, _ = segment_ids(group, episode)
    scores = _episode_returns(rewards, owner) - penalty
    returns = discounted_returns(rewards.double(), episode=owner, gamma=gamma) - penalty
    per_episode = episode_advantages(
        scores,
        group=group,
        episode=episode,
        normalize=normalize,
        statistics=statistics,
        max_return=max_return,
    )
    per_step = step_advantages(
        returns, group=group, anchor=anchor, normalize=normalize, max_return=max_return
    )
    return (per_episode + omega * per_step).to(rewards.dtype)


def grpo_advantages(
    rewards: Tensor,
    *,
    group: Tensor,
    episode: Tensor,
    normalize: Normalize = "mean_std",
    statistics: Statistics = "per_turn",
    invalid: Tensor | None = None,
    invalid_penalty: float = 0.1,
    max_return: float = 10.0,
) -> Tensor:
    """Group-relative advantage (GRPO, arXiv 2402.03300): GiGPO without its step-level part.

        A[i,t] = A_E[i,t]

    Args:
        rewards: float [N], the environment's rewards.
        group: int64 [N].
        episode: int64 [N].
        normalize: see ``episode_advantages``; ``"mean"`` is Dr. GRPO's choice.
        statistics: see ``episode_advantages``.
        invalid: bool [N], True where the action was invalid; None when all were valid.
        invalid_penalty: c, in reward units, from the invalid turn's own score.
        max_return: R_max in reward units.

    Returns:
        float [N].
    """
    _check_rows("rewards", rewards, group=group, episode=episode)
    owner, _ = segment_ids(group, episode)
    scores = _episode_returns(rewards, owner) - _penalty(rewards, invalid, invalid_penalty)
    advantages = episode_advantages(
        scores,
        group=group,
        episode=episode,
        normalize=normalize,
        statistics=statistics,
        max_return=max_return,
    )
    return advantages.to(rewards.dtype)


def rloo_advantages(
    rewards: Tensor,
    *,
    group: Tensor,
    episode: Tensor,
    invalid: Tensor | None = None,
    invalid_penalty: float = 0.1,
) -> Tensor:
    """Leave-one-out advantage (RLOO, arXiv 2402.14740): the baseline is the mean of the other episodes.

        A[i,t] = S[i,t] − 1/(n−1) Σ_{j≠i} S̄[j],   S̄[j] = mean over the turns of episode j

    A group of one episode has A = 0.

    Args:
        rewards: float [N], the environment's rewards.
        group: int64 [N].
        episode: int64 [N].
        invalid: bool [N], True where the action was invalid; None when all were valid.
        invalid_penalty: c, in reward units, from the invalid turn's own score.

    Returns:
        float [N].
    """
    _check_rows("rewards", rewards, group=group, episode=episode)
    groups, size = segment_ids(group)
    owner, _ = segment_ids(group, episode)
    scores = _episode_returns(rewards, owner) - _penalty(rewards, invalid, invalid_penalty)
    episode_scores, parent, member = _by_episode(scores, groups, episode)
    episodes = segment_count(parent, size)[groups].double()
    mean = segment_mean(episode_scores, parent, size)[groups]
    own = episode_scores[member]
    # S̄ᵢ − mean of the others = n/(n−1) · (S̄ᵢ − μ), which is exactly 0 when all are equal.
    advantages = (scores - own) + episodes / (episodes - 1).clamp(min=1) * (own - mean)
    return torch.where(episodes < 2, 0.0, advantages).to(rewards.dtype)


def _check_rows(name: str, values: Tensor, **labels: Tensor) -> None:
    require_rank(1, **{name: values})
    require_dtype("float", **{name: values})
    require_same_shape(**{name: values}, **labels)
    require_dtype("int64", **labels)


def _penalty(rewards: Tensor, invalid: Tensor | None, cost: float) -> Tensor:
    if invalid is None:
        return rewards.new_zeros((), dtype=torch.float64)
    require_same_shape(rewards=rewards, invalid=invalid)
    require_dtype("bool", invalid=invalid)
    return cost * invalid.double()


def _episode_returns(rewards: Tensor, owner: Tensor) -> Tensor:
    size = int(owner.max()) + 1 if owner.numel() else 0
    return segment_sum(rewards.detach().double(), owner, size)[owner]


def _by_episode(values: Tensor, groups: Tensor, episode: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mean value [E] of each episode, its group [E], the episode [N] of each row)."""
    member, size = segment_ids(groups, episode)
    parent = groups.new_zeros(size).index_copy(0, member, groups)
    return segment_mean(values, member, size), parent, member


def _standardize(
    values: Tensor,
    index: Tensor,
    mean: Tensor,
    std: Tensor,
    alone: Tensor,
    normalize: Normalize,
    max_return: float,
) -> Tensor:
    flat = alone | (std < FLAT * max_return)
    divisor = std + EPSILON if normalize == "mean_std" else torch.ones_like(std)
    return torch.where(flat[index], 0.0, (values - mean[index]) / divisor[index])
