"""Training losses as terms that add up: ``ClippedSurrogate() + 0.01 * KLPenalty() + Internalization()``.

A batch carries the normalisers of its global mini-batch. So the values and metrics of the parts add up to
those of the whole, whatever the micro-batch size or the number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from siri.algos.composition import Scaled, Sum, Term
from siri.algos.mismatch import MismatchUnit, Outside
from siri.algos.records import Loss, TokenBatch, TokenScores, TopTokens
from siri.algos.surrogate import Unit
from siri.algos.terms import (
    ClippedSurrogate,
    CrossEntropy,
    EntropyBonus,
    GatedDistillation,
    ImportanceDistillation,
    Internalization,
    KLPenalty,
    ReverseKLDistillation,
    ViewDistillation,
    ViewDivergence,
    WriterSurrogate,
)

__all__ = [
    "ClippedSurrogate",
    "CrossEntropy",
    "EntropyBonus",
    "GatedDistillation",
    "ImportanceDistillation",
    "Internalization",
    "KLPenalty",
    "Loss",
    "ReverseKLDistillation",
    "Scaled",
    "SiriObjective",
    "Sum",
    "Term",
    "TokenBatch",
    "TokenScores",
    "TopTokens",
    "ViewDistillation",
    "ViewDivergence",
    "WriterSurrogate",
]


@dataclass(frozen=True, slots=True)
class SiriObjective(Term):
    """L = L_GiGPO + β·L_KL + λ(k)·L_int − c_H·H (SIRI, arXiv 2606.02355)."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    kl: float = 0.01
    """β. At 0 the term is left out, and no reference log-probs are needed."""
    entropy: float = 0.001
    """c_H."""
    floor: float = 0.02
    token_clip: float | None = None
    """See ``Internalization``."""
    ratio: Unit = "token"
    aggregation: Unit = "token"
    importance_limit: float | None = None
    importance_unit: MismatchUnit = "token"
    importance_outside: Outside = "truncate"
    """See ``ClippedSurrogate`` for these five."""

    @property
    def needs_reference(self) -> bool:
        """Whether β is not 0."""
        return self.kl != 0

    @property
    def needs_advantage(self) -> bool:
        """Whether neither divergence nor entropy counts on every token."""
        return self.terms.needs_advantage

    @property
    def terms(self) -> Sum:
        """The terms, as a sum."""
        clips = self.clip_low, self.clip_high, self.dual_clip
        weights = self.importance_limit, self.importance_unit, self.importance_outside
        surrogate = ClippedSurrogate(*clips, self.ratio, self.aggregation, *weights)
        total = surrogate + Internalization(self.floor, self.token_clip) + self.entropy * EntropyBonus()
        return total + self.kl * KLPenalty() if self.kl else total

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Return the sum, with the metrics of all terms."""
        return self.terms(batch, scores)
