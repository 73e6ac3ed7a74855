"""Arithmetic of losses: ``a + b``, ``a - b``, ``0.5 * a``, ``-a``, ``a / 2`` and ``sum([a, b])``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from siri.algos.records import Loss, TokenBatch, TokenScores
from siri.errors import ConfigError

__all__ = [
    "LossFunction",
    "Scaled",
    "Sum",
    "Term",
    "needs_advantage",
    "needs_reference",
    "reads_lessons",
    "report",
    "terms",
]

LossFunction: TypeAlias = Callable[[TokenBatch, TokenScores], Loss]
Function = TypeVar("Function", bound=LossFunction)


def needs_reference(function: Function) -> Function:
    """Mark a loss function that reads ``batch.reference_logprobs``, itself or in a term it calls.

    Without this decorator the learner loads no reference model, and the batch has no such log-probs. A
    ``Term`` has a property of the same name; sums and multiples ask their terms.
    """
    function.needs_reference = True  # type: ignore[attr-defined]
    return function


def reads_reference(loss: LossFunction) -> bool:
    """Whether ``loss`` says that it reads the log-probs of the reference model."""
    return bool(getattr(loss, "needs_reference", False))


def needs_advantage(loss: LossFunction) -> bool:
    """Whether an RL row whose advantages are all 0 adds nothing to the gradient of ``loss``.

    A plain function may do anything, so it needs every row.
    """
    return isinstance(loss, Term) and loss.needs_advantage


def reads_lessons(loss: LossFunction) -> bool:
    """Whether rows of lessons may add something to ``loss``; True for a plain function."""
    return not isinstance(loss, Term) or loss.reads_lessons


class Term:
    """Mixin for a loss that can be scaled and added to others. Scaling does not change the metrics.

    Any function of a batch and its scores can be added to a term.
    """

    __slots__ = ()

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Return the loss of ``batch`` under ``scores``."""
        raise NotImplementedError

    @property
    def needs_reference(self) -> bool:
        """Whether the loss reads ``batch.reference_logprobs``."""
        return False

    @property
    def needs_advantage(self) -> bool:
        """Whether RL rows whose advantages are all 0 add nothing to the gradient and may be left out."""
        return False

    @property
    def reads_lessons(self) -> bool:
        """Whether rows of lessons may add something."""
        return True

    def __add__(self, other: LossFunction) -> Sum:
        return Sum((*terms(self), *terms(other)))

    def __radd__(self, other: LossFunction | int) -> Sum:
        return Sum((*(() if other == 0 else terms(other)), *terms(self)))  # type: ignore[arg-type]

    def __sub__(self, other: LossFunction) -> Sum:
        return self + Scaled(other, -1.0)

    def __mul__(self, factor: float) -> Scaled:
        return Scaled(self, float(factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Scaled:
        return Scaled(self, 1.0 / divisor)

    def __neg__(self) -> Scaled:
        return Scaled(self, -1.0)


@dataclass(frozen=True, slots=True)
class Sum(Term):
    """A sum of terms, with the metrics of all. Two terms may not report the same metric."""

    terms: tuple[LossFunction, ...]

    @property
    def needs_reference(self) -> bool:
        """Whether any term does."""
        return any(reads_reference(term) for term in self.terms)

    @property
    def needs_advantage(self) -> bool:
        """Whether all terms do."""
        return all(needs_advantage(term) for term in self.terms)

    @property
    def reads_lessons(self) -> bool:
        """Whether any term does."""
        return any(reads_lessons(term) for term in self.terms)

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
    """A term times a factor, with the metrics of the unscaled term."""

    term: LossFunction
    factor: float

    @property
    def needs_reference(self) -> bool:
        """Whether the term does and its factor is not 0."""
        return self.factor != 0 and reads_reference(self.term)

    @property
    def needs_advantage(self) -> bool:
        """Whether the term does or its factor is 0."""
        return self.factor == 0 or needs_advantage(self.term)

    @property
    def reads_lessons(self) -> bool:
        """Whether the term does and its factor is not 0."""
        return self.factor != 0 and reads_lessons(self.term)

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Scale the value."""
        loss = self.term(batch, scores)
        return Loss(self.factor * loss.value, loss.metrics)


def report(value: Tensor, metrics: Mapping[str, Tensor]) -> Loss:
    """Make a loss. One transfer reads all metrics; an ``.item()`` for each would stall an accelerator."""
    numbers = torch.stack([metric.detach().float() for metric in metrics.values()]).tolist()
    return Loss(value, dict(zip(metrics, numbers, strict=True)))


def terms(loss: LossFunction) -> tuple[LossFunction, ...]:
    """The terms of a sum; any other loss as the only term."""
    return loss.terms if isinstance(loss, Sum) else (loss,)
