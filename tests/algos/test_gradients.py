"""What the gradients are: by hand, and on average over every token that could have been sampled."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from siri import algos

EVERY = torch.ones(1, 4, dtype=torch.bool)


def distributions() -> tuple[Tensor, Tensor]:
    """Logits of a policy, with gradient, and log-probs of another one; four words, float64."""
    logits = torch.tensor([0.3, -0.5, 1.1, 0.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([-0.2, 0.4, 0.3, -1.0], dtype=torch.float64).log_softmax(-1)
    return logits, other


def expected_gradient(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Σ_y π(y) ∇ loss(log π(y)): the mean gradient by the logits of a loss on a sampled token."""
    logits, other = distributions()
    total = torch.zeros(4, dtype=torch.float64)
    for word in range(4):
        logprobs = logits.log_softmax(-1)
        one = torch.ones(1, 1, dtype=torch.bool)
        value = loss(logprobs[word].view(1, 1), other[word].view(1, 1), one)
        (gradient,) = torch.autograd.grad(value, logits)
        total += logprobs[word].exp().detach() * gradient
    return total


def divergence(*, forward: bool) -> Tensor:
    """Gradient of the exact divergence from the other distribution (reverse), or of it from ours."""
    logits, other = distributions()
    ours = logits.log_softmax(-1)
    value = (other.exp() * (other - ours)).sum() if forward else (ours.exp() * (ours - other)).sum()
    return torch.autograd.grad(value, logits)[0]


