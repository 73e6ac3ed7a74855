"""The written-out gradient of the vocabulary head against autograd on the whole table of logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from siri.models.heads import head_scores, is_linear


def plain(states: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    table = torch.log_softmax((states @ weight.T).float(), -1)
    return table.gather(-1, targets[:, None])[:, 0], -(table.exp() * table).sum(-1)


def draw(seed: int, count: int, vocabulary: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    states, weight = (torch.randn(n, 8, generator=generator).to(dtype) for n in (count, vocabulary))
    targets = torch.randint(0, vocabulary, (count,), generator=generator)
    upstream = torch.randn(2, count, generator=generator)
    return [states.requires_grad_(), weight.requires_grad_(), targets, *upstream]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    count=st.integers(0, 9),
    vocabulary=st.integers(2, 40),
    chunk=st.integers(1, 10),
    keep=st.booleans(),
    entropy=st.sampled_from(["none", "unused", "used"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_values_and_gradients_are_those_of_autograd(
    seed: int, count: int, vocabulary: int, chunk: int, keep: bool, entropy: str, dtype: torch.dtype
) -> None:
    states, weight, targets, by_choice, by_entropy = draw(seed, count, vocabulary, dtype)
    near = {"atol": 2e-5, "rtol": 1e-4} if dtype is torch.float32 else {"atol": 0.12, "rtol": 0.06}
    chosen, spread = head_scores(states, weight, targets, chunk, entropy=entropy != "none", keep=keep)
    expected, expected_spread = plain(states, weight, targets)
    torch.testing.assert_close(chosen, expected, atol=2e-5, rtol=1e-4)
    if entropy != "none":
        torch.testing.assert_close(spread, expected_spread, atol=2e-5, rtol=1e-4)
    else:
        assert not spread.any()
    ours, theirs = (chosen * by_choice).sum(), (expected * by_choice).sum()
    if entropy == "used":
        ours, theirs = (
            ours + (spread * by_entropy).sum(),
            theirs + (expected_spread * by_entropy).sum(),
        )
    found = torch.autograd.grad(ours, [states, weight])
    for mine, other in zip(found, torch.autograd.grad(theirs, [states, weight]), strict=True):
        assert mine.dtype is dtype
        torch.testing.assert_close(mine, other, **near)


def test_logits_of_any_size_are_finite() -> None:
    states, weight, targets, *_ = draw(0, 4, 12, torch.float32)
    chosen, spread = head_scores(states * 1e4, weight, targets, 3)
    (chosen + spread).sum().backward()
    assert all(bool(x.isfinite().all()) for x in (chosen, spread, states.grad, weight.grad))


def test_a_frozen_part_costs_no_gradient() -> None:
    states, weight, targets, *_ = draw(1, 5, 12, torch.float32)
    chosen, _ = head_scores(states, weight.detach(), targets, 2, entropy=False)
    (gradient,) = torch.autograd.grad(chosen.sum(), [states])
    (expected,) = torch.autograd.grad(plain(states, weight, targets)[0].sum(), [states])
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


def test_a_head_that_does_more_is_not_plain() -> None:
    head = nn.Linear(4, 9, bias=False)
    assert is_linear(head)
    assert not is_linear(nn.Linear(4, 9))
    assert not is_linear(nn.Sequential(head))
    head.register_forward_hook(lambda *_: None)
    assert not is_linear(head)


@pytest.mark.parametrize("rows", [1, 200])
def test_a_vocabulary_larger_than_a_block(rows: int) -> None:
    states, weight, targets, by_choice, _ = draw(2, rows, 3000, torch.float32)
    chosen, _ = head_scores(states, weight, targets, 128)
    found = torch.autograd.grad((chosen * by_choice).sum(), [states, weight])
    expected = torch.autograd.grad((plain(states, weight, targets)[0] * by_choice).sum(), [states, weight])
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
