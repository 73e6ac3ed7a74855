"""GRSD (arXiv 2607.28076).

Turns on which the teacher says more than on the group's average count more.

Deviations: the words are the bank's proven skills, or given ones. The method's own, the policy's
reflections on its trajectories and a guide a group, need a writer that reads failures; its reflection
loss, with an external judge, is left out with them, and so are duplicated turns, S without floor (noise
blown up to ±10 %) and the separate optimizer step. A group that only won or only failed keeps A, as
published.
"""

from __future__ import annotations

from torch import Tensor

from siri.algos import grsd_credit
from siri.config import RunConfig
from siri.curriculum.hooks import Advise, Hooks
from siri.recipes.method import GRPO, Method, Parts, policy_loss
from siri.training.experience import Experience


def credit(x: Experience) -> Tensor:
    """A' = A·max(.1, 1 + .5·clip(q / mean |q|, ±.2)) in groups that won and failed."""
    t, n = x.tokens, x.turns
    return grsd_credit(x.base, gap=t.gap, turn=t.turn, known=t.known, group=n.group, success=x.success)


def make(config: RunConfig, words: Advise) -> Parts:
    """The policy-gradient loss on the advantages of tokens."""
    return Parts(policy_loss(config), Hooks(advise=words, credit=credit))


GRSD = Method(
    "grsd",
    "arXiv 2607.28076",
    "GRPO; in mixed groups, a turn is weighed by its log-ratio next to the group's mean, within ±10 %",
    make,
    settings={**GRPO, "internalization.peak": 0.0, "internalization.replay": 0},
    text="words",
)
