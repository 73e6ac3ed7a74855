"""Ready-made configurations, by scale and environment.

``embedded`` is the default of ``siri run``, for a laptop; ``smoke`` takes the same path in seconds;
``pretrained`` is for a small language model on CPUs; ``paper`` has the papers' scale.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from siri.config.sections import RunConfig
from siri.errors import ConfigError

__all__ = ["PRESETS", "preset", "usual_recipe"]

_OPTIMIZER: dict[str, Any] = {
    "lr": 6e-4,
    "clip_high": 0.28,
    "weight_decay": 0.0,
    "entropy": 0.0,
    "recompute": False,
}
# chosen on development seeds (docs/results.md)
_EMBEDDED: dict[str, Any] = {
    "env": {"max_steps": 25, "style": "transcript", "scale": 0.4},
    "rollout": {"max_tokens": 12},
    # where most groups fail outright, only penalties are left to normalise: valid but useless commands win
    "advantage": {"invalid_penalty": 0.0},
    "optimizer": {**_OPTIMIZER, "minibatches": 16},
    "warmup": {"successes": 64},
    "mining": {
        "every": 2,
        "max_skills": 1,
        "samples": 8,
        "max_per_request": 1,
        "min_active": 3,
        "min_iterations": 3,
        "max_iterations": 5,
    },
    "validation": {"n_eval": 8, "activate": 0.1, "top_k": 1, "shrink": 2.0, "candidate_share": 0.25},
    "internalization": {"iterations": 14, "peak": 3.0, "warmup": 1, "replay": 8},
    "evaluation": {"temperature": 1.0},
}
# of the length at which `siri_both` pays (benchmarks/results/default_run.md)
_ALFWORLD: dict[str, Any] = {
    **_EMBEDDED,
    "internalization": {**_EMBEDDED["internalization"], "iterations": 30},
    "max_env_steps": 50_000,
}
_SMOKE: dict[str, Any] = {
    **_EMBEDDED,
    "optimizer": _OPTIMIZER,
    "env": {"max_steps": 12, "style": "transcript", "scale": 0.4, "train_games": 12, "valid_games": 6},
    "rollout": {"max_tokens": 12, "tasks": 4, "group_size": 4, "slots": 16},
    "warmup": {"successes": 4, "max_iterations": 2},
    "mining": {
        "every": 1,
        "samples": 8,
        "max_per_request": 1,
        "min_active": 1,
        "min_iterations": 1,
        "max_iterations": 2,
    },
    "validation": {"n_eval": 1, "top_k": 1, "activate": -1.0, "retire": -1.0},
    "internalization": {"iterations": 2, "peak": 3.0, "warmup": 1},
}


def _pretrained(
    embedded: Mapping[str, Any], max_tokens: int, rollout: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make the preset of a language model of a hundred million weights on CPUs: replies of at most
    ``max_tokens`` of its own tokens, passes in bfloat16, small micro-batches, and no reference model."""
    played = {"tasks": 8, "group_size": 8, "slots": 64, **(rollout or {})}
    return {
        **embedded,
        "rollout": {**played, "max_tokens": max_tokens, "dtype": "bfloat16"},
        "optimizer": {
            **_OPTIMIZER,
            "lr": 1e-5,
            "kl": 0.0,
            "minibatches": 4,
            "max_tokens_per_micro_batch": 1024,
            "precision": "bfloat16",
        },
        "internalization": {"iterations": 14, "peak": 1.0, "warmup": 1, "replay": 8},
        "evaluation": {**embedded["evaluation"], "temperature": 0.4},
    }


_SHOP: dict[str, Any] = {
    **_EMBEDDED,
    "optimizer": _OPTIMIZER,
    # a model that buys perfectly in 4 of 100 episodes learns too slowly from perfect purchases alone
    "env": {"max_steps": 15, "style": "compact", "rewards": "score"},
    "rollout": {"max_tokens": 16, "tasks": 12},
    "warmup": {"successes": 96, "max_iterations": 20},
    "mining": {"every": 3, "max_skills": 1, "min_active": 3, "min_iterations": 6, "max_iterations": 9},
    "validation": {"n_eval": 6, "top_k": 1, "shrink": 2.0, "candidate_share": 0.25},
    "internalization": {"iterations": 10, "peak": 1.0, "warmup": 3},
    "evaluation": {"temperature": 1.0, "splits": ("valid",)},
}
_SHOP_SMOKE: dict[str, Any] = {
    **_SMOKE,
    "env": {"max_steps": 15, "style": "compact", "catalog": "tiny", "valid_goals": 8},
    "rollout": {"max_tokens": 20, "tasks": 4, "group_size": 4, "slots": 16},
    "evaluation": {"temperature": 1.0, "splits": ("valid",)},
}
# steps of as many turns as in the GiGPO recipes; a checkpoint of 7 B parameters is 91 GB
_PAPER: dict[str, Any] = {
    "optimizer": {"batch_turns": 256},
    "checkpoint": {"every": 10, "keep": 1, "best": "weights"},
}
_SHOP_PAPER: dict[str, Any] = {
    **_PAPER,
    "env": {"max_steps": 15, "style": "window", "history": 2},
    "advantage": {"normalize": "mean"},
    "optimizer": {"batch_turns": 64, "minibatches": 8},
    "validation": {"top_k": 1},
    "evaluation": {"splits": ("valid",)},
}
_SPLITS = ("valid_seen", "valid_unseen")


