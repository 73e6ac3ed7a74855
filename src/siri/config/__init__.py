"""Settings: typed sections, loading and presets."""

from siri.config.sections import (
    AdvantageConfig,
    ChatConfig,
    CheckpointConfig,
    EnvConfig,
    EvaluationConfig,
    InternalizationConfig,
    LoRAConfig,
    MiningConfig,
    OptimizerConfig,
    RolloutConfig,
    RunConfig,
    ValidationConfig,
    WarmupConfig,
    load_config,
    parse_config,
)

__all__ = [
    "AdvantageConfig",
    "ChatConfig",
    "CheckpointConfig",
    "EnvConfig",
    "EvaluationConfig",
    "InternalizationConfig",
    "LoRAConfig",
    "MiningConfig",
    "OptimizerConfig",
    "RolloutConfig",
    "RunConfig",
    "ValidationConfig",
    "WarmupConfig",
    "load_config",
    "parse_config",
]
