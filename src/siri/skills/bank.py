"""The skill bank: every skill ever mined, its status and the evidence for it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from siri.errors import CheckpointError, ConfigError
from siri.skills.stats import Interval
from siri.types import Skill, SkillStatus

__all__ = ["SCHEMA", "Evidence", "SkillBank", "SkillRecord", "jaccard", "normalize", "skill_id", "words"]

SCHEMA = 1
"""Version of the file format."""


def normalize(text: str) -> str:
    """Lower case, letters and digits only, single spaces: texts equal under it say the same."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def words(text: str) -> frozenset[str]:
    """The set of normalised words of a text."""
    return frozenset(normalize(text).split())


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a ∩ b| / |a ∪ b|, and 1 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0


def skill_id(kind: str, text: str) -> str:
    """Identifier of a skill: equal kind and normalised text give equal ids, in every process."""
    return hashlib.sha256(f"{kind}\n{normalize(text)}".encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a skill from its groups."""

    deltas: tuple[float, ...] = ()
    """Treatment effect Δ of each group, in order."""
    utility: float = 0.0
    """u, in [-1, 1]: running mean, then EMA (shrunk when the validator says so)."""
    interval: Interval = (-1.0, 1.0)
    """Anytime-valid interval of the mean Δ."""
    below: int = 0
    """Consecutive updates below the retirement threshold."""

    @property
    def uses(self) -> int:
        """Number of groups."""
        return len(self.deltas)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "deltas": list(self.deltas),
            "utility": self.utility,
            "interval": list(self.interval),
            "below": self.below,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evidence:
        """Inverse of ``to_json``."""
        low, high = data["interval"]
        return cls(tuple(map(float, data["deltas"])), float(data["utility"]), (low, high), int(data["below"]))


@dataclass(frozen=True, slots=True)
class SkillRecord:
    """A skill and where it stands."""

    skill: Skill
    status: SkillStatus = SkillStatus.CANDIDATE
    evidence: Evidence = field(default_factory=Evidence)
    activated_at: int | None = None
    retired_at: int | None = None

    @property
    def uses(self) -> int:
        """Groups that were played with the skill."""
        return self.evidence.uses

    @property
    def utility(self) -> float:
        """u, in [-1, 1]."""
        return self.evidence.utility

    @property
    def interval(self) -> Interval:
        """Anytime-valid interval of the mean treatment effect."""
        return self.evidence.interval


class SkillBank:
    """Skills by id, in the order they came. Nothing is ever deleted: a retired skill must stay known."""

    def __init__(self, *, similarity: float = 0.9) -> None:
        self.similarity = similarity
        """Token Jaccard above which two skills of one kind are the same skill."""
        self._records: dict[str, SkillRecord] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, skill_id: object) -> bool:
        return skill_id in self._records

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SkillBank) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def get(self, skill_id: str) -> SkillRecord:
        """The record of a skill; ``KeyError`` when there is none."""
        return self._records[skill_id]

    def add(self, skill: Skill) -> bool:
        """Add a candidate. False when an equal skill was there: then only its sources grow.

        A duplicate of a retired skill is merged too, so that no skill returns from retirement.
        """
        twin = self.duplicate_of(skill)
        if twin is None:
            if skill.id in self._records:
                raise ConfigError(f"got a second skill with id {skill.id!r}, expected one text for each id")
            self._records[skill.id] = SkillRecord(skill)
            return True
        record = self._records[twin]
        sources = tuple(dict.fromkeys(record.skill.sources + skill.sources))
        self._records[twin] = replace(record, skill=replace(record.skill, sources=sources))
        return False

    def duplicate_of(self, skill: Skill) -> str | None:
        """Id of the skill of the same kind that says the same, if there is one."""
        text, tokens = normalize(skill.text), words(skill.text)
        same_kind = self.records(kind=skill.kind)
        for record in same_kind:
            if normalize(record.skill.text) == text:
                return record.skill.id
        scored = [(jaccard(words(record.skill.text), tokens), record.skill.id) for record in same_kind]
        close = [(score, key) for score, key in scored if score > self.similarity]
        return max(close)[1] if close else None

    def records(self, status: SkillStatus | None = None, kind: str | None = None) -> tuple[SkillRecord, ...]:
        """Records in the order they came, optionally of one status or one kind."""
        return tuple(
            record
            for record in self._records.values()
            if (status is None or record.status is status) and (kind is None or record.skill.kind == kind)
        )

    def counts(self) -> dict[str, int]:
        """Number of skills by status."""
        return {status.value: len(self.records(status)) for status in SkillStatus}

    def replace(self, record: SkillRecord) -> None:
        """Put a whole record in the place of the one with its id, or add it."""
        self._records[record.skill.id] = record

    def update(self, skill_id: str, status: SkillStatus, evidence: Evidence, iteration: int) -> None:
        """Store a new status and its evidence. A retired skill stays retired: ``ConfigError`` otherwise."""
        record = self.get(skill_id)
        if record.status is SkillStatus.RETIRED and status is not SkillStatus.RETIRED:
            raise ConfigError(
                f"got status {status.value} for the retired skill {skill_id!r}; retired is final"
            )
        activated, retired = record.activated_at, record.retired_at
        if status is SkillStatus.ACTIVE and activated is None:
            activated = iteration
        if status is SkillStatus.RETIRED and retired is None:
            retired = iteration
        self._records[skill_id] = SkillRecord(record.skill, status, evidence, activated, retired)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with schema version and checksum."""
        rows = [
            {
                "skill": {**asdict(record.skill), "sources": list(record.skill.sources)},
                "status": record.status.value,
                "evidence": record.evidence.to_json(),
                "activated_at": record.activated_at,
                "retired_at": record.retired_at,
            }
            for record in self._records.values()
        ]
        body = {"similarity": self.similarity, "skills": rows}
        return {"schema": SCHEMA, "checksum": _checksum(body), **body}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SkillBank:
        """Inverse of ``to_json``. Anything but an intact bank is a ``CheckpointError``."""
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise CheckpointError(f"got a skill bank of schema {found!r}, expected {SCHEMA}")
        body = {key: data.get(key) for key in ("similarity", "skills")}
        if data.get("checksum") != _checksum(body):
            raise CheckpointError("got a skill bank whose checksum differs from its content: it was damaged")
        try:
            bank = cls(similarity=float(data["similarity"]))
            for row in data["skills"]:
                skill = Skill(**{**row["skill"], "sources": tuple(row["skill"]["sources"])})
                evidence = Evidence.from_json(row["evidence"])
                status = SkillStatus(row["status"])
                bank.replace(SkillRecord(skill, status, evidence, row["activated_at"], row["retired_at"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"got a skill bank with a malformed row ({error!r})") from error
        return bank

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bank to a JSON file: all or nothing, durable when this returns."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with scratch.open("w", encoding="utf-8") as stream:
                json.dump(self.to_json(), stream, ensure_ascii=False, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SkillBank:
        """Read a file written by ``save``; ``CheckpointError`` when it is missing, cut off or altered."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"got no readable skill bank at {path}: {error.strerror}") from error
        except ValueError as error:
            raise CheckpointError(f"got a skill bank at {path} that is no JSON; it was cut off") from error
        return cls.from_json(data)


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
