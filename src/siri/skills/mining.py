"""Writing skills: successful episodes in, short pieces of advice out."""

from __future__ import annotations

import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from siri.errors import ConfigError, MinerFault, PolicyFault, SplitError
from siri.protocols import Policy
from siri.skills.bank import normalize, skill_id
from siri.skills.parsing import TINY_SKILL_GRAMMAR, parse_skills, rejection
from siri.skills.prompts import ActionSummaryPrompt, JsonSummaryPrompt, SummaryPrompt, summary_text
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


@dataclass(frozen=True, slots=True)
class MiningReport:
    """What one call of ``mine`` did."""

    requests: int = 0
    """Summaries asked for."""
    proposed: int = 0
    """Pairs that were read from the answers."""
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
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
        drafts, proposed = self._read(plan, answers, rejected)
        skills: list[Skill] = []
        for kind, by_text in drafts.items():
            ranked = sorted(by_text.values(), key=lambda draft: -draft.votes)
            rejected["surplus"] += max(0, len(ranked) - self.max_skills)
            skills += [self._skill(kind, draft) for draft in ranked[: self.max_skills]]
        reasons = {reason: count for reason, count in sorted(rejected.items()) if count}
        self.last_report = MiningReport(len(plan), proposed, len(skills), reasons)
        return skills

    def _read(
        self, plan: Sequence[_Summary], answers: Sequence[str], rejected: Counter[str]
    ) -> tuple[dict[str, dict[str, _Draft]], int]:
        """Drafts by kind and normalised text, and the number of pairs read; adds to ``rejected``."""
        drafts: dict[str, dict[str, _Draft]] = {}
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
                of_kind = drafts.setdefault(summary.kind, {})
                key = normalize(f"{condition}: {strategy}")
                rejected["duplicate"] += key in of_kind
                of_kind.setdefault(key, _Draft(condition, strategy)).votes_from(summary.trajectories)
        return drafts, proposed

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
