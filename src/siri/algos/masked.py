"""Sums and means under a mask, and statistics over segments (rows that share an integer id).

Notation: N rows, K segments, ``index[n] ∈ 0…K−1`` the segment of row n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from siri.algos._checks import require_dtype, require_rank, require_same_shape

__all__ = [
    "masked_mean",
    "masked_sum",
    "segment_count",
    "segment_ids",
    "segment_mean",
    "segment_std",
    "segment_sum",
]


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum where the mask is True: Σ_j m[j]·x[j], in float32 or wider.

    Values outside the mask may be anything, NaN included: they reach neither the sum nor its gradient.

    Args:
        values: float, any shape.
        mask: bool, same shape.

    Returns:
        float scalar; 0 under an empty mask.
    """
    require_same_shape(values=values, mask=mask)
    require_dtype("bool", mask=mask)
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    return torch.where(mask, wide, torch.zeros_like(wide)).sum()


def masked_mean(values: Tensor, mask: Tensor, *, normalizer: float | None = None) -> Tensor:
    """Mean where the mask is True: (1/Z) Σ_j m[j]·x[j].

    Args:
        values: float, any shape.
        mask: bool, same shape.
        normalizer: Z. Give the mask's size over the global mini-batch when ``values`` is a part of one;
            the parts then add up to the global mean. Default: the size of this mask.

    Returns:
        float scalar; 0 when nothing is selected.
    """
    total = masked_sum(values, mask)
    if normalizer is None:
        return total / mask.sum().clamp(min=1)
    return total / normalizer if normalizer > 0 else total * 0.0


def segment_ids(*keys: Tensor) -> tuple[Tensor, int]:
    """Number the distinct tuples of keys: rows with equal keys get equal ids.

    Args:
        keys: one or more int64 [N]; their values are labels, only equality matters.

    Returns:
        (int64 [N] ids in 0…K−1, K).
    """
    named = {f"key {position}": key for position, key in enumerate(keys)}
    require_rank(1, **named)
    require_same_shape(**named)
    require_dtype("int64", **named)
    if keys[0].numel() == 0:
        return keys[0].clone(), 0
    labels, index = torch.unique(torch.stack(keys, dim=1), dim=0, return_inverse=True)
    return index, labels.shape[0]


def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum of each segment. [N], [N] → [K]."""
    return values.new_zeros(size).index_add(0, index, values)


def segment_count(index: Tensor, size: int) -> Tensor:
    """Rows of each segment. [N] → int64 [K]."""
    return torch.bincount(index, minlength=size)


def segment_mean(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Mean of each segment; exactly x when all its values are x. [N], [N] → [K]; 0 for an empty segment."""
    # Summing distances from the largest value keeps equal values exact, which "equal returns give 0" needs.
    top = values.new_zeros(size).scatter_reduce(0, index, values, reduce="amax", include_self=False)
    count = segment_count(index, size).clamp(min=1)
    return top + segment_sum(values - top[index], index, size) / count


def segment_std(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Unbiased standard deviation of each segment, √(Σ (x−μ)² / (n−1)). [N], [N] → [K]; 0 when n < 2."""
    centred = values - segment_mean(values, index, size)[index]
    freedom = (segment_count(index, size) - 1).clamp(min=1)
    return (segment_sum(centred.square(), index, size) / freedom).sqrt()
