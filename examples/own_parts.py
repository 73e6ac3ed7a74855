"""A validator and a loss term of your own, in a run that has everything else of `siri run`.

python examples/own_parts.py [RUN]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import siri
from siri.algos import Loss, TokenBatch, TokenScores
from siri.testing import check_objective, check_validator
from siri.types import SkillStatus


class TwoWins:
    """A skill is active once two groups did better with it, and retired once two did worse."""

    def __init__(self) -> None:
        self.better: dict[str, int] = {}
        self.worse: dict[str, int] = {}

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        """Told how one group ended: the same task and seeds, without and with the skill."""
        delta = sum(skilled) / len(skilled) - sum(plain) / len(plain)
        for counts, more in ((self.better, delta > 0), (self.worse, delta < 0)):
            counts[skill_id] = counts.get(skill_id, 0) + more
        if self.worse[skill_id] >= 2:
            return SkillStatus.RETIRED
        return SkillStatus.ACTIVE if self.better[skill_id] >= 2 else SkillStatus.CANDIDATE


def confident(batch: TokenBatch, scores: TokenScores) -> Loss:
    """A hundredth of the entropy of the policy's own tokens, which makes it decide sooner."""
    value = 0.01 * (scores.entropy * batch.rl_mask).sum() / max(batch.rl_tokens, 1.0)
    return Loss(value, {"policy/confident": value.item()})


def main(out: str = "runs/parts") -> siri.Run:
    """Check both against their contracts, then train with them."""
    check_validator(TwoWins)
    check_objective(confident, without={"direction"})  # it does not look at advantages
    config = siri.preset("smoke")
    run = siri.train(
        "alfworld", out=out, config=config, validator=TwoWins(), objective=siri.objective(config) + confident
    )
    print(run)
    print("confident:", run.metrics["policy/confident"])
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
