from __future__ import annotations

import math

import pytest
import torch

from siri.errors import ConfigError, PolicyFault, ShapeError
from siri.policies.sampling import sample, uniforms

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def draw(n: int = 40_000, **more: float) -> tuple[torch.Tensor, torch.Tensor]:
    settings = {"temperature": 1.0, "top_p": 1.0} | more
    return sample(LOGITS.expand(n, 4), uniforms=uniforms(range(n), 0), **settings)


def shares(ids: torch.Tensor) -> list[float]:
    return (torch.bincount(ids, minlength=4) / len(ids)).tolist()


def test_inverse_cdf_by_hand() -> None:
    at = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 0.94, 0.96, 1 - 2**-52], dtype=torch.float64)
    ids, logprobs = sample(LOGITS.expand(8, 4), temperature=1.0, top_p=1.0, uniforms=at)
    assert ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5, 0.3, 0.3, 0.15, 0.15, 0.05, 0.05])


def test_frequencies_follow_the_softmax() -> None:
    # standard error of the largest share: 0.0025
    assert shares(draw()[0]) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.01)


def test_temperature_sharpens_but_logprobs_stay() -> None:
    ids, logprobs = draw(temperature=0.5)
    squares = [p * p for p in (0.5, 0.3, 0.15, 0.05)]
    assert shares(ids) == pytest.approx([s / sum(squares) for s in squares], abs=0.01)
    assert logprobs[ids == 0][0].item() == pytest.approx(math.log(0.5))


def test_nucleus() -> None:
    ids, logprobs = draw(top_p=0.7)
    assert shares(ids) == pytest.approx([0.625, 0.375, 0, 0], abs=0.01)
    assert logprobs[ids == 1][0].item() == pytest.approx(math.log(0.3))
    assert set(draw(top_p=0.01)[0].tolist()) == {0}


def test_greedy_and_impossible_tokens() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [-math.inf, 0.0, -math.inf]])
    top = torch.full((2,), 1 - 2**-52, dtype=torch.float64)
    assert sample(logits, temperature=0, top_p=1.0, uniforms=top)[0].tolist() == [1, 1]
    assert sample(logits, temperature=1.0, top_p=1.0, uniforms=top)[0].tolist() == [2, 1]


def test_bfloat16_logits() -> None:
    ids, logprobs = sample(LOGITS[None].bfloat16(), temperature=1.0, top_p=0.9, uniforms=torch.tensor([0.2]))
    assert (ids.tolist(), logprobs.dtype) == ([0], torch.float32)


def test_uniforms_depend_on_seed_and_step_only() -> None:
    wide = uniforms([5, 6, 7], 3)
    assert uniforms([6], 3)[0] == wide[1]
    assert uniforms([6], 4)[0] != wide[1]
    assert uniforms([-1], 0) == uniforms([2**64 - 1], 0)
    assert wide.dtype == torch.float64


def test_uniforms_look_uniform_and_independent() -> None:
    u = torch.stack([uniforms(range(20_000), step) for step in range(3)])
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean(1).tolist() == pytest.approx([0.5] * 3, abs=0.01)
    assert u.var(1).tolist() == pytest.approx([1 / 12] * 3, abs=0.003)
    assert (torch.corrcoef(u) - torch.eye(3)).abs().max() < 0.03
    assert torch.corrcoef(torch.stack([u[0, :-1], u[0, 1:]]))[0, 1].abs() < 0.03


def test_refusals() -> None:
    with pytest.raises(ShapeError):
        sample(LOGITS, temperature=1.0, top_p=1.0, uniforms=torch.zeros(1))
    for settings in ({"temperature": -1.0, "top_p": 1.0}, {"temperature": 1.0, "top_p": 0.0}):
        with pytest.raises(ConfigError, match="top_p"):
            sample(LOGITS[None], uniforms=torch.zeros(1), **settings)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_blew_up_are_named(bad: float) -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = bad
    for temperature in (0.0, 1.0):
        with pytest.raises(PolicyFault, match="not finite"):
            sample(logits, temperature=temperature, top_p=1.0, uniforms=torch.zeros(2, dtype=torch.float64))
