"""Writing skills: successful episodes in, short pieces of advice out."""

from __future__ import annotations

import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from siri.errors import ConfigError, MinerFault, PolicyFault, SplitError
from siri.protocols import Policy
from siri.skills.bank import normalize, skill_id
from siri.skills.parsing import TINY_SKILL_GRAMMAR, parse_skills, rejection
from siri.types import Message, Request, Sampling, Skill, Trajectory

__all__ = [
    "TINY_SKILL_GRAMMAR",
    "ActionSummaryPrompt",
    "JsonSummaryPrompt",
    "Miner",
    "MiningReport",
    "SelfMiner",
    "SummaryPrompt",
    "parse_skills",
    "summary_text",
]

_VERBS = ("go to", "take", "move", "put", "open", "use", "clean", "heat", "cool", "slice")


class SummaryPrompt(Protocol):
    """Asks for skills from a few successful episodes of one kind. Pure."""

    max_tokens: int
    """Room that the answer needs."""

    def messages(self, trajectories: Sequence[Trajectory]) -> list[Message]:
        """The conversation whose continuation is read by ``parse_skills``."""
        ...


class JsonSummaryPrompt:
    """For instruction-following models: whole episodes, and a JSON list as the answer."""

    def __init__(self, *, max_skills: int = 3, max_tokens: int = 320, max_observation: int = 400) -> None:
        self.max_skills = max_skills
        self.max_tokens = max_tokens
        self.max_observation = max_observation
        """Characters of each observation that are shown."""

    def messages(self, trajectories: Sequence[Trajectory]) -> list[Message]:
        """One system message with the rules, one user message with the episodes."""
        rules = (
            "You turn successful episodes of one kind of task into short, general skills. "
            f"Answer with a JSON list of at most {self.max_skills} objects and nothing else: "
            '[{"condition": "<when it applies>", "strategy": "<what to do>"}]. '
            "Each skill has at most 50 words and holds for other tasks of this kind: "
            "no digits, no names or numbers of single objects, no product ids."
        )
        episodes = [self._episode(i, t) for i, t in enumerate(trajectories, start=1)]
        return [
            {"role": "system", "content": rules},
            {"role": "user", "content": "\n\n".join(episodes)},
        ]

    def _episode(self, number: int, trajectory: Trajectory) -> str:
        lines = [f"Episode {number}. Goal: {trajectory.task.goal}"]
        for step, turn in enumerate(trajectory.turns, start=1):
            lines.append(f"Observation {step}: {' '.join(turn.observation.split())[: self.max_observation]}")
            lines.append(f"Action {step}: {turn.action}")
        lines.append("Result: success")
        return "\n".join(lines)


class ActionSummaryPrompt:
    """For the embedded tiny policy: the actions of the first episode, as its base was trained to read."""

    max_tokens = 60

    def messages(self, trajectories: Sequence[Trajectory]) -> list[Message]:
        """One user message, ``summary_text`` of the first trajectory's valid actions."""
        first = trajectories[0]
        actions = [turn.action for turn in first.turns if turn.valid]
        return [{"role": "user", "content": summary_text(first.task.goal, actions)}]


