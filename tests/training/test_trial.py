"""What an objective is refused for before anything is trained with it."""

from __future__ import annotations

import pytest

from siri.algos import SiriObjective
from siri.algos.objectives import Loss, TokenBatch, TokenScores
from siri.errors import ConfigError
from siri.training.trial import try_objective


def detached(batch: TokenBatch, scores: TokenScores) -> Loss:
    return Loss((scores.logprobs * batch.rl_mask).sum().detach(), {})


def absent(batch: TokenBatch, scores: TokenScores) -> Loss:
    return Loss(scores.logprobs.new_zeros(()), {})


@pytest.mark.parametrize("objective", [detached, SiriObjective(kl=0) + detached])
def test_a_loss_without_a_gradient_is_refused_in_a_sum_too(objective) -> None:
    with pytest.raises(ConfigError, match=r"got a loss of -2 from detached without a gradient"):
        try_objective(objective, reference=False)


def test_a_term_that_has_nothing_to_say_yet_is_not() -> None:
    try_objective(SiriObjective(kl=0) + absent, reference=False)
