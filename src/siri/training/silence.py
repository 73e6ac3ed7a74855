"""Rows without a signal: where every rollout of a group ended alike, there is nothing to learn from them.

They count in every normaliser, and in the figures they stand as they were sampled; only their passes are
saved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from siri.algos.records import TokenBatch, TokenScores
from siri.training.rows import Row

__all__ = ["as_sampled", "is_silent", "loud_and_silent"]


def is_silent(row: Row) -> bool:
    """Whether no token of an RL row has an advantage or a teacher."""
    if row.kind != "rl":
        return False
    for span in row.spans:
        values = span.advantage if isinstance(span.advantage, tuple) else (span.advantage,)
        if any(values) or span.teacher is not None:
            return False
    return True


def loud_and_silent(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that have a signal, and those that have none; each in order."""
    loud, silent = list[Row](), list[Row]()
    for row in rows:
        (silent if is_silent(row) else loud).append(row)
    return loud, silent


def as_sampled(batch: TokenBatch) -> TokenScores:
    """Scores without a pass: log-probs as they were sampled, and -log p for the entropy, whose mean it is."""
    mask = batch.rl_mask | batch.int_mask
    sampled = torch.where(mask, batch.old_logprobs, 0.0)
    return TokenScores(logprobs=sampled, entropy=-sampled)
