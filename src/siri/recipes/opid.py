"""OPID (arXiv 2606.26790): the teacher's log-ratio of each token, added to its advantage.

Deviations: the words are the bank's proven skills, or given ones, for whole episodes. The paper's come
from an external model that reads all 128 trajectories of every update and names up to five steps; advice
by turn is a part of `Hooks.advise`, the reader is not. Left out: the first weight's code default of 1.0.
"""

from __future__ import annotations

from torch import Tensor

from siri.algos import opid_credit
from siri.config import RunConfig
from siri.curriculum.hooks import Advise, Hooks
from siri.recipes.method import GRPO, Method, Parts, policy_loss
from siri.training.experience import Experience


def credit(x: Experience) -> Tensor:
    """A'[i,j] = A[i] + .001·Δ[i,j]; Δ = 0 without a teacher."""
    return opid_credit(x.base, gap=x.tokens.gap, turn=x.tokens.turn)


def make(config: RunConfig, words: Advise) -> Parts:
    """The policy-gradient loss on the advantages of tokens."""
    return Parts(policy_loss(config), Hooks(advise=words, credit=credit))


OPID = Method(
    "opid",
    "arXiv 2606.26790",
    "GRPO; A + .001·Δ by token: at the weights that sampled, the reverse divergence to a prompt with skills",
    make,
    settings={**GRPO, "internalization.peak": 0.0, "internalization.replay": 0},
    text="words",
)
