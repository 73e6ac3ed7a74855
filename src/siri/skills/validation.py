"""Which skills help: paired rollouts of the same task with and without the skill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from siri.errors import CheckpointError, ConfigError
from siri.skills.bank import Evidence, SkillBank
from siri.skills.stats import empirical_bernstein, running_utility, shrink_toward
from siri.types import SkillStatus

__all__ = ["PairedValidator", "Rule"]

Rule = Literal["threshold", "confidence"]
"""``threshold`` compares the utility (the paper's rule), ``confidence`` the ends of the interval."""


class PairedValidator:
    """Status of each skill from its treatment effects Δ = mean(skilled) - mean(plain).

    ========== ============================== ==========================================
    rule       candidate → active             → retired (final)
    ========== ============================== ==========================================
    threshold  n >= n_eval and u > activate   u < retire at ``patience`` updates in a row
    confidence lower end > 0                  upper end < 0
    ========== ============================== ==========================================

    Under both rules ``expire`` retires candidates that stay short of ``n_eval`` groups for too long.
    Evidence of a skill that is in ``bank`` lives there; that of other skills lives in the validator
    (so it works alone) and travels through ``state_dict``.
    """

    def __init__(
        self,
        bank: SkillBank | None = None,
        *,
        rule: Rule = "threshold",
        n_eval: int = 8,
        ema: float = 0.1,
        activate: float = 0.02,
        retire: float = -0.02,
        patience: int = 2,
        max_age: int = 40,
        shrink: float = 0.0,
        confidence: float = 0.95,
    ) -> None:
        if rule not in ("threshold", "confidence"):
            raise ConfigError(f"got rule={rule!r}, expected 'threshold' or 'confidence'")
        if n_eval < 1 or patience < 1 or not 0.0 < ema <= 1.0 or shrink < 0.0 or not 0 < confidence < 1:
            raise ConfigError(
                f"got n_eval={n_eval}, patience={patience}, ema={ema}, shrink={shrink}, "
                f"confidence={confidence}; "
                "expected n_eval >= 1, patience >= 1, 0 < ema <= 1, shrink >= 0, 0 < confidence < 1"
            )
        if retire > activate:
            raise ConfigError(f"got retire={retire} above activate={activate}, expected retire <= activate")
        self.bank = bank
        self.rule: Rule = rule
        self.n_eval = n_eval
        self.ema = ema
        self.activate = activate
        self.retire = retire
        self.patience = patience
        self.max_age = max_age
        self.shrink = shrink
        """Weight of the mean of the skill's kind, in groups (0 = no shrinkage)."""
        self.confidence = confidence
        self.iteration = 0
        """The current iteration, as ``expire`` was last told; stamped on changes of status."""
        self._own: dict[str, tuple[SkillStatus, Evidence]] = {}

    def bind(self, bank: SkillBank) -> None:
        """Use ``bank`` from now on; evidence gathered alone for its skills moves there."""
        self.bank = bank
        for skill_id in [key for key in self._own if key in bank]:
            status, evidence = self._own.pop(skill_id)
            bank.update(skill_id, status, evidence, self.iteration)

    def status(self, skill_id: str) -> SkillStatus:
        """Status of a skill; an unknown one is a candidate."""
        return self._read(skill_id)[0]

    def evidence(self, skill_id: str) -> Evidence:
        """Evidence for a skill; empty for an unknown one."""
        return self._read(skill_id)[1]

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        """Record one group and return the skill's status. Neither arm may be empty."""
        if not plain or not skilled:
            raise ConfigError(
                f"got {len(plain)} plain and {len(skilled)} skill rollouts, expected at least one of each; "
                "fix: do not observe a group that lost an arm"
            )
        status, evidence = self._read(skill_id)
        delta = _mean(skilled) - _mean(plain)
        deltas = (*evidence.deltas, delta)
        utility = self._utility(skill_id, deltas)
        interval = empirical_bernstein(deltas, self.confidence)
        mature = len(deltas) >= self.n_eval
        below = evidence.below + 1 if mature and utility < self.retire else 0
        evidence = Evidence(deltas, utility, interval, below)
        status = self._decide(status, evidence)
        self._write(skill_id, status, evidence)
        return status

    def expire(self, iteration: int) -> tuple[str, ...]:
        """Start ``iteration``: retire, and return the ids of, old candidates with too few groups."""
        self.iteration = iteration
        if self.bank is None:
            return ()
        expired = [
            record
            for record in self.bank.records(SkillStatus.CANDIDATE)
            if record.uses < self.n_eval and iteration - record.skill.created > self.max_age
        ]
        for record in expired:
            self.bank.update(record.skill.id, SkillStatus.RETIRED, record.evidence, iteration)
        return tuple(record.skill.id for record in expired)

    def state_dict(self) -> dict[str, Any]:
        """What the bank does not hold, as JSON values."""
        own = {
            key: {"status": status.value, "evidence": evidence.to_json()}
            for key, (status, evidence) in self._own.items()
        }
        return {"iteration": self.iteration, "skills": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        try:
            own = {
                key: (SkillStatus(row["status"]), Evidence.from_json(row["evidence"]))
                for key, row in state["skills"].items()
            }
            iteration = int(state["iteration"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"got a malformed validator state ({error!r})") from error
        self.iteration, self._own = iteration, own

    def _decide(self, status: SkillStatus, evidence: Evidence) -> SkillStatus:
        if status is SkillStatus.RETIRED:
            return status
        if self.rule == "confidence":
            good, bad = evidence.interval[0] > 0.0, evidence.interval[1] < 0.0
        else:
            good = evidence.uses >= self.n_eval and evidence.utility > self.activate
            bad = evidence.below >= self.patience
        if bad:
            return SkillStatus.RETIRED
        return SkillStatus.ACTIVE if good else status

    def _utility(self, skill_id: str, deltas: tuple[float, ...]) -> float:
        own = self._raw(deltas)
        if self.shrink == 0.0:
            return own
        peers = [own, *(self._raw(other) for other in self._peers(skill_id))]
        return shrink_toward(own, n=len(deltas), target=sum(peers) / len(peers), strength=self.shrink)

    def _peers(self, skill_id: str) -> list[tuple[float, ...]]:
        """Differences of the other skills of the same kind that were used; alone, all skills are one kind."""
        if self.bank is not None and skill_id in self.bank:
            kind = self.bank.get(skill_id).skill.kind
            same = [r for r in self.bank.records(kind=kind) if r.skill.id != skill_id]
            return [record.evidence.deltas for record in same if record.uses]
        return [e.deltas for key, (_, e) in self._own.items() if key != skill_id and e.uses]

    def _raw(self, deltas: tuple[float, ...]) -> float:
        return running_utility(deltas, n_eval=self.n_eval, ema=self.ema)

    def _read(self, skill_id: str) -> tuple[SkillStatus, Evidence]:
        if self.bank is not None and skill_id in self.bank:
            record = self.bank.get(skill_id)
            return record.status, record.evidence
        return self._own.get(skill_id, (SkillStatus.CANDIDATE, Evidence()))

    def _write(self, skill_id: str, status: SkillStatus, evidence: Evidence) -> None:
        if self.bank is not None and skill_id in self.bank:
            self.bank.update(skill_id, status, evidence, self.iteration)
        else:
            self._own[skill_id] = (status, evidence)


def _mean(outcomes: Sequence[bool]) -> float:
    return sum(map(bool, outcomes)) / len(outcomes)
