"""The terms of training losses. Each reads one kind of tokens of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from siri.algos.composition import Term, report
from siri.algos.distillation import (
    Gate,
    cross_entropy,
    gated_distillation,
    importance_distillation,
    reverse_kl_distillation,
    view_distillation,
    view_divergence,
)
from siri.algos.divergence import KLEstimator, kl_divergence, mean_entropy
from siri.algos.internalization import internalization_loss
from siri.algos.masked import masked_mean
from siri.algos.mismatch import MismatchUnit, Outside, mismatch_weights
from siri.algos.records import Loss, TokenBatch, TokenScores
from siri.algos.surrogate import Unit, clipped_surrogate
from siri.errors import ConfigError

__all__ = [
    "ClippedSurrogate",
    "CrossEntropy",
    "EntropyBonus",
    "GatedDistillation",
    "ImportanceDistillation",
    "Internalization",
    "KLPenalty",
    "ReverseKLDistillation",
    "ViewDistillation",
    "ViewDivergence",
    "WriterSurrogate",
]


class _OfRollouts(Term):
    """A term that reads no rows of lessons."""

    __slots__ = ()

    @property
    def reads_lessons(self) -> bool:
        """No."""
        return False


class _OfLessons(Term):
    """A term that reads rows of lessons alone, and of RL rows at most the number of their tokens."""

    __slots__ = ()

    @property
    def needs_advantage(self) -> bool:
        """RL rows add nothing, whatever their advantages."""
        return True


@dataclass(frozen=True, slots=True)
class ClippedSurrogate(_OfRollouts):
    """Policy-gradient loss on the RL tokens; see ``clipped_surrogate``."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    ratio: Unit = "token"
    aggregation: Unit = "token"
    importance_limit: float | None = None
    """C of ``mismatch_weights``; None for no correction."""
    importance_unit: MismatchUnit = "token"
    importance_outside: Outside = "truncate"

    @property
    def needs_advantage(self) -> bool:
        """It multiplies by the advantage."""
        return True

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``policy/`` loss, clip_frac, approx_kl, ratio_mean; importance_mean and _cut where used."""
        turns = batch.rl_turns if self.aggregation == "sequence" else None
        if turns == 0.0 and batch.rl_tokens:
            raise ConfigError(
                "got aggregation='sequence' and a batch with rl_turns=0, expected the completions of the "
                "global mini-batch; fix: set TokenBatch.rl_turns"
            )
        importance = self._importance(batch)
        value, stats = clipped_surrogate(
            scores.logprobs,
            old_logprobs=batch.old_logprobs,
            advantages=batch.advantages,
            mask=batch.rl_mask,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            ratio=self.ratio,
            aggregation=self.aggregation,
            importance=importance,
            normalizer=batch.rl_tokens if turns is None else turns,
        )
        metrics = {
            "policy/loss": value,
            "policy/clip_frac": stats.clip_frac,
            "policy/approx_kl": stats.approx_kl,
            "policy/ratio_mean": stats.ratio_mean,
        }
        if importance is not None:
            mean = masked_mean(importance, batch.rl_mask, normalizer=batch.rl_tokens)
            cut = importance.eq(0.0 if self.importance_outside == "mask" else self.importance_limit or 0.0)
            metrics["policy/importance_mean"] = mean
            metrics["policy/importance_cut"] = masked_mean(
                cut.to(importance.dtype), batch.rl_mask, normalizer=batch.rl_tokens
            )
        return report(value, metrics)

    def _importance(self, batch: TokenBatch) -> Tensor | None:
        if self.importance_limit is None or batch.rollout_logprobs is None:
            return None
        return mismatch_weights(
            batch.old_logprobs,
            rollout_logprobs=batch.rollout_logprobs,
            mask=batch.rl_mask,
            limit=self.importance_limit,
            unit=self.importance_unit,
            outside=self.importance_outside,
        )


@dataclass(frozen=True, slots=True)
class KLPenalty(_OfRollouts):
    """Divergence from the initial model on the RL tokens; see ``kl_divergence``."""

    estimator: KLEstimator = "k3"

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``kl/reference``."""
        value, stats = kl_divergence(
            scores.logprobs,
            reference=_reference(batch),
            mask=batch.rl_mask,
            estimator=self.estimator,
            normalizer=batch.rl_tokens,
        )
        return report(value, {"kl/reference": stats.mean})


