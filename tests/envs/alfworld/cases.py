"""The games of the differential tests: every kind in every room, with odd features, in all grammars."""

from __future__ import annotations

import hashlib
import importlib.util
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.rooms import tables
from siri.envs.alfworld.variants import VARIANTS
from tests.envs.alfworld import edges

INSTALLED = all(importlib.util.find_spec(name) for name in ("alfworld", "textworld", "fast_downward"))
live = pytest.mark.skipif(not INSTALLED, reason="alfworld's own engine is not installed: make reference")
PAIRS = tuple((kind, room) for kind, rooms in tables().kind_rooms.items() for room in sorted(rooms))
"""(kind, room) of all kinds that a room allows."""
SEED = 7
_GOALS = ("won_at_reset", "always_won", "logic")
_WORLD = tuple(name for name in edges.FEATURES if name not in _GOALS)


def cases(
    folder: Path, per_pair: int, *, seed: int, large: bool = True
) -> Iterator[tuple[str, edges.Content]]:
    """(label, content) of ``per_pair`` games for each kind and room; ``large``: some of the real size."""
    for number, (kind, room) in enumerate(PAIRS):
        for n in range(per_pair):
            index = number * per_pair + n
            variant = VARIANTS[index % 3]
            scale = 1.0 if large and index % 12 == 7 else (0.2, 0.3)[index % 2]
            where = folder / f"{kind}-{room}-{n}"
            (task,) = generate_games(
                1, seed=seed + n, split="train", kinds=[kind], rooms=[room], scale=scale,
                grammar=variant, directory=where,
            )  # fmt: skip
            rng = random.Random(f"{seed}/{kind}/{room}/{n}")
            features = rng.sample(_WORLD, rng.randrange(4))
            if index % 10 == 9:
                features.append(_GOALS[index // 10 % 3])
            content = edges.with_features(edges.read(task.source), features, rng)
            if index % 5 == 2:
                content = edges.odd_task(content, rng)
                features.append("odd_task")
            yield f"{kind} in {room}, {variant}, {scale:g}, {'+'.join(features) or 'plain'}", content


def digest(commands: Sequence[str]) -> str:
    """Fingerprint of an admissible list, order included."""
    return hashlib.sha256("\n".join(commands).encode()).hexdigest()[:12]
