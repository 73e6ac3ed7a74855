"""Every setting of a run, one model per concern. Frozen; unknown keys and impossible values are refused.

Defaults are the paper's scale (ALFWorld, Qwen2.5-7B); ``siri.config.presets`` has those of a laptop.
Where a default comes from is in docs/explanation/method.md.
"""

from __future__ import annotations

from siri.config.experience import EnvConfig, EpisodesConfig, EvaluationConfig, RolloutConfig
from siri.config.learning import AdvantageConfig, CheckpointConfig, LoRAConfig, OptimizerConfig
from siri.config.skills import ChatConfig, InternalizationConfig, MiningConfig, ValidationConfig, WarmupConfig
from siri.config.values import Count, EnvSettings, Section, Whole

__all__ = [
    "AdvantageConfig",
    "ChatConfig",
    "CheckpointConfig",
    "EnvConfig",
    "EnvSettings",
    "EpisodesConfig",
    "EvaluationConfig",
    "InternalizationConfig",
    "LoRAConfig",
    "MiningConfig",
    "OptimizerConfig",
    "RolloutConfig",
    "RunConfig",
    "ValidationConfig",
    "WarmupConfig",
]


class RunConfig(Section):
    """A whole run."""

    seed: Whole = 0
    """Of everything: tasks, sampling, batches, mining."""
    max_env_steps: Count | None = None
    """End the run after the iteration that reaches this many environment steps."""
    threads: Count | None = None
    """CPU threads of each process; None: ``OMP_NUM_THREADS``, else one for a small model and all cores for a
    larger one. Several threads on a busy machine wait for each other."""
    env: EnvConfig = EnvConfig()
    rollout: RolloutConfig = RolloutConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    lora: LoRAConfig = LoRAConfig()
    warmup: WarmupConfig = WarmupConfig()
    mining: MiningConfig = MiningConfig()
    chat: ChatConfig = ChatConfig()
    validation: ValidationConfig = ValidationConfig()
    internalization: InternalizationConfig = InternalizationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    episodes: EpisodesConfig = EpisodesConfig()