def test_kl_losses_have_the_documented_mean_gradients() -> None:
    def loss(estimator: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda lp, ref, mask: algos.kl_divergence(
            lp,
            reference=ref,
            mask=mask,
            estimator=estimator,  # type: ignore[arg-type]
        )[0]

    close = {"atol": 1e-12, "rtol": 0.0}
    torch.testing.assert_close(expected_gradient(loss("k1")), torch.zeros(4, dtype=torch.float64), **close)
    torch.testing.assert_close(expected_gradient(loss("k2")), divergence(forward=False), **close)
    torch.testing.assert_close(expected_gradient(loss("k3")), divergence(forward=True), **close)


def test_estimators_are_unbiased_but_for_k2() -> None:
    logits, other = distributions()
    ours = logits.detach().log_softmax(-1)
    exact = float((ours.exp() * (ours - other)).sum())
    means = [
        float((ours.exp() * algos.kl_estimate(ours, reference=other, estimator=name)).sum())  # type: ignore[arg-type]
        for name in ("k1", "k2", "k3")
    ]
    assert means[0] == pytest.approx(exact, abs=1e-12)
    assert means[2] == pytest.approx(exact, abs=1e-12)
    assert abs(means[1] - exact) > 1e-3


def test_reverse_kl_distillation_descends_the_reverse_divergence() -> None:
    got = expected_gradient(
        lambda lp, teacher, mask: algos.reverse_kl_distillation(lp, teacher=teacher, mask=mask)[0]
    )
    torch.testing.assert_close(got, divergence(forward=False), atol=1e-12, rtol=0)


def test_a_constant_gate_teaches_nothing_and_a_sigmoid_gate_does() -> None:
    def loss(**options: object) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        return lambda lp, teacher, mask: algos.gated_distillation(
            lp,
            teacher=teacher,
            mask=mask,
            **options,  # type: ignore[arg-type]
        )[0]

    for faulty in ({"gate": "constant"}, {"sharpness": 0.0}):
        assert expected_gradient(loss(**faulty)).abs().max() < 1e-12
    step = -expected_gradient(loss(sharpness=2.0))
    assert float(step @ divergence(forward=False)) < -1e-3  # downhill


def test_the_gate_carries_no_gradient() -> None:
    logp = torch.tensor([[-1.0]], requires_grad=True)
    loss, stats = algos.gated_distillation(logp, teacher=torch.zeros(1, 1), mask=EVERY[:, :1], sharpness=1.0)
    loss.backward()
    assert logp.grad is not None
    gate = 1 / (1 + math.exp(-1))
    assert float(logp.grad) == pytest.approx(-gate)
    assert (float(stats.gate), float(stats.gap)) == (pytest.approx(gate), 1.0)


def test_a_sequence_ratio_shares_its_gradient() -> None:
    # Two completions of a row: tokens 0 and 1, token 3. r = exp(mean of 0.1 and 0.3) and exp(0.05).
    logp = torch.tensor([[-0.9, -0.7, -5.0, -0.95]], requires_grad=True)
    mask = torch.tensor([[True, True, False, True]])
    advantages = torch.tensor([[2.0, 2.0, 9.0, -1.0]])
    common = {
        "old_logprobs": torch.full((1, 4), -1.0),
        "advantages": advantages,
        "mask": mask,
        "clip_high": 1.0,
    }
    loss, stats = algos.clipped_surrogate(logp, **common, ratio="sequence", aggregation="sequence")  # type: ignore[arg-type]
    loss.backward()
    first, second = math.exp(0.2), math.exp(0.05)
    assert loss.item() == pytest.approx((-2 * first + second) / 2)
    want = [-2 * first / 2 / 2, -2 * first / 2 / 2, 0.0, second / 2]
    assert logp.grad is not None
    assert logp.grad[0].tolist() == pytest.approx(want)
    assert float(stats.ratio_mean) == pytest.approx((first + second) / 2)


def test_aggregations_differ_by_length_only() -> None:
    logp = torch.zeros(2, 3)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    advantages = torch.tensor([[1.0, 1.0, 1.0], [5.0, 0.0, 0.0]])
    means = [
        algos.clipped_surrogate(
            logp,
            old_logprobs=logp,
            advantages=advantages,
            mask=mask,
            aggregation=unit,  # type: ignore[arg-type]
        )[0].item()
        for unit in ("token", "sequence")
    ]
    assert means == pytest.approx([-(3 + 5) / 4, -(1 + 5) / 2])


def test_importance_weights_are_truncated_constants() -> None:
    old = torch.tensor([[-1.0, -1.0, -1.0]], requires_grad=True)
    rollout = torch.tensor([[-1.0 - math.log(3), -1.0 + math.log(2), math.nan]])
    mask = torch.tensor([[True, True, False]])
    weights = algos.truncated_importance_weights(old, rollout_logprobs=rollout, mask=mask)
    assert weights[0].tolist() == pytest.approx([2.0, 0.5, 0.0])
    assert not weights.requires_grad
    logp = old.detach().clone().requires_grad_()
    loss, _ = algos.clipped_surrogate(
        logp, old_logprobs=old, advantages=torch.ones(1, 3), mask=mask, importance=weights
    )
    loss.backward()
    assert logp.grad is not None
    assert logp.grad[0].tolist() == pytest.approx([-1.0, -0.25, 0.0])


def test_token_clip_stops_what_is_likely_already_and_starves_what_is_not() -> None:
    logp = torch.tensor([[-0.1, -1.0, -9.0]], requires_grad=True)
    loss, _ = algos.internalization_loss(
        logp,
        weights=torch.ones(1, 3),
        response_mask=logp < 0,
        token_clip=0.2,
        old_logprobs=torch.tensor([[-1.0, -1.0, -1.0]]),
    )
    loss.backward()
    assert logp.grad is not None
    assert logp.grad[0].tolist() == pytest.approx([0.0, -1 / 3, -math.exp(-8) / 3])


def test_the_gradient_of_entropy() -> None:
    logits, _ = distributions()
    (gradient,) = torch.autograd.grad(algos.token_entropy(logits), logits)
    logp = logits.detach().log_softmax(-1)
    entropy = -(logp.exp() * logp).sum()
    torch.testing.assert_close(gradient, -logp.exp() * (logp + entropy))
