"""The maths of siri: pure functions of tensors, importable without the rest of the library.

Tensors and floats in, tensors out. Nothing here knows a model, a tokenizer, a config or a file.
"""

from siri.algos.advantages import (
    discounted_returns,
    episode_advantages,
    gigpo_advantages,
    grpo_advantages,
    rloo_advantages,
    step_advantages,
)
from siri.algos.divergence import DivergenceStats, kl_divergence, mean_entropy, token_entropy
from siri.algos.internalization import (
    InternalizationStats,
    internalization_gate,
    internalization_loss,
    internalization_weights,
)
from siri.algos.masked import masked_mean, masked_sum
from siri.algos.objectives import (
    ClippedSurrogate,
    EntropyBonus,
    Internalization,
    KLPenalty,
    Loss,
    Scaled,
    SiriObjective,
    Sum,
    Term,
    TokenBatch,
    TokenScores,
)
from siri.algos.schedules import linear_warmup
from siri.algos.surrogate import SurrogateStats, clipped_surrogate

__all__ = [
    "ClippedSurrogate",
    "DivergenceStats",
    "EntropyBonus",
    "Internalization",
    "InternalizationStats",
    "KLPenalty",
    "Loss",
    "Scaled",
    "SiriObjective",
    "Sum",
    "SurrogateStats",
    "Term",
    "TokenBatch",
    "TokenScores",
    "clipped_surrogate",
    "discounted_returns",
    "episode_advantages",
    "gigpo_advantages",
    "grpo_advantages",
    "internalization_gate",
    "internalization_loss",
    "internalization_weights",
    "kl_divergence",
    "linear_warmup",
    "masked_mean",
    "masked_sum",
    "mean_entropy",
    "rloo_advantages",
    "step_advantages",
    "token_entropy",
]
