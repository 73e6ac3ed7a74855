"""The maths of siri: pure functions of tensors, importable without the rest of the library.

Tensors and floats in, tensors out. Nothing here knows a model, a tokenizer, a config or a file.
"""

from siri.algos.advantages import (
    discounted_returns,
    episode_advantages,
    gigpo_advantages,
    step_advantages,
)
from siri.algos.anchors import similarity_anchors
from siri.algos.baselines import dr_grpo_advantages, grpo_advantages, rloo_advantages
from siri.algos.composition import needs_reference
from siri.algos.distillation import (
    DistillationStats,
    cross_entropy,
    gated_distillation,
    importance_distillation,
    reverse_kl_distillation,
    top_k_divergence,
    view_distillation,
    view_divergence,
)
from siri.algos.divergence import (
    DivergenceStats,
    kl_divergence,
    kl_estimate,
    mean_entropy,
    token_entropy,
)
from siri.algos.internalization import (
    InternalizationStats,
    internalization_gate,
    internalization_loss,
    internalization_weights,
    treatment_utility,
)
from siri.algos.masked import masked_mean, masked_sum
from siri.algos.mismatch import mismatch_weights
from siri.algos.numbering import labels
from siri.algos.objectives import (
    ClippedSurrogate,
    CrossEntropy,
    EntropyBonus,
    GatedDistillation,
    ImportanceDistillation,
    Internalization,
    KLPenalty,
    Loss,
    ReverseKLDistillation,
    Scaled,
    SiriObjective,
    Sum,
    Term,
    TokenBatch,
    TokenScores,
    TopTokens,
    ViewDistillation,
    ViewDivergence,
    WriterSurrogate,
)
from siri.algos.schedules import cosine_decay, linear_decay, linear_warmup
from siri.algos.surrogate import SurrogateStats, clipped_surrogate
from siri.algos.token_credit import agent_opsd_credit, grsd_credit, opid_credit, rlsd_credit, spread
from siri.algos.writing import writer_advantages

__all__ = [
    "ClippedSurrogate",
    "CrossEntropy",
    "DistillationStats",
    "DivergenceStats",
    "EntropyBonus",
    "GatedDistillation",
    "ImportanceDistillation",
    "Internalization",
    "InternalizationStats",
    "KLPenalty",
    "Loss",
    "ReverseKLDistillation",
    "Scaled",
    "SiriObjective",
    "Sum",
    "SurrogateStats",
    "Term",
    "TokenBatch",
    "TokenScores",
    "TopTokens",
    "ViewDistillation",
    "ViewDivergence",
    "WriterSurrogate",
    "agent_opsd_credit",
    "clipped_surrogate",
    "cosine_decay",
    "cross_entropy",
    "discounted_returns",
    "dr_grpo_advantages",
    "episode_advantages",
    "gated_distillation",
    "gigpo_advantages",
    "grpo_advantages",
    "grsd_credit",
    "importance_distillation",
    "internalization_gate",
    "internalization_loss",
    "internalization_weights",
    "kl_divergence",
    "kl_estimate",
    "labels",
    "linear_decay",
    "linear_warmup",
    "masked_mean",
    "masked_sum",
    "mean_entropy",
    "mismatch_weights",
    "needs_reference",
    "opid_credit",
    "reverse_kl_distillation",
    "rloo_advantages",
    "rlsd_credit",
    "similarity_anchors",
    "spread",
    "step_advantages",
    "token_entropy",
    "top_k_divergence",
    "treatment_utility",
    "view_distillation",
    "view_divergence",
    "writer_advantages",
]
