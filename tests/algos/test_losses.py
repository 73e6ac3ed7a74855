from __future__ import annotations

import math

import pytest
import torch

from siri.algos import (
    clipped_surrogate,
    internalization_loss,
    internalization_weights,
    kl_divergence,
    masked_mean,
    masked_sum,
    mean_entropy,
    token_entropy,
)
from siri.errors import ConfigError, ShapeError


def draw(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logp, old = (-2 * torch.rand(shape, generator=generator) for _ in range(2))
    return logp, old, torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) < 0.6


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.6, 0.0),  # high clip at 1.3
        (0.5, -1.0, 0.8, 0.0),  # low clip at 0.8
        (2.0, -1.0, 2.0, 2.0),
        (5.0, -1.0, 3.0, 0.0),  # dual clip
        (0.5, 2.0, -1.0, -1.0),
    ],
)
def test_surrogate_by_hand(ratio: float, advantage: float, expected: float, gradient: float) -> None:
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, stats = clipped_surrogate(
        logp,
        old_logprobs=torch.zeros(1, 1),
        advantages=torch.full((1, 1), advantage),
        mask=torch.ones(1, 1, dtype=torch.bool),
        clip_high=0.3,
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert logp.grad is not None
    assert float(logp.grad) == pytest.approx(gradient)
    assert float(stats.clip_frac) == (gradient == 0.0)
    assert float(stats.ratio_mean) == pytest.approx(ratio)
    assert float(stats.approx_kl) == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)


def test_kl_of_extremes_is_clamped_and_finite() -> None:
    logp = torch.tensor([[-1e4, 0.0, -1.0]], requires_grad=True)
    loss, stats = kl_divergence(
        logp, reference=torch.tensor([[0.0, -5.0, -1.0]]), mask=torch.ones(1, 3, dtype=torch.bool)
    )
    loss.backward()
    # k3: clamp(10), e⁻⁵ − 1 + 5, 0
    assert loss.item() == pytest.approx((10 + math.exp(-5) + 4) / 3)
    assert float(stats.clamp_frac) == pytest.approx(1 / 3)
    assert logp.grad is not None
    assert logp.grad.isfinite().all()


def test_internalization_by_hand() -> None:
    weights = internalization_weights(
        torch.tensor([5.0, 0.5]),
        used=torch.tensor([True, True]),
        utility=torch.tensor([0.25, 0.25]),
        action_mask=torch.tensor([[True, False], [True, True]]),
    )
    assert weights.tolist() == [[2.0, 0.0], [0.5, 0.5]]
    logp = torch.tensor([[-1.0, -9.0], [-2.0, -4.0]])
    loss, stats = internalization_loss(logp, weights=weights, response_mask=torch.ones(2, 2) > 0)
    assert loss.item() == pytest.approx((2 + 1 + 2) / 3)
    assert float(stats.nll_plain) == pytest.approx(7 / 3)
    assert float(stats.weight_mean) == pytest.approx(1.0)
    assert float(stats.gate_frac) == pytest.approx(0.75)
    floored, _ = internalization_loss(logp, weights=weights, response_mask=logp < 0, floor=2.5)
    assert float(floored) == pytest.approx(5 / 10)


@pytest.mark.parametrize(
    ("advantage", "used", "utility"),
    [(1.0, False, 1.0), (1.0, True, 0.0), (1.0, True, -0.5), (-1.0, True, 1.0)],
)
def test_no_gradient_without_a_helpful_skill(advantage: float, used: bool, utility: float) -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    weights = internalization_weights(
        torch.full((2,), advantage),
        used=torch.full((2,), used),
        utility=torch.full((2,), utility),
        action_mask=mask,
    )
    logp = torch.full((2, 3), -1.0, requires_grad=True)
    loss, _ = internalization_loss(logp, weights=weights, response_mask=mask)
    loss.backward()
    assert logp.grad is not None
    assert not logp.grad.any()


