"""An environment that returns a wrong thing in one step of twenty. Worker processes import this file."""

from __future__ import annotations

import math
import random

from tests.worlds import Counter


class Hostile(Exception):
    """Cannot be shown."""

    def __str__(self):
        raise RuntimeError("no words")


def _exits():
    raise SystemExit(3)


def _interrupts():
    raise KeyboardInterrupt


def _raises():
    raise ValueError("long " * 500)


def _cannot_be_shown():
    raise Hostile


def answer(text="at 1", reward=0.0, terminated=False, truncated=False, **info):
    known = {"admissible": ["up"], "success": False, "anchor": 1, "valid": True}
    return text, reward, terminated, truncated, {**known, **info}


WRONG = {
    "nothing": lambda: None,
    "an old gym's tuple": lambda: (*answer()[:3], {}),
    "no info": lambda: (*answer()[:4], None),
    "an empty info": lambda: (*answer()[:4], {}),
    "bytes": lambda: answer(b"at 1"),
    "an array": lambda: answer([1, 2]),
    "a lone surrogate": lambda: answer("\ud800"),
    "no reward": lambda: answer(reward=None),
    "nan": lambda: answer(reward=math.nan),
    "infinity": lambda: answer(reward=math.inf),
    "a huge int": lambda: answer(reward=10**400),
    "a text as reward": lambda: answer(reward="1"),
    "no end": lambda: answer(terminated=None),
    "success in words": lambda: answer(success="yes"),
    "an unhashable anchor": lambda: answer(anchor=[1]),
    "one admissible text": lambda: answer(admissible="up"),
    "admissible numbers": lambda: answer(admissible=[1]),
    "a score that is not finite": lambda: answer(score=math.nan),
    "SystemExit": _exits,
    "KeyboardInterrupt": _interrupts,
    "a long exception": _raises,
    "an exception that cannot be shown": _cannot_be_shown,
}


class Wrong(Counter):
    """A counter that is wrong in one step of twenty, by the seed of the episode."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reset(self, *, seed=None, options=None):
        self.draw = random.Random(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        if self.draw.random() < 1 / 20:
            return WRONG[self.kind]()
        return super().step(action)
