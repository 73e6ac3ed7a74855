"""What a user writes: each protocol in a few typed lines. ``make types`` checks them by mypy --strict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from siri.algos import Loss, TokenBatch, TokenScores
from siri.errors import SplitError
from siri.protocols import Environment, Objective, Policy, Prompter, SkillMiner, Validator
from siri.types import (
    Completion,
    Info,
    Message,
    Request,
    Sampling,
    Shown,
    Skill,
    SkillStatus,
    Task,
    Trajectory,
    Turn,
)


class Door:
    """Open the door."""

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, Info]:
        return "A door.", {"admissible": ["open"], "success": False, "anchor": "shut", "valid": True}

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        done = action == "open"
        info: Info = {"admissible": ["open"], "success": done, "anchor": str(done), "valid": done}
        return "Open." if done else "Still shut.", 10.0 * done, done, False, info


class Opener:
    """Says one thing."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        return [Completion("open") for _ in requests]


class Bare:
    """Observation, then skills."""

    def messages(
        self,
        task: Task,
        turns: Sequence[Turn],
        observation: str,
        admissible: Sequence[str],
        skills: Sequence[Shown] = (),
    ) -> list[Message]:
        return [{"role": "user", "content": observation + self.block(skills)}]

    def block(self, skills: Sequence[Shown]) -> str:
        return "".join(f"\n{skill.text}" for skill in skills)

    def parse(self, text: str) -> tuple[str, bool, tuple[int, int]]:
        return text, bool(text), (0, len(text))


class LastAction:
    """A skill is the last action of a success."""

    def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:
        for t in trajectories:
            if t.arm != "plain" or not t.success or t.task.split != "train":
                raise SplitError(f"got {t.id}, expected a successful plain train episode; fix: filter")
        last = {t.task.kind: t.turns[-1].action for t in trajectories}
        return [Skill(kind, kind, "it is time", do, "human", 0) for kind, do in last.items()]


class FirstWin:
    """Active as soon as one group did better with the skill."""

    def __init__(self) -> None:
        self.proven: set[str] = set()

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        if sum(skilled) / len(skilled) > sum(plain) / len(plain):
            self.proven.add(skill_id)
        return SkillStatus.ACTIVE if skill_id in self.proven else SkillStatus.CANDIDATE


def likely(batch: TokenBatch, scores: TokenScores) -> Loss:
    """Keep the sampled tokens likely."""
    value = -(scores.logprobs * batch.rl_mask).float().sum() / max(batch.rl_tokens, 1.0)
    return Loss(value, {"policy/nll": value.item()})


environment: Environment = Door()
policy: Policy = Opener()
prompter: Prompter = Bare()
miner: SkillMiner = LastAction()
validator: Validator = FirstWin()
objective: Objective = likely
