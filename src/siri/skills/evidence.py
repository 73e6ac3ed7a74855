"""What is known about a skill: the outcomes of its groups, and everything that follows from them.

Evidence is a grow-only set of observations, each with a key of its own. Utility, interval and history are
pure functions of that set, so two processes that saw different groups can put their sets together in any
order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from siri.errors import ConfigError
from siri.skills.stats import Interval, betting, next_utility, shrink_toward
from siri.types import Skill, SkillStatus

__all__ = ["Evidence", "Key", "Observation", "SkillRecord", "UtilityEstimator", "union"]

Key = tuple[int, str, int]
"""(iteration, writer, number): names one observation among all processes, and orders them."""


@dataclass(frozen=True, slots=True, order=True)
class Observation:
    """How one group ended."""

    iteration: int
    writer: str
    """The process that saw it; "" where there is one."""
    number: int
    """Counts the skill's observations of this writer."""
    plain: float
    """Success rate of the plain arm, in [0, 1]."""
    skilled: float
    """Success rate of the skill arm, in [0, 1]."""

    @property
    def delta(self) -> float:
        """Treatment effect Δ of the group, in [-1, 1]."""
        return self.skilled - self.plain

    @property
    def key(self) -> Key:
        """What makes it unique."""
        return self.iteration, self.writer, self.number


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a skill from its groups."""

    observations: Sequence[Observation] = ()
    """In the order of their keys."""
    utilities: Sequence[float] = ()
    """u after each group, in [-1, 1]."""
    confidence: float = 0.95
    """Coverage of the interval, at all times at once."""

    @property
    def interval(self) -> Interval:
        """Anytime-valid interval of the mean Δ; computed when asked for."""
        return _interval(self.deltas, self.confidence)

    @property
    def deltas(self) -> tuple[float, ...]:
        """Treatment effect Δ of each group, in order."""
        return tuple(o.delta for o in self.observations)

    @property
    def utility(self) -> float:
        """u now: running mean, then EMA, shrunk when the estimator says so; 0 without a group."""
        return self.utilities[-1] if self.utilities else 0.0

    @property
    def uses(self) -> int:
        """Number of groups."""
        return len(self.observations)

    def since(self, key: Key | None) -> tuple[Sequence[Observation], Sequence[Observation]]:
        """(observations up to and with ``key``, those after it); everything is before None."""
        count = self.uses if key is None else bisect_right(self.observations, key, key=lambda o: o.key)
        return self.observations[:count], self.observations[count:]


@dataclass(frozen=True, slots=True)
class UtilityEstimator:
    """How observations become utility and interval; part of a bank, and written into its file."""

    n_eval: int = 8
    """Groups of the running mean; after them the utility is an EMA."""
    ema: float = 0.1
    shrink: float = 0.0
    """Weight, in groups, of the mean of all used skills of the kind (0 = no shrinkage)."""
    confidence: float = 0.95
    """Coverage of the interval, at all times at once."""

    def __post_init__(self) -> None:
        if self.n_eval < 1 or not 0.0 < self.ema <= 1.0 or self.shrink < 0.0 or not 0 < self.confidence < 1:
            raise ConfigError(
                f"got n_eval={self.n_eval}, ema={self.ema}, shrink={self.shrink}, "
                f"confidence={self.confidence}; "
                "expected n_eval >= 1, 0 < ema <= 1, shrink >= 0, 0 < confidence < 1; fix: the one outside"
            )

    def after(self, before: float, observation: Observation, n: int) -> float:
        """The skill's own utility after its ``n``-th observation, from that ``before`` it."""
        return next_utility(before, observation.delta, n, n_eval=self.n_eval, ema=self.ema)

    def shrunk(self, own: Sequence[float], peers: Sequence[float]) -> tuple[float, ...]:
        """Utility after each group, shrunk toward the mean of itself and ``peers`` (own utilities)."""
        rest = sum(peers)
        return tuple(
            shrink_toward(u, n=n, target=(u + rest) / (1 + len(peers)), strength=self.shrink)
            for n, u in enumerate(own, start=1)
        )

    def to_json(self) -> dict[str, float]:
        """As plain JSON values."""
        return {
            "n_eval": self.n_eval,
            "ema": self.ema,
            "shrink": self.shrink,
            "confidence": self.confidence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UtilityEstimator:
        """Inverse of ``to_json``."""
        return cls(int(data["n_eval"]), float(data["ema"]), float(data["shrink"]), float(data["confidence"]))


@dataclass(frozen=True, slots=True)
class SkillRecord:
    """A skill and where it stands."""

    skill: Skill
    status: SkillStatus = SkillStatus.CANDIDATE
    evidence: Evidence = field(default_factory=Evidence)
    since: tuple[tuple[SkillStatus, int], ...] = ()
    """Iteration in which each later status was reached, in order."""
    proof: Key | None = None
    """The observation that made it ACTIVE."""
    reason: str = ""
    """Why it was retired: harmful, useless, undecided, expired, evicted, vetoed."""
    priority: float = 0.0
    """What a ``Screen`` made of it; candidates with more go first."""

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

    @property
    def activated_at(self) -> int | None:
        """Iteration in which it became ACTIVE."""
        return dict(self.since).get(SkillStatus.ACTIVE)

    @property
    def retired_at(self) -> int | None:
        """Iteration in which it became RETIRED."""
        return dict(self.since).get(SkillStatus.RETIRED)


@lru_cache(maxsize=4096)
def _interval(deltas: tuple[float, ...], confidence: float) -> Interval:
    return betting(deltas, confidence)


def union(a: Iterable[Observation], b: Iterable[Observation]) -> tuple[Observation, ...]:
    """All observations of both, in the order of their keys.

    Raises:
        ConfigError: one key stands for two different outcomes, so two processes share a writer's name.
    """
    found: dict[Key, Observation] = {}
    for observation in (*a, *b):
        if found.setdefault(observation.key, observation) != observation:
            raise ConfigError(
                f"got two outcomes of group {observation.key}, expected one; "
                "fix: give each process a bank with a writer's name of its own"
            )
    return tuple(sorted(found.values()))
