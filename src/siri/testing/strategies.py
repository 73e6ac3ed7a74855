"""Hypothesis strategies for what siri's maths takes. Everything drawn is small, so that it shrinks well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from siri.algos.records import TokenBatch, TokenScores
from siri.errors import MissingExtra

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingExtra("hypothesis", "testing") from error

__all__ = ["masks", "scored_batches"]


@st.composite
def masks(draw: st.DrawFn, *, max_rows: int = 4, max_width: int = 6) -> Tensor:
    """A mask of sampled tokens, bool [B, T] with B ≥ 1 and T ≥ 2; the first column, a prompt, is False."""
    width = draw(st.integers(2, max_width))
    row = st.lists(st.booleans(), min_size=width - 1, max_size=width - 1)
    rows = draw(st.lists(row, min_size=1, max_size=max_rows))
    return torch.tensor([[False, *flags] for flags in rows])


@st.composite
def scored_batches(
    draw: st.DrawFn, *, max_rows: int = 4, max_width: int = 6, both: bool = False
) -> tuple[TokenBatch, TokenScores]:
    """A whole mini-batch and the policy's scores of it, float32.

    Log-probs lie in −3…0 and advantages in −2…2, so that ratios fall on both sides of every usual clip.
    Positions outside the masks hold numbers that mean nothing.

    Args:
        max_rows: most rows.
        max_width: most tokens in a row.
        both: every token is an RL token and an internalised one; else each row is one of the two.
    """
    sampled = draw(masks(max_rows=max_rows, max_width=max_width))
    rows = len(sampled)
    flags: Sequence[bool] = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    plain = torch.tensor(flags)[:, None]
    rl, gated = (sampled, sampled) if both else (sampled & ~plain, sampled & plain)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(sampled.shape, generator=generator)

    batch = TokenBatch(
        input_ids=torch.zeros(sampled.shape, dtype=torch.int64),
        attention_mask=torch.ones_like(sampled),
        rl_mask=rl,
        int_mask=gated,
        old_logprobs=uniform(-3, 0),
        reference_logprobs=uniform(-3, 0),
        advantages=uniform(-2, 2),
        weights=uniform(0, 2) * gated,
        rl_tokens=float(rl.sum()),
        int_tokens=float(gated.sum()),
        response_tokens=float(rl.sum()),
        int_scale=draw(st.sampled_from([1.0, 0.1])),
    )
    return batch, TokenScores(uniform(-3, 0), uniform(0, 2))
