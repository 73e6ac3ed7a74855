"""SKILL0 (arXiv 2604.02268): every rollout sees skills, which are withdrawn step by step.

Deviations: the curriculum is a fixed schedule of the most skills shown, 6, 3 and 0 in equal thirds, of
self-mined skills in words. Left out of the public code: which file stays is chosen by the *validation*
split, a file that was off has a difference of noise and comes back, and the reported success is the one
with skills; the script is visual (OCR history, compression reward).
"""

from __future__ import annotations

from siri.config import RunConfig
from siri.curriculum.hooks import Advise
from siri.recipes.method import GRPO, Method, Parts, policy_loss
from siri.recipes.shown import Everybody, Trusting

BUDGETS = (6, 3, 0)


def make(config: RunConfig, words: Advise) -> Parts:  # noqa: ARG001
    """The policy-gradient loss; the skills of a task until they are withdrawn."""
    length = config.mining.max_iterations + config.internalization.iterations

    def most(iteration: int) -> int:
        return BUDGETS[min(3 * iteration // max(1, length), 2)]

    return Parts(
        policy_loss(config), validator=Trusting(), retriever=Everybody(most, tasks=config.rollout.tasks)
    )


SKILL0 = Method(
    "skill0",
    "arXiv 2604.02268",
    "GRPO without a KL term; all rollouts see skills, fewer in each third of the run and none in the last",
    make,
    settings={**GRPO, "rollout.skill_share": 1.0, "optimizer.kl": 0.0, "internalization.peak": 0.0},
    text="skills",
)
