"""Settings: typed sections, loading and presets."""

from siri.config.loading import differences, load_config, parse_config
from siri.config.sections import (
    AdvantageConfig,
    ChatConfig,
    CheckpointConfig,
    EnvConfig,
    EnvSettings,
    EpisodesConfig,
    EvaluationConfig,
    InternalizationConfig,
    LoRAConfig,
    MiningConfig,
    OptimizerConfig,
    RolloutConfig,
    RunConfig,
    ValidationConfig,
    WarmupConfig,
)

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
    "differences",
    "load_config",
    "parse_config",
]
