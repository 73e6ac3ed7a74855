"""The worlds that every law of tests/envs/test_worlds.py is asked of, by name; small and quick to make."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from siri.envs.alfworld import alfworld_suite
from siri.envs.babyai import babyai_suite
from siri.envs.textarena import textarena_suite
from siri.envs.textcraft import textcraft_suite
from siri.envs.tools import tools_suite
from siri.envs.webshop import webshop_suite
from siri.rollout.suite import Suite

_SMALL = {"train_tasks": 40, "valid_tasks": 20}


def _arena(game: str, **settings: object) -> Suite:
    return textarena_suite(game, **_SMALL | settings)


WORLDS: dict[str, Callable[..., Suite]] = {
    "textcraft": lambda **settings: textcraft_suite(**_SMALL | settings),
    "tools": lambda **settings: tools_suite(**_SMALL | settings),
}
OTHERS: dict[str, Callable[..., Suite]] = {
    "alfworld": lambda: alfworld_suite(train_games=12, valid_games=6),
    "webshop": lambda: webshop_suite(style="window", size="tiny", valid_goals=8),
    "compact webshop": lambda: webshop_suite(size="tiny", valid_goals=8),
}
"""Worlds whose own tests ask for the same laws."""
NAMES = {"textcraft": "siri/TextCraft-v0", "tools": "siri/Tools-v0"}
if find_spec("minigrid"):
    WORLDS["babyai"] = lambda **settings: babyai_suite(**_SMALL | settings)
    NAMES["babyai"] = "siri/BabyAI-v0"
FEW = {"train_tasks": 10, "valid_tasks": 4}
STYLES = {
    "babyai": ("transcript", "window"),
    "textcraft": ("transcript", "window"),
    "tools": ("transcript", "window", "calls"),
}
if find_spec("textarena"):
    for game in ("sokoban", "frozenlake", "lightsout"):
        WORLDS[game] = partial(_arena, game)
        STYLES[game] = ("transcript", "window")
    NAMES["sokoban"] = "siri/TextArena-v0"


def digest(name: str, **settings: object) -> str:
    """Everything a world says: tasks, first texts and random episodes, as one hash."""
    suite = WORLDS[name](**settings)
    found = hashlib.sha256()
    rng = random.Random(0)
    for split, tasks in suite.tasks.items():
        for number, task in enumerate(tasks):
            found.update(repr((split, task.id, task.kind, task.goal)).encode())
            env = suite.make_env()
            observation, info = env.reset(seed=number, options={"task": task})
            over = False
            for _ in range(12):
                prompt = suite.prompter.messages(task, (), observation, info["admissible"])
                found.update(repr((observation, info["admissible"], info["anchor"], prompt)).encode())
                if over or not info["admissible"]:
                    break
                command = rng.choice(info["admissible"])
                observation, _, terminated, truncated, info = env.step(command)
                over = terminated or truncated
    return found.hexdigest()


if __name__ == "__main__":
    print(json.dumps({name: digest(name, seed=int(sys.argv[1])) for name in WORLDS}))
