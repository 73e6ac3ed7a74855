"""Which skill a group tries, drawn from what is known of its effect (Thompson sampling)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from siri.errors import ConfigError
from siri.seeds import derive_seed
from siri.skills.bank import SkillBank
from siri.skills.evidence import SkillRecord
from siri.skills.stats import shrink_toward
from siri.types import Skill, SkillStatus, Task

__all__ = ["EffectSampling"]

_LIVE = (SkillStatus.CANDIDATE, SkillStatus.ACTIVE)


class EffectSampling:
    """Shows a group the skill whose drawn effect is the largest, or none where no draw is above 0.

    A skill is used while it is being proved, as often as it is probably the best thing to show (Thompson
    sampling; Russo et al. 2018, arXiv 1707.02038). Where nothing helps, most groups stay plain. The effect of
    a skill with n recent groups of mean Δ is drawn from

        Normal((n · Δ + κ · m) / (n + κ), noise / √(n + κ)),   κ = noise² / spread²

    m is the mean Δ of all skills of the kind, with the same κ shrunk toward the mean over all kinds, and that
    toward ``prior``. So a new skill starts from what other skills were worth.

    Args:
        noise: standard deviation of a group's Δ. Four against four rollouts at a success rate of .5 have .35.
        spread: standard deviation of the effects of a kind's skills.
        prior: the mean effect that is expected before any group, in [-1, 1].
        recent: how many of a skill's last groups count. Effects shrink as the plain policy catches up.
    """

    def __init__(
        self, *, noise: float = 0.32, spread: float = 0.2, prior: float = 0.1, recent: int = 8
    ) -> None:
        if noise <= 0 or spread <= 0 or not -1 <= prior <= 1 or recent < 1:
            raise ConfigError(
                f"got noise={noise}, spread={spread}, prior={prior}, recent={recent}; expected noise and "
                "spread above 0, prior in [-1, 1], recent >= 1; fix: the one outside"
            )
        self.noise, self.prior, self.recent = noise, prior, recent
        self.strength = (noise / spread) ** 2
        """κ, the number of groups that the prior counts."""

    def select(
        self,
        bank: SkillBank,
        task: Task,
        seed: int = 0,
        *,
        iteration: int = 0,  # noqa: ARG002
    ) -> tuple[Skill, ...]:
        """Return one skill of the task's kind, or none. Deterministic in (bank, task, seed)."""
        live = [record for status in _LIVE for record in bank.records(status, task.kind)]
        drawn = [(self._draw(record, bank, task, seed), record.skill.id, record.skill) for record in live]
        best = max(drawn, default=None, key=lambda row: row[:2])
        return (best[2],) if best is not None and best[0] > 0 else ()

    def expected(self, bank: SkillBank, kind: str) -> float:
        """m, the mean effect that a new skill of the kind is expected to have."""
        every = bank.records()
        overall = self._mean(every, self.prior)
        return self._mean([record for record in every if record.skill.kind == kind], overall)

    def posterior(self, record: SkillRecord, bank: SkillBank) -> tuple[float, float]:
        """Mean and standard deviation of a skill's effect."""
        n, known = min(record.uses, self.recent), self.expected(bank, record.skill.kind)
        own = self._mean([record], known)
        return own, self.noise / math.sqrt(n + self.strength)

    def _draw(self, record: SkillRecord, bank: SkillBank, task: Task, seed: int) -> float:
        mean, deviation = self.posterior(record, bank)
        return random.Random(derive_seed("effect", seed, task.id, record.skill.id)).gauss(mean, deviation)

    def _mean(self, records: Sequence[SkillRecord], target: float) -> float:
        """Mean Δ of the last groups of all ``records``, shrunk toward ``target``."""
        deltas = [delta for record in records for delta in record.evidence.deltas[-self.recent :]]
        n = len(deltas)
        return shrink_toward(sum(deltas) / n, n=n, target=target, strength=self.strength) if n else target
