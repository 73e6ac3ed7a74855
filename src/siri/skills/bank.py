"""The skill bank: every skill ever mined, its status and the evidence for it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from siri.errors import CheckpointError, ConfigError
from siri.skills import bank_file, bank_page
from siri.skills.evidence import Evidence, Observation, SkillRecord, UtilityEstimator, union
from siri.types import Skill, SkillStatus

__all__ = ["PROVEN", "SkillBank", "SkillRecord", "jaccard", "normalize", "skill_id", "words"]

_RANK = {status: rank for rank, status in enumerate(SkillStatus)}
LIVE = (SkillStatus.CANDIDATE, SkillStatus.ACTIVE)
"""Statuses that a task may be shown, and that take a place in the bank."""
PROVEN = (SkillStatus.ACTIVE, SkillStatus.INTERNALIZED)
"""Statuses of skills that were proved to help, whether the policy still needs them or not."""


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
    return hashlib.sha256(f"{kind}\n{normalize(text)}".encode(errors="replace")).hexdigest()[:10]


class SkillBank:
    """Skills by id, ordered by (iteration of birth, id). Nothing is deleted: a retired skill must stay known.

    Utilities and intervals are functions of the observations and of ``estimator``, so ``merge`` can put banks
    of several processes together in any order.

    Args:
        similarity: token Jaccard above which two skills of one kind are the same skill.
        capacity: most live (candidate or active) skills of a kind; None is no limit. A newcomer to a full
            kind takes the place of the candidate with the lowest upper end of its interval, if that is below
            1 (so there is evidence against it); that one is retired as "evicted". Otherwise the newcomer is
            refused, and may come again. An active skill is never evicted.
        estimator: how observations are summarised.
        writer: name of this process, when several fill banks that will be merged.
    """

    def __init__(
        self,
        *,
        similarity: float = 0.9,
        capacity: int | None = None,
        estimator: UtilityEstimator | None = None,
        writer: str = "",
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ConfigError(f"got capacity={capacity}, expected at least 1, or None for no limit")
        self.similarity = similarity
        self.capacity = capacity
        self.writer = writer
        self._estimator = estimator or UtilityEstimator()
        self._records: dict[str, SkillRecord] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, skill_id: object) -> bool:
        return skill_id in self._records

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SkillBank)
            and self._settings() == other._settings()
            and self.records() == other.records()
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts().items() if count)
        return f"SkillBank({counts or 'empty'})"

    def _repr_html_(self) -> str:
        """A table for notebooks. Skills are texts by strangers, so they are escaped."""
        return bank_page.table(self.records())

    __hash__ = None  # type: ignore[assignment]  # mutable

    @property
    def estimator(self) -> UtilityEstimator:
        """How observations are summarised; setting it summarises all of them again."""
        return self._estimator

    @estimator.setter
    def estimator(self, estimator: UtilityEstimator) -> None:
        self._estimator = estimator
        self._measure(self._records)

    def get(self, skill_id: str) -> SkillRecord:
        """The record of a skill; ``KeyError`` when there is none."""
        return self._records[skill_id]

    def records(self, status: SkillStatus | None = None, kind: str | None = None) -> tuple[SkillRecord, ...]:
        """Records by (iteration of birth, id), optionally of one status or one kind."""
        chosen = [
            record
            for record in self._records.values()
            if (status is None or record.status is status) and (kind is None or record.skill.kind == kind)
        ]
        return tuple(sorted(chosen, key=lambda record: (record.skill.created, record.skill.id)))

    def sources(self) -> frozenset[str]:
        """Ids of all episodes that skills came from."""
        return frozenset(source for record in self._records.values() for source in record.skill.sources)

    def counts(self) -> dict[str, int]:
        """Number of skills by status."""
        return {status.value: len(self.records(status)) for status in SkillStatus}

    def add(self, skill: Skill, *, priority: float = 0.0) -> bool:
        """Add a candidate. False when an equal skill was there (then only its sources grow) or no room was.

        A duplicate of a retired skill is merged too, so that no skill returns from retirement.
        """
        twin = self.duplicate_of(skill)
        if twin is not None:
            old = self._records[twin]
            joined = replace(
                old.skill,
                sources=_joined(old.skill.sources, skill.sources),
                prompts=_joined(old.skill.prompts, skill.prompts),
            )
            self._records[twin] = replace(old, skill=joined)
            return False
        if skill.id in self._records:
            raise ConfigError(f"got a second skill with id {skill.id!r}, expected one text for each id")
        if not self._make_room(skill):
            return False
        ordered = replace(skill, sources=_joined(skill.sources), prompts=_joined(skill.prompts))
        self._records[skill.id] = SkillRecord(ordered, priority=priority)
        return True

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

    def observe(self, skill_id: str, *, plain: float, skilled: float, iteration: int) -> SkillRecord:
        """Record the success rates of one group's arms."""
        record = self.get(skill_id)
        number = sum(o.writer == self.writer for o in record.evidence.observations)
        observation = Observation(iteration, self.writer, number, plain, skilled)
        grown = union(record.evidence.observations, [observation])
        self._records[skill_id] = replace(record, evidence=replace(record.evidence, observations=grown))
        self._measure([skill_id])
        return self.get(skill_id)

    def set_status(self, skill_id: str, status: SkillStatus, iteration: int, *, reason: str = "") -> None:
        """Move a skill on. A status is never taken back: ``ConfigError`` otherwise."""
        record = self.get(skill_id)
        if _RANK[status] < _RANK[record.status]:
            final = "; retired is final" if record.status is SkillStatus.RETIRED else ""
            raise ConfigError(
                f"got status {status.value} for the {record.status.value} skill {skill_id!r}{final}"
            )
        if status is record.status:
            return
        proof = record.proof
        if status is SkillStatus.ACTIVE:
            seen = record.evidence.observations
            proof = seen[-1].key if seen else (iteration, self.writer, -1)
        since = (*record.since, (status, iteration))
        self._records[skill_id] = replace(record, status=status, since=since, proof=proof, reason=reason)

    def put(self, records: Iterable[SkillRecord]) -> None:
        """Put whole records in the place of those with their ids, or add them; their evidence is
        remeasured."""
        records = list(records)
        for record in records:
            self._records[record.skill.id] = record
        self._measure([record.skill.id for record in records])

    def adopt(self, other: SkillBank) -> None:
        """Become a copy of ``other``; the writer's name stays."""
        self.similarity, self.capacity, self._estimator = other._settings()
        self._records = dict(other._records)

    def merge(self, other: SkillBank) -> SkillBank:
        """All skills and all observations of both, in a new bank.

        Commutative, associative and idempotent, so several processes may exchange banks in any order.
        Statuses and dates join to the later status and the earlier date. Skills are equal by id only: near
        twins stay, because likeness is not transitive. Nothing is evicted.

        Raises:
            ConfigError: the banks have other settings, or two processes share a writer's name.
        """
        if self._settings() != other._settings():
            raise ConfigError(
                "got banks with different estimator, similarity or capacity, expected equal ones; "
                "fix: merge banks of one configuration"
            )
        merged = SkillBank(
            similarity=self.similarity,
            capacity=self.capacity,
            estimator=self._estimator,
            writer=self.writer,
        )
        merged._records = dict(self._records)
        for key, record in other._records.items():
            mine = merged._records.get(key)
            merged._records[key] = record if mine is None else _join(mine, record)
        merged._measure(merged._records)
        return merged

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with schema version and checksum."""
        return bank_file.seal(
            {
                "similarity": self.similarity,
                "capacity": self.capacity,
                "estimator": self._estimator.to_json(),
                "skills": [bank_file.record_to_json(record) for record in self.records()],
            }
        )

    @classmethod
    def from_json(cls, data: object) -> SkillBank:
        """Inverse of ``to_json``. Anything but an intact bank is a ``CheckpointError``."""
        body = bank_file.unseal(data)
        try:
            bank = cls(
                similarity=float(body["similarity"]),
                capacity=None if body["capacity"] is None else int(body["capacity"]),
                estimator=UtilityEstimator.from_json(body["estimator"]),
            )
            bank.put(bank_file.record_from_json(row) for row in body["skills"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"got a skill bank with a malformed row ({error!r})") from error
        return bank

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bank to a JSON file: all or nothing, durable when this returns.

        What the file held before stays next to it, with the suffix ``.previous``.
        """
        bank_file.write(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SkillBank:
        """Read a file written by ``save``.

        Raises:
            CheckpointError: it is missing, cut off or altered; the message names the previous file if that
                is whole.
        """
        return bank_file.read(path, cls.from_json)

    def _settings(self) -> tuple[float, int | None, UtilityEstimator]:
        return self.similarity, self.capacity, self._estimator

    def _make_room(self, newcomer: Skill) -> bool:
        live = [r for r in self.records(kind=newcomer.kind) if r.status in LIVE]
        if self.capacity is None or len(live) < self.capacity:
            return True
        weak = [r for r in live if r.status is SkillStatus.CANDIDATE and r.interval[1] < 1.0]
        if not weak:
            return False
        last = min(weak, key=lambda r: (r.interval[1], r.skill.created, r.skill.id))
        self.set_status(last.skill.id, SkillStatus.RETIRED, newcomer.created, reason="evicted")
        return True

    def _measure(self, changed: Iterable[str]) -> None:
        """Summarise the observations of ``changed`` skills, and what leans on them."""
        ids = dict.fromkeys(changed)
        for kind in {self._records[key].skill.kind for key in ids}:
            family = self.records(kind=kind)
            own = {r.skill.id: self._estimator.own(r.evidence.observations) for r in family if r.uses}
            for record in family:
                key = record.skill.id
                if self._estimator.shrink == 0.0 and key not in ids:
                    continue
                peers = [value for other, value in own.items() if other != key]
                history = self._estimator.history(record.evidence.observations, peers)
                evidence = Evidence(record.evidence.observations, history, self._estimator.confidence)
                self._records[key] = replace(record, evidence=evidence)


def _joined(*parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({item for part in parts for item in part}))


def _join(a: SkillRecord, b: SkillRecord) -> SkillRecord:
    """Least upper bound of two records of one skill."""
    if (a.skill.kind, normalize(a.skill.text)) != (b.skill.kind, normalize(b.skill.text)):
        raise ConfigError(f"got two texts with id {a.skill.id!r}, expected one text for each id")
    first = min((a.skill, b.skill), key=lambda s: (s.created, s.origin, s.condition, s.strategy))
    skill = replace(
        first,
        sources=_joined(a.skill.sources, b.skill.sources),
        prompts=_joined(a.skill.prompts, b.skill.prompts),
    )
    dates: dict[SkillStatus, int] = {}
    for status, iteration in (*a.since, *b.since):
        dates[status] = min(iteration, dates.get(status, iteration))
    return SkillRecord(
        skill=skill,
        status=max(a.status, b.status, key=_RANK.__getitem__),
        evidence=Evidence(union(a.evidence.observations, b.evidence.observations)),
        since=tuple(sorted(dates.items(), key=lambda row: _RANK[row[0]])),
        proof=min((p for p in (a.proof, b.proof) if p is not None), default=None),
        reason=min((r for r in (a.reason, b.reason) if r), default=""),
        priority=max(a.priority, b.priority),
    )
