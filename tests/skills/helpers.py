"""Records and a policy for the tests of siri.skills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siri.skills import skill_id
from siri.types import Completion, Request, Sampling, Skill, StopReason, Task, Trajectory, Turn

HEAT = "search the countertop first, take it, heat it with the microwave, then move it to the goal."


def make_skill(
    text: str = HEAT, *, kind: str = "heat", condition: str = "the task is to heat an object", **kw: Any
):
    return Skill(
        skill_id(kind, f"When {condition}: {text}"), kind, condition, text, "self", **{"created": 0, **kw}
    )


def make_task(kind: str = "heat", goal: str = "put a hot apple in fridge.", split: str = "train") -> Task:
    return Task(f"{kind}-1", kind, goal, split)


def make_trajectory(name: str = "t1", *, kind: str = "heat", split: str = "train", **kw: Any) -> Trajectory:
    actions = [
        ("go to countertop 1", True),
        ("take apple 1 from countertop 1", True),
        ("dance", False),
        ("look", True),
        ("heat apple 1 with microwave 1", True),
        ("take nothing", False),
    ]
    turns = tuple(Turn("You see an apple 1.", (), a, a, ok, 0.0, None) for a, ok in actions)
    fields = {"arm": "plain", "skills": (), "turns": turns, "success": True, "stop": StopReason.SUCCESS}
    return Trajectory(name, make_task(kind, split=split), **{**fields, **kw})


class Scripted:
    """A policy that answers from a list, in turn, and remembers what it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        self.sampling: Sampling | None = None

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        self.sampling = sampling
        texts = [self.answers[(len(self.requests) + i) % len(self.answers)] for i in range(len(requests))]
        self.requests += requests
        return [Completion(text) for text in texts]
