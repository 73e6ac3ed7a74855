"""Skill banks of other projects: the JSON files of SkillRL and D2Skill.

Their shapes, as found in public repositories:

- SkillRL, ``memory_data/alfworld/claude_style_skills.json``: ``general_skills`` (a list),
  ``task_specific_skills`` (lists by category) and ``common_mistakes``. A skill has ``skill_id``, ``title``,
  ``principle`` and ``when_to_apply``. Found in yilinpotato/SkillRL at 29688a3, a copy of aiming-lab/SkillRL.
- D2Skill, ``agent_system/memory/skills_only_memory.py`` of TU2021/D2Skill-AgenticRL at e6265f1:
  ``task_skills`` and ``step_skills``, lists of such skills with ``retrieval_obs`` (the task or state that a
  skill was written for), ``utility`` and counts. Skills name no kind of task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["HALF", "foreign_rows", "is_foreign"]

_CATEGORIES = {
    "pick_and_place": "pick_and_place_simple",
    "pick_two": "pick_two_obj_and_place",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
    "examine": "look_at_obj_in_light",
}
"""SkillRL's names for ALFWorld's kinds; other names are not translated."""
_SKILLRL = ("general_skills", "task_specific_skills", "common_mistakes")
HALF = re.compile("[\ud800-\udfff]")
"""A lone surrogate: half of a character, which neither files nor tokenizers accept."""
_D2SKILL = ("task_skills", "step_skills")


def is_foreign(data: object) -> bool:
    """Whether JSON is a bank of SkillRL or of D2Skill."""
    return isinstance(data, Mapping) and any(name in data for name in (*_SKILLRL, *_D2SKILL))


def foreign_rows(data: Mapping[str, Any], kind: str) -> Iterator[tuple[str, dict[str, str] | None, str]]:
    """Yield (name, text or None, kind) of each entry, in the order of the file.

    Args:
        data: the content of the file.
        kind: kind of the skills that belong to none in particular; "" leaves them without a kind.

    Yields:
        None in place of the text of an entry that is not a skill: a part is missing or not text, or the entry
        is a mistake to avoid.
    """
    for name in ("general_skills", *_D2SKILL):
        for number, entry in enumerate(_listed(data.get(name)), start=1):
            yield _name(entry, name, number), _said(entry), kind
    categories = data.get("task_specific_skills")
    for category, entries in categories.items() if isinstance(categories, Mapping) else ():
        own = _CATEGORIES.get(str(category), str(category))
        for number, entry in enumerate(_listed(entries), start=1):
            yield _name(entry, str(category), number), _said(entry), own
    for number, entry in enumerate(_listed(data.get("common_mistakes")), start=1):
        yield _name(entry, "common_mistakes", number), None, kind


def _listed(part: object) -> list[Any]:
    return part if isinstance(part, list) else []


def _name(entry: object, place: str, number: int) -> str:
    """The name of an entry in a message: its id, or its position."""
    if isinstance(entry, Mapping):
        for key in ("skill_id", "mistake_id", "title"):
            if isinstance(entry.get(key), str) and entry[key].strip():
                return str(entry[key])[:40]
    return f"{place} {number}"


def _said(entry: object) -> dict[str, str] | None:
    if not isinstance(entry, Mapping):
        return None
    when, principle = entry.get("when_to_apply"), entry.get("principle")
    if not isinstance(when, str) or not isinstance(principle, str):
        return None
    if not when.strip() or not principle.strip() or HALF.search(when + principle):
        return None
    return {"condition": when, "strategy": principle}
