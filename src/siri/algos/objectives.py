"""Training losses as terms that add up: ``ClippedSurrogate() + 0.01 * KLPenalty() + Internalization()``.

A batch carries the normalisers of the global mini-batch it is a part of, so values and metrics of its
parts add up to those of the whole, whatever the micro-batch size or the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from siri.algos.divergence import Estimator, kl_divergence, mean_entropy
from siri.algos.internalization import internalization_loss
from siri.algos.masked import masked_mean
from siri.algos.records import Loss, TokenBatch, TokenScores
from siri.algos.surrogate import clipped_surrogate
from siri.errors import ConfigError

__all__ = [
    "ClippedSurrogate",
    "EntropyBonus",
    "Internalization",
    "KLPenalty",
    "Loss",
    "Scaled",
    "SiriObjective",
    "Sum",
    "Term",
    "TokenBatch",
    "TokenScores",
]

LossFunction: TypeAlias = Callable[[TokenBatch, TokenScores], Loss]


class Term:
    """Mixin of a loss that can be added to others and scaled. Scaling leaves the metrics as they are."""

    __slots__ = ()

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """The loss of ``batch`` under ``scores``."""
        raise NotImplementedError

    def __add__(self, other: LossFunction) -> Sum:
        return Sum((self, other))

    def __radd__(self, other: LossFunction) -> Sum:
        return Sum((other, self))

    def __mul__(self, factor: float) -> Scaled:
        return Scaled(self, factor)

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class Sum(Term):
    """Σ of terms; their metrics side by side. Two terms may not report one name."""

    terms: tuple[LossFunction, ...]

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Add the values and join the metrics."""
        value = torch.zeros((), device=scores.logprobs.device)
        metrics: dict[str, float] = {}
        for term in self.terms:
            loss = term(batch, scores)
            if twice := metrics.keys() & loss.metrics.keys():
                raise ConfigError(
                    f"got two terms that report {sorted(twice)}, expected distinct metric names; "
                    f"fix: drop one of the terms"
                )
            value = value + loss.value
            metrics.update(loss.metrics)
        return Loss(value, metrics)


@dataclass(frozen=True, slots=True)
class Scaled(Term):
    """factor · term, with the metrics of the unscaled term."""

    term: LossFunction
    factor: float

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Scale the value."""
        loss = self.term(batch, scores)
        return Loss(self.factor * loss.value, loss.metrics)


@dataclass(frozen=True, slots=True)
class ClippedSurrogate(Term):
    """Clipped policy-gradient loss on the RL tokens; see ``clipped_surrogate``."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``policy/loss``, ``policy/clip_frac``, ``policy/approx_kl`` and ``policy/ratio_mean``."""
        value, stats = clipped_surrogate(
            scores.logprobs,
            old_logprobs=batch.old_logprobs,
            advantages=batch.advantages,
            mask=batch.rl_mask,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            normalizer=batch.rl_tokens,
        )
        return _loss(
            value,
            {
                "policy/loss": value,
                "policy/clip_frac": stats.clip_frac,
                "policy/approx_kl": stats.approx_kl,
                "policy/ratio_mean": stats.ratio_mean,
            },
        )


@dataclass(frozen=True, slots=True)
class KLPenalty(Term):
    """Divergence from the initial model on the RL tokens; see ``kl_divergence``."""

    estimator: Estimator = "k3"

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``kl/reference``."""
        value, stats = kl_divergence(
            scores.logprobs,
            reference=batch.reference_logprobs,
            mask=batch.rl_mask,
            estimator=self.estimator,
            normalizer=batch.rl_tokens,
        )
        return _loss(value, {"kl/reference": stats.mean})


@dataclass(frozen=True, slots=True)
class EntropyBonus(Term):
    """Minus the mean entropy of the RL tokens: minimising it keeps the policy random."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``policy/entropy``, which is positive."""
        entropy = mean_entropy(scores.entropy, mask=batch.rl_mask, normalizer=batch.rl_tokens)
        return _loss(-entropy, {"policy/entropy": entropy})


@dataclass(frozen=True, slots=True)
class Internalization(Term):
    """λ(k) · L_int on the gated tokens under the plain prompt; see ``internalization_loss``."""

    floor: float = 0.02

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``int/loss`` (before λ) and ``int/`` nll_plain, prompt_gap, weight_mean, gate_frac."""
        value, stats = internalization_loss(
            scores.logprobs,
            weights=batch.weights,
            response_mask=batch.rl_mask,
            floor=self.floor,
            gate=batch.int_mask,
            gate_tokens=batch.int_tokens,
            response_tokens=batch.response_tokens,
        )
        gap = batch.old_logprobs.float() - scores.logprobs.detach().float()
        return _loss(
            batch.int_scale * value,
            {
                "int/loss": value,
                "int/nll_plain": stats.nll_plain,
                "int/prompt_gap": masked_mean(gap, batch.int_mask, normalizer=batch.int_tokens),
                "int/weight_mean": stats.weight_mean,
                "int/gate_frac": stats.gate_frac,
            },
        )


@dataclass(frozen=True, slots=True)
class SiriObjective(Term):
    """L = L_GiGPO + β·L_KL + λ(k)·L_int − c_H·H (SIRI, arXiv 2606.02355)."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    kl: float = 0.01
    """β; 0 leaves the term out, and with it the need for reference log-probs."""
    entropy: float = 0.001
    """c_H."""
    floor: float = 0.02

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """The sum, with the metrics of all terms."""
        total = ClippedSurrogate(self.clip_low, self.clip_high, self.dual_clip) + Internalization(self.floor)
        total = total + self.entropy * EntropyBonus()
        if self.kl:
            total = total + self.kl * KLPenalty()
        return total(batch, scores)


def _loss(value: Tensor, metrics: Mapping[str, Tensor]) -> Loss:
    # One transfer for all metrics: a .item() each would stall an accelerator as often.
    numbers = torch.stack([metric.detach().float() for metric in metrics.values()]).tolist()
    return Loss(value, dict(zip(metrics, numbers, strict=True)))