def _world(
    steps: int,
    max_tokens: int,
    splits: tuple[str, ...],
    *,
    most: int | None = None,
    rollout: Mapping[str, Any] | None = None,
    **env: Any,
) -> dict[str, dict[str, Any]]:
    """Make the presets of a world whose episodes take ``steps`` commands of at most ``max_tokens``. At the
    paper's scale, episodes take ``most`` commands if given."""
    played = dict(rollout or {})
    small = {"max_steps": steps, "style": "transcript", "train_games": 240, "valid_games": 60, **env}
    few = {"train_games": 12, "valid_games": 6}
    embedded = {
        **_EMBEDDED,
        "env": small,
        "rollout": {"max_tokens": max_tokens, **played},
        "evaluation": {"temperature": 1.0, "splits": splits},
    }
    return {
        "embedded": embedded,
        # a word is one token of the embedded policy, and often several of a language model
        "pretrained": _pretrained(embedded, 2 * max_tokens, played),
        "smoke": {
            **_SMOKE,
            "env": {**small, **few},
            "rollout": {**_SMOKE["rollout"], "max_tokens": max_tokens, **played},
            "evaluation": {"temperature": 1.0, "splits": splits},
        },
        "paper": {
            **_PAPER,
            "env": {"max_steps": most or steps, "style": "window"},
            "rollout": played,
            "evaluation": {"splits": splits},
        },
    }


_WORLDS: dict[str, dict[str, dict[str, Any]]] = {
    # of the size that the embedded policy was trained in
    "textcraft": _world(16, 28, _SPLITS, options={"depth": [1, 2], "distractors": 4}, most=30),
    "tools": _world(8, 16, _SPLITS),
    "babyai": _world(20, 6, _SPLITS, options={"levels": "small"}, most=64),
    # each environment is a Java process of some hundred MB
    "scienceworld": _world(30, 24, ("valid",), most=100, rollout={"slots": 8, "processes": True}),
    "sokoban": _world(30, 8, ("valid",)),
    "textarena": _world(30, 16, ("valid",)),
}
PRESETS: Mapping[str, RunConfig] = {
    "embedded": RunConfig.model_validate(_EMBEDDED),
    "alfworld-embedded": RunConfig.model_validate(_ALFWORLD),
    "smoke": RunConfig.model_validate(_SMOKE),
    "pretrained": RunConfig.model_validate(_pretrained(_EMBEDDED, 20)),
    "alfworld-paper": RunConfig.model_validate(_PAPER),
    "webshop-embedded": RunConfig.model_validate(_SHOP),
    "webshop-pretrained": RunConfig.model_validate(_pretrained(_SHOP, 32)),
    "webshop-smoke": RunConfig.model_validate(_SHOP_SMOKE),
    "webshop-paper": RunConfig.model_validate(_SHOP_PAPER),
    **{
        f"{world}-{name}": RunConfig.model_validate(settings)
        for world, presets in _WORLDS.items()
        for name, settings in presets.items()
    },
}
"""Ready-made configurations by name."""


_RECIPES = {"alfworld-embedded": "siri_both"}


def usual_recipe(name: str, env: str = "alfworld") -> str | None:
    """The recipe with which ``siri run`` takes a preset; None means SIRI with its phases."""
    return _RECIPES.get(f"{env}-{name}") or _RECIPES.get(name)


def preset(name: str, env: str = "alfworld") -> RunConfig:
    """Return one of ``PRESETS``; ``env`` completes a name that has no benchmark.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if f"{env}-{name}" in PRESETS:
        name = f"{env}-{name}"
    other, _, rest = name.partition("-")
    if name in PRESETS and other != env and f"{env}-{rest}" in PRESETS:
        raise ConfigError(f"got preset {name!r} for {env}, expected {env}-{rest}; fix: it, or env={other!r}")
    if name not in PRESETS:
        own = [key.removeprefix(f"{env}-") for key in PRESETS if key.startswith(f"{env}-")]
        known = [*own, *(key for key in PRESETS if "-" not in key and key not in own)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one"
        raise ConfigError(f"got preset {name[:60]!r} for {env}, expected one of {known}; fix: {hint}")
    return PRESETS[name]
