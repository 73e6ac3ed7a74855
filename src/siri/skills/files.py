"""Skills in files: banks, plain JSON lists, and folders in the Agent Skills convention.

An Agent Skill is a folder with a SKILL.md: YAML front matter with ``name`` (lower case, digits and hyphens,
at most 64 characters, the folder's name) and ``description`` (at most 1024), and a body in Markdown. Here the
description is the condition and the body is the strategy; kind and provenance stand under ``metadata``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from siri.errors import CheckpointError, ConfigError
from siri.skills import bank_file
from siri.skills.bank import SkillBank, skill_id
from siri.skills.evidence import SkillRecord
from siri.types import Skill

__all__ = ["Format", "export_skills", "import_skills"]

Format = Literal["json", "agent"]
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\r?\n(?P<front>.*?)^---[ \t]*\r?$\n?(?P<body>.*)\Z", re.DOTALL | re.MULTILINE
)
_LARGEST = 1 << 20
"""Bytes of a SKILL.md that are read."""


def export_skills(bank: SkillBank, target: str | os.PathLike[str], *, form: Format = "json") -> None:
    """Write all skills of ``bank`` with their evidence: a bank file, or a new folder of Agent Skills.

    ``import_skills`` reads back an equal bank from either.

    Raises:
        ConfigError: the folder exists and is not empty, or cannot be written.
    """
    path = Path(target)
    if form == "json":
        bank.save(path)
        return
    if form != "agent":
        raise ConfigError(f"got form {form!r}, expected 'json' or 'agent'")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"got export folder {path} that is not empty, expected a new one")
    settings = {k: v for k, v in bank.to_json().items() if k in ("similarity", "capacity", "estimator")}
    try:
        path.mkdir(parents=True, exist_ok=True)
        for record in bank.records():
            name = _folder_name(record.skill)
            (path / name).mkdir()
            (path / name / "SKILL.md").write_text(_to_markdown(record, name, settings), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"got export folder {path} that cannot be written ({error.strerror})") from error


def import_skills(source: str | os.PathLike[str], *, kind: str = "") -> SkillBank:
    """The skills of a bank file, a JSON list of {kind, condition, strategy}, or a folder of Agent Skills.

    A SKILL.md that siri wrote and nobody changed keeps its evidence; any other is a new skill of origin
    "file". Text is taken as it is: what is shown passes ``SkillGuard``, and ``FileMiner`` refuses what is no
    skill.

    Args:
        source: file, SKILL.md, folder with a SKILL.md, or folder of such folders.
        kind: kind of the skills that name none.

    Raises:
        ConfigError: there is nothing to read there, or a part is malformed; the message names it.
        CheckpointError: a damaged bank.
    """
    path = Path(source)
    if path.is_dir():
        files = [path / "SKILL.md"] if (path / "SKILL.md").is_file() else sorted(path.glob("*/SKILL.md"))
        if not files:
            raise ConfigError(f"got folder {path} without a SKILL.md, expected Agent Skills in it")
        return _from_markdown_files(files, kind)
    if path.name == "SKILL.md":
        return _from_markdown_files([path], kind)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"got skills at {path} that cannot be read ({error.strerror}); fix: the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"got skills at {path} that are no JSON; fix: the file") from error
    if isinstance(data, Mapping) and "schema" in data:
        return SkillBank.load(path)
    rows = data.get("skills") if isinstance(data, Mapping) else data
    if not isinstance(rows, list):
        raise ConfigError(f"got {path} without a list of skills, expected [{{kind, condition, strategy}}, …]")
    bank = SkillBank()
    for number, row in enumerate(rows, start=1):
        parts = row if isinstance(row, Mapping) else {}
        texts = [parts.get(name) for name in ("condition", "strategy")]
        own = parts.get("kind", kind)
        if not all(isinstance(t, str) and t.strip() for t in texts) or not isinstance(own, str) or not own:
            raise ConfigError(
                f"got skill {number} of {path} without kind, condition or strategy, expected three texts"
            )
        bank.add(_new(own, str(texts[0]), str(texts[1]), str(parts.get("origin", "file"))))
    return bank


def _new(kind: str, condition: str, strategy: str, origin: str = "file") -> Skill:
    condition, strategy = " ".join(condition.split()), " ".join(strategy.split())
    condition = re.sub(r"^when\s+", "", condition, flags=re.IGNORECASE).rstrip(":,. ")
    return Skill(skill_id(kind, f"When {condition}: {strategy}"), kind, condition, strategy, origin, 0)


def _folder_name(skill: Skill) -> str:
    """Lower-case words of the condition and the id: unique, and at most 64 characters."""
    ident = re.sub(r"[^a-z0-9]+", "-", skill.id.lower()).strip("-")[:40] or "skill"
    words = re.sub(r"[^a-z0-9]+", "-", skill.condition.lower()).strip("-")
    return f"{words[: 63 - len(ident)].strip('-')}-{ident}".strip("-")


def _description(condition: str) -> str:
    return f"When {condition}"[:1024]


def _to_markdown(record: SkillRecord, name: str, settings: Mapping[str, Any]) -> str:
    row = json.dumps({"record": bank_file.record_to_json(record), "bank": settings}, sort_keys=True)
    front = {
        "name": name,
        "description": _description(record.skill.condition),
        "metadata": {
            "kind": record.skill.kind,
            "origin": record.skill.origin,
            "status": record.status.value,
            "utility": f"{record.utility:+.3f} after {record.uses} groups",
            "siri": row,
        },
    }
    # YAML folds these line breaks unless they are escaped
    plain = not re.search(
        "[\x85\u2028\u2029]", f"{front['description']}{record.skill.kind}{record.skill.origin}"
    )
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=plain, width=100)
    return f"---\n{head}---\n{record.skill.strategy}\n"


def _from_markdown_files(files: Sequence[Path], kind: str) -> SkillBank:
    kept: list[SkillRecord] = []
    fresh: list[Skill] = []
    settings: dict[str, Any] | None = None
    for file in files:
        front, body = _read_markdown(file)
        metadata = front.get("metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        found = _unchanged(metadata.get("siri"), front["description"], body)
        if found is not None:
            kept.append(found[0])
            settings = settings or found[1]
            continue
        if not body.strip():
            raise ConfigError(f"got {file} without a body, expected what to do")
        own = str(metadata.get("kind", kind))
        if not own:
            raise ConfigError(f"got {file} without a kind, expected metadata.kind; fix: it, or kind=...")
        fresh.append(_new(own, front["description"], body))
    try:
        bank = (
            SkillBank()
            if settings is None
            else SkillBank.from_json(bank_file.seal({**settings, "skills": []}))
        )
    except CheckpointError as error:
        raise ConfigError(f"got Agent Skills with malformed metadata ({error})") from error
    bank.put(kept)
    for skill in fresh:
        bank.add(skill)
    return bank


def _read_markdown(file: Path) -> tuple[dict[str, Any], str]:
    try:
        text = file.read_bytes()[:_LARGEST].decode("utf-8")
        match = _FRONT_MATTER.match(text)
        front = yaml.safe_load(match["front"]) if match else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(
            f"got {file} that cannot be read as an Agent Skill ({type(error).__name__})"
        ) from error
    if match is None or not isinstance(front, dict) or not isinstance(front.get("description"), str):
        raise ConfigError(f"got {file} without front matter, expected --- name, description --- and a body")
    return front, match["body"].removesuffix("\n")


def _unchanged(row: Any, description: str, body: str) -> tuple[SkillRecord, dict[str, Any]] | None:
    """The record that siri wrote into a SKILL.md, if the visible text still is what the record says."""
    if not isinstance(row, str):
        return None
    try:
        data = json.loads(row)
        record, settings = bank_file.record_from_json(data["record"]), dict(data["bank"])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    same = description == _description(record.skill.condition) and body == record.skill.strategy
    return (record, settings) if same else None
