"""Settings of the update: credit, losses, optimizer, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from siri.config.values import Count, NotNegative, Positive, Real, Section, Share, Whole

__all__ = ["AdvantageConfig", "CheckpointConfig", "LoRAConfig", "OptimizerConfig"]


class AdvantageConfig(Section):
    """GiGPO, as ``siri.algos.gigpo_advantages`` takes it."""

    estimator: Literal["joint", "per_arm", "plain_baseline"] = "joint"
    """What a rollout is compared with: its whole group, its own arm, or the mean of the plain arm."""
    gamma: Share = 0.95
    """γ, the discount of the step returns."""
    omega: NotNegative = 1.0
    """ω, the weight of the step advantage; at 0 only the episode advantage is left (GRPO)."""
    normalize: Literal["mean_std", "mean"] = "mean_std"
    """``mean_std`` divides by the standard deviation of the group; ``mean`` does not (Dr. GRPO)."""
    statistics: Literal["per_turn", "per_trajectory"] = "per_turn"
    """Whether mean and deviation are taken over the turns of a group (verl-agent) or over its trajectories
    (the paper)."""
    invalid_penalty: NotNegative = 0.1
    """c, the penalty that is subtracted from the score of a turn whose action is invalid."""
    failed_groups: Literal["bounded", "verl-agent"] = "bounded"
    """How penalties count in a group where every rollout failed. ``bounded`` keeps the weight that they have
    next to successes; ``verl-agent`` normalises by the penalties alone."""
    similarity: Share | None = None
    """Least cosine of word counts at which two observations share an anchor; None uses the environment's
    anchors."""


class OptimizerConfig(Section):
    """The coefficients of the loss, and the optimizer."""

    lr: Positive = 1e-6
    """Constant learning rate of AdamW."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay of AdamW."""
    grad_clip: Positive = 1.0
    """Largest global gradient norm."""
    minibatches: Count = 4
    """Number of optimizer steps per epoch over an iteration's rows."""
    batch_turns: Count | None = None
    """Number of turns per optimizer step. The number of steps then depends on how many turns were played.
    None uses ``minibatches`` instead."""
    epochs: Count = 1
    """Number of passes over an iteration's rows."""
    max_tokens_per_micro_batch: Count = 16384
    """Most padded tokens of one forward pass. This changes memory only, not the loss."""
    clip_low: Positive = 0.2
    """ε_low: the ratio is clipped below 1 − ε_low."""
    clip_high: Positive = 0.2
    """ε_high: the ratio is clipped above 1 + ε_high."""
    dual_clip: Annotated[Real, Field(gt=1)] | None = 3.0
    """Largest loss of a token with A < 0, as a multiple of |A|; None means no limit."""
    ratio: Literal["token", "sequence"] = "token"
    """Whether importance ratios are those of tokens or of whole completions (GSPO)."""
    aggregation: Literal["token", "sequence"] = "token"
    """Whether every token or every completion has the same weight in the surrogate."""
    importance_limit: NotNegative | None = None
    """Largest importance weight π_trainer / π_engine, which corrects engine mismatch; 0 means no weights.
    None means 2 where rollouts or training compute in bfloat16 and rollouts sample from the whole
    distribution, and no weights elsewhere."""
    importance_unit: Literal["token", "sequence", "geometric"] = "token"
    """Which ratio weighs a token: its own, that of its completion, or the geometric mean over its
    completion."""
    importance_outside: Literal["truncate", "mask"] = "truncate"
    """``truncate``: a weight above the limit C becomes C. ``mask``: a weight outside [1/C, C] becomes 0."""
    kl: NotNegative = 0.01
    """β, the weight of the k3 divergence from the initial model; 0 needs no reference model."""
    entropy: NotNegative = 0.001
    """c_H, the weight of the entropy bonus."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the training passes. bfloat16 is mixed precision: weights, their gradients and AdamW stay
    float32. A processor that computes in bfloat16 then takes a third to a half of the time."""
    shard: bool = False
    """Shard weights, gradients, optimizer state and reference over the processes (FSDP2). vLLM plays from its
    own weights; without vLLM, each process keeps a whole copy for rollouts."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass; this takes about a third more time and far less
    memory."""
    recompute: bool = True
    """Recompute the old log-probs with the trainer. False uses those from sampling, if both compute in
    float32."""


class LoRAConfig(Section):
    """A LoRA adapter that is trained instead of all weights (extra ``lora``), without dropout."""

    rank: Whole = 0
    """Rank of the two factors; 0 trains every weight. The reference is the model without the adapter."""
    alpha: Positive = 32.0
    """The adapter's output is scaled by alpha / rank."""
    targets: tuple[str, ...] | None = None
    """Endings of the names of linear layers to adapt; None means all except the vocabulary head."""
    engine: Literal["merged", "adapter"] = "merged"
    """What vLLM in this process is given after each update: all weights, with the adapter ``merged`` into
    them, or the ``adapter`` alone, which vLLM then computes next to its base."""


class CheckpointConfig(Section):
    """When a run is saved, and which checkpoints are kept."""

    every: Count = 1
    """Number of iterations between two checkpoints. The end of each phase writes one too."""
    keep: Count = 2
    """Number of newest checkpoints to keep."""
    best: bool | Literal["weights"] = True
    """Also keep the checkpoint with the best plain success (mean of the last five iterations). ``weights``
    keeps only its model, in RUN/best."""
    background: bool | None = None
    """Write checkpoints while the run continues, from a copy in the machine's memory. None does so for
    checkpoints of 1 GB or more."""