@dataclass(frozen=True, slots=True)
class EntropyBonus(_OfRollouts):
    """Minus the mean entropy of the RL tokens: minimising it keeps the policy random."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``policy/entropy``, which is positive."""
        entropy = mean_entropy(scores.entropy, mask=batch.rl_mask, normalizer=batch.rl_tokens)
        return report(-entropy, {"policy/entropy": entropy})


@dataclass(frozen=True, slots=True)
class Internalization(_OfLessons):
    """λ(k) · L_int on the gated tokens under the plain prompt; see ``internalization_loss``.

    λ(k) is ``batch.int_scale``. The learner reads it too, to leave out the rows of L_int when it is 0.
    """

    floor: float = 0.02
    token_clip: float | None = None
    """ε of the ablation with an importance ratio; None for no ratio."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``int/loss`` (before λ) and ``int/`` nll_plain, prompt_gap, weight_mean, gate_frac."""
        value, stats = internalization_loss(
            scores.logprobs,
            weights=batch.weights,
            response_mask=batch.rl_mask,
            floor=self.floor,
            gate=batch.int_mask,
            gate_tokens=batch.int_tokens,
            response_tokens=batch.rl_tokens,
            token_clip=self.token_clip,
            old_logprobs=batch.old_logprobs,
        )
        gap = batch.old_logprobs.detach().float() - scores.logprobs.detach().float()
        return report(
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
class CrossEntropy(_OfLessons):
    """λ(k) · imitation of the gated tokens under the plain prompt: L_int without its weights."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``sft/loss`` (before λ)."""
        value = cross_entropy(scores.logprobs, mask=batch.int_mask, normalizer=batch.int_tokens)
        return report(batch.int_scale * value, {"sft/loss": value})


@dataclass(frozen=True, slots=True)
class ReverseKLDistillation(_OfRollouts):
    """On-policy self-distillation, from ``batch.teacher_logprobs``; see ``reverse_kl_distillation``."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``distill/loss`` and ``distill/gap``."""
        value, stats = reverse_kl_distillation(
            scores.logprobs, teacher=_teacher(batch), mask=_taught(batch), normalizer=batch.rl_tokens
        )
        return report(value, {"distill/loss": value, "distill/gap": stats.gap})


@dataclass(frozen=True, slots=True)
class GatedDistillation(_OfRollouts):
    """SDAR's term on the RL tokens; it reads ``batch.teacher_logprobs``. See ``gated_distillation``."""

    gate: Gate = "sigmoid"
    sharpness: float = 1.0

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``distill/loss``, ``distill/gap`` and ``distill/gate``."""
        value, stats = gated_distillation(
            scores.logprobs,
            teacher=_teacher(batch),
            mask=_taught(batch),
            gate=self.gate,
            sharpness=self.sharpness,
            normalizer=batch.rl_tokens,
        )
        return report(value, {"distill/loss": value, "distill/gap": stats.gap, "distill/gate": stats.gate})


@dataclass(frozen=True, slots=True)
class ImportanceDistillation(_OfRollouts):
    """Skill-SD's term on the RL tokens, from ``batch.teacher_logprobs``; see ``importance_distillation``."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``distill/loss`` and ``distill/gap``."""
        value, stats = importance_distillation(
            scores.logprobs,
            teacher=_teacher(batch),
            old_logprobs=batch.old_logprobs,
            mask=_taught(batch),
            normalizer=batch.rl_tokens,
        )
        return report(value, {"distill/loss": value, "distill/gap": stats.gap})


@dataclass(frozen=True, slots=True)
class ViewDistillation(_OfLessons):
    """λ(k) · imitation across prompts on the rows of lessons; see ``view_distillation``.

    λ(k) is ``batch.int_scale``, as for ``Internalization``; a batch can serve only one of the two.
    """

    sharpness: float | None = None

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``view/loss`` (before λ), ``view/gap`` and ``view/gate``."""
        value, stats = view_distillation(
            scores.logprobs,
            teacher=batch.old_logprobs,
            weights=batch.weights,
            mask=batch.int_mask,
            sharpness=self.sharpness,
            normalizer=batch.int_tokens,
        )
        return report(
            batch.int_scale * value, {"view/loss": value, "view/gap": stats.gap, "view/gate": stats.gate}
        )


@dataclass(frozen=True, slots=True)
class ViewDivergence(_OfLessons):
    """λ(k) · divergence across prompts on the rows of lessons, from ``batch.top``; see ``view_divergence``.

    It replaces ``ViewDistillation``, and has less noise.
    """

    sharpness: float | None = None

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``view/loss`` (before λ), ``view/gap`` and ``view/gate``."""
        if batch.top is None or scores.top is None:
            raise ConfigError(
                "got a batch without the teacher's likeliest tokens, expected TokenBatch.top; fix: "
                "Hooks(teach=..., top_k=32), or ViewDistillation for sampled tokens"
            )
        place = batch.top.row, batch.top.position
        value, stats = view_divergence(
            scores.top,
            teacher=batch.top.logprobs,
            weights=batch.weights[place],
            gap=batch.old_logprobs[place] - scores.logprobs.detach()[place],
            sharpness=self.sharpness,
            normalizer=batch.int_tokens,
        )
        return report(
            batch.int_scale * value, {"view/loss": value, "view/gap": stats.gap, "view/gate": stats.gate}
        )


@dataclass(frozen=True, slots=True)
class WriterSurrogate(_OfRollouts):
    """Policy-gradient loss on what the policy wrote about its rollouts; see ``clipped_surrogate``.

    It is a mean over the written tokens alone, and 0 without any. It shares its mini-batches with all other
    terms: a separate optimizer step would follow the task's momentum (Adam), however small its factor. The
    surrogate is homogeneous in A, so ``0.01 * WriterSurrogate()`` is the loss with .01 A.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = 3.0
    importance_limit: float | None = None
    """C of ``mismatch_weights``, for texts of an older policy; None for no correction."""

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Report ``writer/loss`` and ``writer/approx_kl``."""
        mask = batch.writer_mask
        if mask is None:
            nothing = (scores.logprobs * 0.0).sum()
            return report(nothing, {"writer/loss": nothing, "writer/approx_kl": nothing})
        importance = None
        if self.importance_limit is not None and batch.rollout_logprobs is not None:
            importance = mismatch_weights(
                batch.old_logprobs,
                rollout_logprobs=batch.rollout_logprobs,
                mask=mask,
                limit=self.importance_limit,
            )
        value, stats = clipped_surrogate(
            scores.logprobs,
            old_logprobs=batch.old_logprobs,
            advantages=batch.advantages,
            mask=mask,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            dual_clip=self.dual_clip,
            importance=importance,
            normalizer=batch.writer_tokens,
        )
        return report(value, {"writer/loss": value, "writer/approx_kl": stats.approx_kl})


def _reference(batch: TokenBatch) -> Tensor:
    if batch.reference_logprobs is None:
        raise ConfigError(
            "got a batch without reference_logprobs for a KL term, expected those of the initial model; fix: "
            "@siri.algos.needs_reference on the loss function around the term, or no such term (kl=0)"
        )
    return batch.reference_logprobs


def _teacher(batch: TokenBatch) -> Tensor:
    if batch.teacher_logprobs is None:
        raise ConfigError(
            "got a batch without teacher_logprobs, expected those of the RL tokens under the teacher's "
            "prompt; fix: Curriculum(hooks=Hooks(advise=...)), or set them in the batch"
        )
    return batch.teacher_logprobs


def _taught(batch: TokenBatch) -> Tensor:
    """The RL tokens that have a teacher. Z still counts all RL tokens."""
    return batch.rl_mask if batch.teacher_mask is None else batch.rl_mask & batch.teacher_mask
