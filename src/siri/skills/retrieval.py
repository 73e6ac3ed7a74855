"""Which skills a task is shown."""

from __future__ import annotations

import hashlib

from siri.errors import ConfigError
from siri.skills.bank import SkillBank, SkillRecord, jaccard, words
from siri.types import Skill, SkillStatus, Task

__all__ = ["Retriever", "similarity"]

_STOP_WORDS = frozenset(
    (
        "a",
        "an",
        "and",
        "any",
        "in",
        "into",
        "is",
        "it",
        "of",
        "on",
        "or",
        "some",
        "task",
        "that",
        "the",
        "to",
        "with",
        "your",
    )
)


class Retriever:
    """Skills of the task's kind: one candidate alone, or the ``top_k`` most similar active ones.

    A candidate is shown alone, so that the group's Δ belongs to one skill. Where a kind has both
    candidates and active skills, ``candidate_share`` of the groups go to candidates. Among candidates the
    one closest to ``n_eval`` groups comes first, so that evidence gathers instead of spreading.
    Deterministic in (bank, task, seed).
    """

    def __init__(self, top_k: int = 2, *, candidate_share: float = 0.5, n_eval: int = 8) -> None:
        if top_k < 1 or n_eval < 1 or not 0.0 <= candidate_share <= 1.0:
            raise ConfigError(
                f"got top_k={top_k}, n_eval={n_eval}, candidate_share={candidate_share}; "
                "expected top_k >= 1, n_eval >= 1, 0 <= candidate_share <= 1"
            )
        self.top_k = top_k
        self.candidate_share = candidate_share
        self.n_eval = n_eval

    def select(self, bank: SkillBank, task: Task, seed: int = 0) -> tuple[Skill, ...]:
        """The skills for one group of ``task``; empty when its kind has none."""
        active = bank.records(SkillStatus.ACTIVE, task.kind)
        candidates = bank.records(SkillStatus.CANDIDATE, task.kind)
        if candidates and (not active or _uniform(task.id, seed) < self.candidate_share):
            return (min(candidates, key=lambda record: self._turn(record, task)).skill,)
        ranked = sorted(active, key=lambda r: (-similarity(task, r.skill), -r.utility, r.skill.id))
        return tuple(record.skill for record in ranked[: self.top_k])

    def _turn(self, record: SkillRecord, task: Task) -> tuple[bool, int, float, int, str]:
        """Sort key: unfinished candidates first and most used first; then the undecided, least used first."""
        finished = record.uses >= self.n_eval
        order = record.uses if finished else -record.uses
        return finished, order, -similarity(task, record.skill), record.skill.created, record.skill.id


def similarity(task: Task, skill: Skill) -> float:
    """Jaccard similarity of the content words of the task's goal and the skill's condition."""
    return jaccard(words(task.goal) - _STOP_WORDS, words(skill.condition) - _STOP_WORDS)


def _uniform(task_id: str, seed: int) -> float:
    """A number in [0, 1) that is the same in every process."""
    digest = hashlib.sha256(f"{seed}\n{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
