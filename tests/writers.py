"""Scripted writers behind a real server: they read which task succeeded, and answer as a hosted model
would."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.skills.server import Answer, completion

_STATION = "search the {} first, take it, {} it with the {}, then move it to the goal."
GOOD = {
    "clean an object": _STATION.format("countertop", "clean", "sinkbasin"),
    "heat an object": _STATION.format("countertop", "heat", "microwave"),
    "cool an object": _STATION.format("countertop", "cool", "fridge"),
    "look at an object under a light": "search the desk first, take it, then use the desklamp.",
    "put two objects somewhere": (
        "search the shelf first, take it, move it to the goal, then repeat with the second one."
    ),
    "put an object somewhere": "search the countertop first, take it, then move it to the goal.",
}
_NONSENSE = "search the bed first, use the safe, then use the toilet."
BAD = dict.fromkeys(GOOD, _NONSENSE)
"""Nothing that leads to the goal: harmful from the first group to the last, whatever the policy learns.

The right plan with wrong places ("heat it with the toilet") would not do. A policy in training soon reads
past the place, is helped by the plan, and the skill becomes one that helps.
"""
_KINDS = {
    r"\bclean": "clean an object",
    r"\b(?:heat|hot)\b": "heat an object",
    r"\bcool": "cool an object",
    r"\b(?:examine|look)": "look at an object under a light",
    r"\btwo\b": "put two objects somewhere",
    r"": "put an object somewhere",
}


def writer(skills: dict[str, str]) -> Any:
    """What the server answers: one skill for the kind of task that the request shows."""

    def answer(body: dict[str, Any]) -> Answer:
        goal = body["messages"][-1]["content"].splitlines()[0]
        kind = next(kind for words, kind in _KINDS.items() if re.search(words, goal))
        pair = {"condition": f"the task is to {kind}", "strategy": skills[kind]}
        return completion(json.dumps({"skills": [pair]}), usage=(250, 40))

    return answer
