"""Skills without proof, for methods that show what they have.

Who trusts, and who shows to every rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from siri.skills import LexicalRanking, SkillBank, SkillRecord
from siri.types import Skill, SkillStatus, Task

__all__ = ["Everybody", "Trusting"]


class Trusting:
    """No validation: a skill is active from the iteration after its mining, whatever comes of it.

    Evidence is kept all the same, so that utilities can be read.
    """

    priority: Callable[[SkillRecord], float | None] | None = None

    def __init__(self) -> None:
        self._iteration = 0
        self._bank = SkillBank()

    def begin(self, iteration: int, bank: SkillBank) -> Sequence[str]:
        """Make every candidate active; nothing expires."""
        self._iteration, self._bank = iteration, bank
        for record in bank.records(SkillStatus.CANDIDATE):
            bank.set_status(record.skill.id, SkillStatus.ACTIVE, iteration, reason="trusted")
        return ()

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        """Keep the evidence; the status stays."""
        rates = {"plain": sum(plain) / len(plain), "skilled": sum(skilled) / len(skilled)}
        self._bank.observe(skill_id, **rates, iteration=self._iteration)
        return self._bank.get(skill_id).status


class Everybody:
    """Shows a task the best active skills of its kind, as many as ``most`` says in this iteration.

    Args:
        most: of the iteration, counted from the first one in which skills may be shown.
        tasks: groups of an iteration.
    """

    def __init__(self, most: Callable[[int], int], *, tasks: int) -> None:
        self.most, self.tasks = most, tasks
        self.asked = 0
        """Groups so far; it counts the iterations."""

    def select(self, bank: SkillBank, task: Task, seed: int = 0) -> tuple[Skill, ...]:  # noqa: ARG002
        """The skills for one group; none once they are withdrawn."""
        most = self.most(self.asked // self.tasks)
        self.asked += 1
        ranked = LexicalRanking()(task, bank.records(SkillStatus.ACTIVE))
        return tuple(record.skill for record in ranked[:most])

    def state_dict(self) -> dict[str, Any]:
        """How many groups were asked for."""
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.asked = int(state["asked"])