def test_no_gradient_flows_through_the_weight() -> None:
    advantage = torch.ones(1, requires_grad=True)
    raw = torch.ones(1, 1, requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    weights = internalization_weights(advantage, used=mask[0], utility=torch.ones(1), action_mask=mask)
    assert not weights.requires_grad
    logp = torch.full((1, 1), -1.0, requires_grad=True)
    internalization_loss(logp, weights=raw, response_mask=mask)[0].backward()
    assert raw.grad is None
    assert float(logp.grad) == -1.0  # type: ignore[arg-type]


def test_padding_may_hold_anything() -> None:
    logp, old, advantage, mask = draw(3, 2, 4)
    wide = [torch.cat([x, torch.full((2, 3), math.nan)], dim=1) for x in (logp, old, advantage)]
    padded = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    wide[0].requires_grad_()
    loss, _ = clipped_surrogate(wide[0], old_logprobs=wide[1], advantages=wide[2], mask=padded)
    loss = loss + kl_divergence(wide[0], reference=wide[1], mask=padded)[0]
    ones = torch.ones_like(wide[0])
    loss = loss + internalization_loss(wide[0], weights=ones, response_mask=padded, gate=padded)[0]
    loss.backward()
    narrow, _ = clipped_surrogate(logp, old_logprobs=old, advantages=advantage, mask=mask)
    narrow = narrow + kl_divergence(logp, reference=old, mask=mask)[0] - masked_mean(logp, mask)
    torch.testing.assert_close(loss.detach(), narrow)
    assert wide[0].grad is not None
    assert wide[0].grad.isfinite().all()
    assert not wide[0].grad[:, 4:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_inputs_are_widened(dtype: torch.dtype) -> None:
    logp, old, advantage, mask = draw(5, 3, 4)
    low = [x.to(dtype) for x in (logp, old, advantage)]
    losses = (
        clipped_surrogate(low[0], old_logprobs=low[1], advantages=low[2], mask=mask)[0],
        kl_divergence(low[0], reference=low[1], mask=mask)[0],
        internalization_loss(low[0], weights=low[2].abs(), response_mask=mask)[0],
        mean_entropy(-low[0], mask=mask),
    )
    for loss in losses:
        assert loss.dtype is torch.float32
        assert loss.isfinite()


def test_masked_helpers_and_entropy() -> None:
    values = torch.tensor([1.0, 2.0, math.nan])
    mask = torch.tensor([True, True, False])
    assert float(masked_sum(values, mask)) == 3.0
    assert float(masked_mean(values, mask)) == 1.5
    assert float(masked_mean(values, mask, normalizer=6.0)) == 0.5
    assert float(masked_mean(values, mask & False)) == 0.0
    assert float(masked_mean(values, mask & False, normalizer=0.0)) == 0.0
    logits = torch.tensor([[0.0, 0.0, -math.inf], [0.0, -1e9, -math.inf]], requires_grad=True)
    entropy = token_entropy(logits)
    entropy.sum().backward()
    assert entropy.tolist() == pytest.approx([math.log(2), 0.0])
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_wrong_input_is_named() -> None:
    good, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match="mask of dtype"):
        clipped_surrogate(good, old_logprobs=good, advantages=good, mask=good)
    with pytest.raises(ShapeError, match="reference of shape"):
        kl_divergence(good, reference=good[:1], mask=mask)
    with pytest.raises(ConfigError, match="estimator='k4'"):
        kl_divergence(good, reference=good, mask=mask, estimator="k4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"dual_clip=0\.5"):
        clipped_surrogate(good, old_logprobs=good, advantages=good, mask=mask, dual_clip=0.5)
    with pytest.raises(ShapeError, match="utility of shape"):
        internalization_weights(good, used=mask, utility=torch.zeros(3), action_mask=mask)
    with pytest.raises(ConfigError, match="max_weight=0"):
        internalization_weights(good, used=mask, utility=good, action_mask=mask, max_weight=0)