def summary_text(goal: str, actions: Sequence[str]) -> str:
    """The tiny policy's summary prompt; actions that change nothing (look, examine, …) are left out."""
    steps = [f"> {action}" for action in actions if action.startswith(tuple(f"{verb} " for verb in _VERBS))]
    return "\n".join([f"Your task is to: {goal.strip().rstrip('.')}.", *steps, "Summarize as a skill."])


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What one call of ``mine`` did."""

    requests: int = 0
    """Summaries asked for."""
    proposed: int = 0
    """Pairs that were read from the answers."""
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """By reason: those of ``parsing.rejection``, ``unparseable`` (per answer), ``duplicate``, ``surplus``."""


@dataclass(frozen=True, slots=True)
class _Summary:
    """One summary to ask for."""

    kind: str
    trajectories: tuple[Trajectory, ...]
    seed: int


class Miner(ABC):
    """Everything that the miners share; a subclass completes conversations.

    Episodes are grouped by kind; each kind is summarised ``samples`` times from up to ``max_per_request``
    of its episodes, drawn by the seed. Pairs that say the same count as votes: the ``max_skills`` pairs
    with the most votes become skills. Deterministic in (seed, iteration, trajectories, the model).
    """

    def __init__(
        self,
        *,
        prompt: SummaryPrompt | None = None,
        max_per_request: int = 4,
        max_skills: int = 3,
        samples: int = 4,
        pattern: str | None = None,
        seed: int = 0,
    ) -> None:
        if min(max_per_request, max_skills, samples) < 1:
            raise ConfigError(
                f"got max_per_request={max_per_request}, max_skills={max_skills}, samples={samples}; "
                "expected at least 1 each"
            )
        self.prompt: SummaryPrompt = JsonSummaryPrompt(max_skills=max_skills) if prompt is None else prompt
        self.max_per_request = max_per_request
        self.max_skills = max_skills
        self.samples = samples
        self.pattern = None if pattern is None else re.compile(pattern)
        self.seed = seed
        self.iteration = 0
        self.last_report = MiningReport()

    @property
    @abstractmethod
    def origin(self) -> str:
        """``Skill.origin`` of what it writes."""

    @abstractmethod
    def _complete(self, conversations: Sequence[list[Message]], seeds: Sequence[int]) -> list[str]:
        """One answer for each conversation; raises ``MinerFault`` on an outage."""

    def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:
        """Summarise successful, plain-arm, train-split episodes; ``SplitError`` for any other."""
        for trajectory in trajectories:
            _refuse_unminable(trajectory)
        plan = self._plan(trajectories)
        answers = self._complete([self.prompt.messages(s.trajectories) for s in plan], [s.seed for s in plan])
        rejected: Counter[str] = Counter()
        votes: dict[str, dict[str, _Draft]] = {}
        proposed = 0
        for summary, answer in zip(plan, answers, strict=True):
            pairs = parse_skills(answer)
            proposed += len(pairs)
            if not pairs:
                rejected["unparseable"] += 1
            for condition, strategy in pairs:
                reason = rejection(condition, strategy, pattern=self.pattern)
                if reason is not None:
                    rejected[reason] += 1
                    continue
                drafts = votes.setdefault(summary.kind, {})
                key = normalize(f"{condition}: {strategy}")
                if key in drafts:
                    rejected["duplicate"] += 1
                drafts.setdefault(key, _Draft(condition, strategy)).votes_from(summary.trajectories)
        skills: list[Skill] = []
        for kind, drafts in votes.items():
            ranked = sorted(drafts.values(), key=lambda draft: -draft.votes)
            rejected["surplus"] += max(0, len(ranked) - self.max_skills)
            skills += [self._skill(kind, draft) for draft in ranked[: self.max_skills]]
        reasons = MappingProxyType({reason: count for reason, count in sorted(rejected.items()) if count})
        self.last_report = MiningReport(len(plan), proposed, len(skills), reasons)
        return skills

    def _plan(self, trajectories: Sequence[Trajectory]) -> list[_Summary]:
        kinds: dict[str, list[Trajectory]] = {}
        for trajectory in trajectories:
            kinds.setdefault(trajectory.task.kind, []).append(trajectory)
        plan = []
        for kind in sorted(kinds):
            for sample in range(self.samples):
                name = f"{self.seed}\n{self.iteration}\n{kind}\n{sample}"
                seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1
                chosen = random.Random(seed).sample(kinds[kind], min(self.max_per_request, len(kinds[kind])))
                plan.append(_Summary(kind, tuple(chosen), seed))
        return plan

    def _skill(self, kind: str, draft: _Draft) -> Skill:
        text = f"When {draft.condition}: {draft.strategy}"
        return Skill(
            id=skill_id(kind, text),
            kind=kind,
            condition=draft.condition,
            strategy=draft.strategy,
            origin=self.origin,
            created=self.iteration,
            sources=tuple(draft.sources),
        )


@dataclass
class _Draft:
    """A pair on its way to a skill."""

    condition: str
    strategy: str
    votes: int = 0
    sources: dict[str, None] = field(default_factory=dict)

    def votes_from(self, trajectories: Sequence[Trajectory]) -> None:
        self.votes += 1
        self.sources.update(dict.fromkeys(trajectory.id for trajectory in trajectories))


class SelfMiner(Miner):
    """The policy summarises its own successes (paper, phase 1). Bind it to a frozen snapshot first."""

    origin = "self"

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        prompt: SummaryPrompt | None = None,
        max_per_request: int = 4,
        max_skills: int = 3,
        samples: int = 4,
        temperature: float = 0.7,
        max_tokens: int | None = None,
        pattern: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            prompt=prompt,
            max_per_request=max_per_request,
            max_skills=max_skills,
            samples=samples,
            pattern=pattern,
            seed=seed,
        )
        self.policy = policy
        self.sampling = Sampling(temperature=temperature, max_tokens=max_tokens or self.prompt.max_tokens)

    @classmethod
    def tiny(cls, policy: Policy | None = None, *, seed: int = 0) -> SelfMiner:
        """The settings for the embedded policy: one episode at a time and a strict grammar."""
        return cls(
            policy,
            prompt=ActionSummaryPrompt(),
            max_per_request=1,
            samples=8,
            pattern=TINY_SKILL_GRAMMAR,
            seed=seed,
        )

    def bind(self, policy: Policy, *, iteration: int = 0) -> SelfMiner:
        """Use ``policy``, a snapshot that does not change while it is mined, in ``iteration``."""
        self.policy = policy
        self.iteration = iteration
        return self

    def _complete(self, conversations: Sequence[list[Message]], seeds: Sequence[int]) -> list[str]:
        if self.policy is None:
            raise ConfigError(
                "got no policy, expected a snapshot; fix: SelfMiner(policy) or miner.bind(policy)"
            )
        if not conversations:
            return []
        requests = [Request(messages, seed=seed) for messages, seed in zip(conversations, seeds, strict=True)]
        try:
            completions = self.policy.generate(requests, self.sampling)
        except PolicyFault as fault:
            raise MinerFault(f"got a fault from the mined policy ({fault}), expected completions") from fault
        return [completion.text for completion in completions]


def _refuse_unminable(trajectory: Trajectory) -> None:
    got = (trajectory.task.split, trajectory.arm, "success" if trajectory.success else "failure")
    if got != ("train", "plain", "success"):
        raise SplitError(
            f"got trajectory {trajectory.id!r} of split {got[0]!r}, {got[1]} arm, {got[2]}; "
            "expected split 'train', plain arm, success; fix: filter the trajectories before mining"
        )
