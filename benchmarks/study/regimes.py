"""Where the study compares: base policies and worlds, and what a run may cost there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siri.config.presets import preset
from siri.policies.tiny import base_path

__all__ = ["ALFWORLD", "BENCHMARKS", "FULL", "MAIN", "REGIMES", "SMALL", "Budget", "Regime"]

BENCHMARKS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Budget:
    """What one run may cost and how often it is measured; equal for all arms."""

    env_steps: int
    points: int
    """Evaluations after the start, at equal distances in environment steps."""
    valid_games: int
    """Generated games, or goals of the shop, that nobody trains on. The last checkpoint plays all of them,
    other evaluations one of ``turns`` equal parts by turns."""
    real_games: bool
    """Measure the last checkpoint on the real valid_seen as well, where ALFWORLD_DATA is set."""
    turns: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


FULL = Budget(env_steps=30_000, points=8, valid_games=600, real_games=True, turns=3)
RECIPE = preset("embedded").model_dump()
SHOP = Budget(
    env_steps=20_000,
    points=8,
    valid_games=500,
    real_games=False,
    turns=2,
    settings={
        # how the other regimes learn, in place of what the shop's own preset says
        **{section: RECIPE[section] for section in ("optimizer", "mining", "validation", "internalization")},
        "warmup": {"successes": 64, "max_iterations": 8},
    },
)
LONG = Budget(env_steps=100_000, points=10, valid_games=600, real_games=True, turns=3)
SMALL = Budget(
    env_steps=2_000,
    points=5,
    valid_games=12,
    real_games=False,
    settings={
        "env": {"max_steps": 12, "train_games": 24},
        "rollout": {"tasks": 6, "group_size": 4},
        "warmup": {"successes": 4, "max_iterations": 1},
        "mining": {"every": 1, "min_active": 1, "min_iterations": 1, "max_iterations": 3},
        "validation": {"n_eval": 1},
    },
)
"""The whole chain in minutes; its numbers mean nothing."""


@dataclass(frozen=True)
class Regime:
    """A base policy to start from, and where it is trained and measured."""

    base: Callable[[], Path]
    summary: str
    env: str = "alfworld"
    split: str = "valid_unseen"
    budget: Budget = FULL
    most_seeds: int = 8
    """Where an arm asks for more, that many are run."""
    iterations: int = 13
    """About as many follow the warm-up; for methods whose schedule counts iterations."""
    arms: tuple[str, ...] = ()
    """Which are run there; () is all."""
    also: str | None = None
    """Another split, of which the last checkpoint plays all."""


MAIN = ("gigpo", "self_imitation", "siri", "siri_adaptive", "full_length")
"""Arms of the longer and of the wider runs."""


def _rare() -> Path:
    return BENCHMARKS / "bases" / "rare"


def _world(env: str, steps: int) -> Regime:
    """Another world, with the embedded preset and the shipped base of its own."""
    return Regime(
        lambda: base_path(env),
        "the shipped base of the world",
        env=env,
        budget=Budget(env_steps=steps, points=8, valid_games=300, real_games=False, turns=3),
        most_seeds=2,
        arms=MAIN,
        also="valid_seen",
    )


REGIMES = {
    "default": Regime(
        base_path, "the shipped base: about .2 plain success on heat, cool and clean, .7 with a right skill"
    ),
    "rare": Regime(
        _rare,
        "the same base, tuned on demonstrations whose plain attempts nearly always use a wrong station: "
        "plain success .03 on heat and cool and .16 on clean, .70 to .86 with a right skill",
    ),
    "shop": Regime(
        lambda: base_path("webshop"),
        "the shipped base of the shop, on the bundled catalogue (siri-shop-small): .02 plain success, .09 "
        "with a right skill",
        env="webshop",
        split="valid",
        budget=SHOP,
        most_seeds=4,
        iterations=15,
    ),
    "long": Regime(
        _rare,
        "that of `rare`, for 100,000 steps",
        budget=LONG,
        most_seeds=2,
        arms=MAIN,
    ),
    "textcraft": _world("textcraft", 25_000),
    "babyai": _world("babyai", 40_000),
    "tools": _world("tools", 10_000),
}
ALFWORLD = ("rare", "default")
