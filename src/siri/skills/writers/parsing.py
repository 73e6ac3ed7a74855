"""Reading skills out of what a model wrote, and refusing those that are none."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from siri.skills.bank import normalize

__all__ = ["MAX_TOKENS", "TINY_SKILL_GRAMMAR", "parse_skills", "phrases", "rejection"]

MAX_TOKENS = 60
"""Longest skill, in tokens."""

_VERBS = "search|look|go|repeat|take|pick|find|heat|cool|clean|move|put|place|use|turn|open|examine"
_CLAUSE = rf"(?:{_VERBS})(?: [a-z]+){{1,9}}"
TINY_SKILL_GRAMMAR = (
    rf"When the task is to [a-z]+(?: [a-z]+){{0,9}}: {_CLAUSE}(?:, (?:(?:and )?then )?{_CLAUSE}){{0,5}}\."
)
"""What a whole skill of the embedded policy looks like: clauses that begin with a verb, and a full stop."""

_LONGEST = 65536
"""Characters of an answer that are read."""
_NAMES = {
    "condition": ("condition", "when", "if", "situation", "applies when", "when it applies"),
    "strategy": ("strategy", "action", "advice", "do", "then", "what to do"),
}
_ALIASES = {alias: name for name, aliases in _NAMES.items() for alias in aliases}
_SENTENCE = re.compile(
    r"\bWhen\s+([^:\n]{1,400}):\s*(\S.*?)(?=\s*(?:$|\n|\bWhen\s[^:\n]{1,400}:))", re.MULTILINE
)
_LABELLED = re.compile(
    r"^\W*(?:\d+\W+)?condition\W*:\W*(?P<condition>\S[^\n]*)\n+\W*(?:\d+\W+)?strategy\W*:\W*(?P<strategy>\S[^\n]*)",
    re.MULTILINE | re.IGNORECASE,
)
_COMMA = re.compile(r"^[\s\-*•\d.)]*(?:When|If)\s+([^,:\n]{1,400}),\s+(\S[^\n]*)$", re.MULTILINE)
_LEAKS = re.compile(
    r"<\|?/?\w+\|?>|<\||\|>|```|\[/?INST\]|<</?SYS>>|your task is to|summari[sz]e|\bjson\b|admissible"
    r"|\b(?:assistant|user|system)\s*:|\bignore (?:all |any )?(?:the )?(?:previous|prior|above)\b",
    re.IGNORECASE,
)
_PHRASE = 8
"""Words in a row that a skill may not share with the instructions."""


def parse_skills(text: str) -> list[tuple[str, str]]:
    """(condition, strategy) pairs in ``text``; empty when it holds none. Never raises.

    Tried in order: JSON (objects, lists, in a fenced block, amid prose, or cut off after some whole objects;
    with Python's quotes, typographic quotes or trailing commas) with the keys ``condition`` and ``strategy``
    or names that mean the same; lines "Condition: …" and "Strategy: …"; sentences "When <condition>:
    <strategy>"; lines "When <condition>, <strategy>".
    """
    text = text[:_LONGEST]
    pairs = [pair for value in _values(text) for pair in _pairs(value)]
    if pairs:
        return pairs
    labelled = [(match["condition"], match["strategy"]) for match in _LABELLED.finditer(text)]
    found = labelled or _SENTENCE.findall(text) or _COMMA.findall(text)
    return [(_condition(c) if labelled else _tidy(c), _tidy(s).strip("*_ ")) for c, s in found]


def phrases(texts: Iterable[str]) -> frozenset[str]:
    """Every run of eight normalised words of ``texts``."""
    found: set[str] = set()
    for text in texts:
        words = normalize(text).split()
        found.update(" ".join(words[n : n + _PHRASE]) for n in range(len(words) - _PHRASE + 1))
    return frozenset(found)


def rejection(
    condition: str,
    strategy: str,
    *,
    pattern: re.Pattern[str] | None = None,
    count: Callable[[str], int] | None = None,
    max_tokens: int = MAX_TOKENS,
    instructions: frozenset[str] = frozenset(),
    digits: bool = False,
) -> str | None:
    """Why the pair is no skill, in one word, or None when it is one.

    ``empty``: a part is missing. ``leaked_prompt``: pieces of the chat format, of the environment's prompt or
    (``phrases``) of the ``instructions``, or an attempt to give new ones. ``instance_ids``: a digit
    ("cabinet 3", a product id), so it speaks of one instance, unless ``digits`` are welcome. ``too_long``:
    over ``max_tokens`` by ``count`` (words by default). ``grammar``: ``pattern`` does not match the whole
    sentence.
    """
    text = f"When {condition}: {strategy}"
    if not re.search(r"[^\W_]", condition) or not re.search(r"[^\W_]", strategy):
        return "empty"
    if _LEAKS.search(text) or (instructions and not instructions.isdisjoint(phrases([text]))):
        return "leaked_prompt"
    if not digits and re.search(r"\d", text):
        return "instance_ids"
    if len(text) > 40 * max_tokens or (count or _words)(text) > max_tokens:
        return "too_long"
    if pattern is not None and pattern.fullmatch(text) is None:
        return "grammar"
    return None


def _words(text: str) -> int:
    return len(text.split())


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _condition(text: str) -> str:
    """A condition without its "when", and without what joins it to the strategy."""
    return re.sub(r"^(?:when|if)\s+", "", _tidy(text).strip("*_ "), flags=re.IGNORECASE).rstrip(":,. ")


def _values(text: str) -> list[Any]:
    """The JSON values of the text, outermost first; what lies inside one is not looked at again."""
    found: list[Any] = []
    decoder, place = json.JSONDecoder(), 0
    for _ in range(64):
        bracket = re.compile(r"[\[{]").search(text, place)
        if bracket is None:
            break
        place = bracket.start() + 1
        with suppress(ValueError, RecursionError):
            value, place = decoder.raw_decode(text, bracket.start())
            found.append(value)
            continue
        repaired = _repaired(text, bracket.start())
        if repaired is not None:
            found.append(repaired[0])
            place = repaired[1]
    return found


def _repaired(text: str, start: int) -> tuple[Any, int] | None:
    """Almost-JSON from ``start`` to the bracket that closes it, and where it ends; None when it is not."""
    closing = {"[": "]", "{": "}"}[text[start]]
    ends = [m.end() for m in re.finditer(re.escape(closing), text[start : start + 8192])]
    for end in ends[:8]:
        part = text[start : start + end].translate({0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'"})
        part = re.sub(r",\s*([\]}])", r"\1", part)
        with suppress(ValueError, RecursionError):
            return json.loads(part), start + end
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return ast.literal_eval(part), start + end
    return None


def _pairs(value: Any) -> list[tuple[str, str]]:
    """The pairs of a JSON value; none when it is not of the form asked for."""
    if isinstance(value, dict) and not _named(value):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else None
    rows = [value] if isinstance(value, dict) else value
    named = [_named(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [(_condition(row.get("condition", "")), _tidy(row.get("strategy", ""))) for row in named if row]


def _named(row: dict[Any, Any]) -> dict[str, str]:
    """The parts of a skill in a JSON object, by their proper names; a part that is no text is empty."""
    found: dict[str, str] = {}
    for key, part in row.items():
        name = _ALIASES.get(normalize(str(key)))
        if name is not None:
            found.setdefault(name, part if isinstance(part, str) else "")
    return found
