"""Reading skills out of what a model wrote, and refusing those that are none."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from itertools import islice
from typing import Any

__all__ = ["MAX_WORDS", "TINY_SKILL_GRAMMAR", "parse_skills", "rejection"]

MAX_WORDS = 60
"""Longest skill, in words."""

_VERBS = "search|look|go|repeat|take|pick|find|heat|cool|clean|move|put|place|use|turn|open|examine"
_CLAUSE = rf"(?:{_VERBS})(?: [a-z]+){{1,9}}"
TINY_SKILL_GRAMMAR = (
    rf"When the task is to [a-z]+(?: [a-z]+){{0,9}}: {_CLAUSE}(?:, (?:(?:and )?then )?{_CLAUSE}){{0,5}}\."
)
"""What a whole skill of the embedded policy looks like: clauses that begin with a verb, and a full stop."""

_KEYS = ("condition", "strategy")
_SENTENCE = re.compile(
    r"\bWhen\s+([^:\n]{1,400}):\s*(\S.*?)(?=\s*(?:$|\n|\bWhen\s[^:\n]{1,400}:))", re.MULTILINE
)
_LEAKS = re.compile(
    r"<\|?/?\w+\|?>|```|\[/?INST\]|your task is to|summari[sz]e|\bjson\b|admissible"
    r"|\b(?:assistant|user|system):",
    re.IGNORECASE,
)


def parse_skills(text: str) -> list[tuple[str, str]]:
    """(condition, strategy) pairs in ``text``; empty when it holds none. Never raises.

    Tried in order: JSON (an object, a list, or either in a fenced block or amid prose) with the keys
    ``condition`` and ``strategy``; then sentences "When <condition>: <strategy>".
    """
    for candidate in _json_candidates(text):
        pairs = _pairs(candidate)
        if pairs is not None:
            return pairs
    return [(_tidy(c), _tidy(s)) for c, s in _SENTENCE.findall(text)]


def rejection(condition: str, strategy: str, *, pattern: re.Pattern[str] | None = None) -> str | None:
    """Why the pair is no skill, in one word, or None when it is one.

    ``empty``: a part is missing. ``leaked_prompt``: pieces of the prompt or of the chat format.
    ``instance_ids``: a digit ("cabinet 3", a product id), so it speaks of one instance.
    ``too_long``: over ``MAX_WORDS`` words. ``grammar``: ``pattern`` does not match the whole sentence.
    """
    text = f"When {condition}: {strategy}"
    if not re.search(r"\w", condition) or not re.search(r"\w", strategy):
        return "empty"
    if _LEAKS.search(text):
        return "leaked_prompt"
    if re.search(r"\d", text):
        return "instance_ids"
    if len(text.split()) > MAX_WORDS:
        return "too_long"
    if pattern is not None and pattern.fullmatch(text) is None:
        return "grammar"
    return None


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _json_candidates(text: str) -> list[Any]:
    """The JSON values that begin at one of the first brackets of the text, outermost first."""
    found: list[Any] = []
    decoder = json.JSONDecoder()
    for bracket in islice(re.finditer(r"[\[{]", text), 16):
        with suppress(ValueError, RecursionError):
            found.append(decoder.raw_decode(text, bracket.start())[0])
    return found


def _pairs(value: Any) -> list[tuple[str, str]] | None:
    """The pairs of a JSON value, or None when it is not of the form asked for."""
    if isinstance(value, dict) and "condition" not in value:
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else None
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list):
        return None
    pairs = []
    for row in rows:
        if isinstance(row, dict) and ("condition" in row or "strategy" in row):
            condition, strategy = (_tidy(row[k]) if isinstance(row.get(k), str) else "" for k in _KEYS)
            condition = re.sub(r"^when\s+", "", condition, flags=re.IGNORECASE)
            pairs.append((condition.rstrip(":,. "), strategy))
    return pairs or None
