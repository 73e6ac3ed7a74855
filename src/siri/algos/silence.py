"""Which losses a row without any advantage adds nothing to."""

from __future__ import annotations

from siri.algos.composition import LossFunction, Scaled, Sum
from siri.algos.objectives import SiriObjective
from siri.algos.terms import ClippedSurrogate, CrossEntropy, Internalization

__all__ = ["needs_advantage"]


def needs_advantage(loss: LossFunction) -> bool:
    """Whether an RL row whose advantages are all 0 adds nothing to the gradient of ``loss``.

    So it is of the surrogate alone: divergence and entropy count on every token. A loss that is not siri's
    may do anything, and needs every row.
    """
    if isinstance(loss, SiriObjective):
        return needs_advantage(loss.terms)
    if isinstance(loss, Sum):
        return all(needs_advantage(term) for term in loss.terms)
    if isinstance(loss, Scaled):
        return loss.factor == 0 or needs_advantage(loss.term)
    return isinstance(loss, ClippedSurrogate | Internalization | CrossEntropy)
