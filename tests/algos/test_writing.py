"""Rewards of a writer's texts, and the loss on its tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from siri.algos import ClippedSurrogate, TokenBatch, TokenScores, WriterSurrogate, writer_advantages
from siri.errors import ConfigError
from tests.oracles import writing as oracle

few = settings(max_examples=80, deadline=None)
rows = st.lists(st.tuples(st.integers(0, 12).map(lambda n: n / 4), st.integers(0, 3)), min_size=1, max_size=9)


@few
@given(rows, st.sampled_from([0.05, 1.0]), st.sampled_from([None, 0.5]))
def test_it_is_the_equation(pairs, floor, limit) -> None:
    rewards, group = [r for r, _ in pairs], [g for _, g in pairs]
    tensors = torch.tensor(rewards, dtype=torch.float64), torch.tensor(group, dtype=torch.int64)
    got = writer_advantages(tensors[0], group=tensors[1], floor=floor, limit=limit)
    want = oracle.advantages(rewards, group, floor, limit)
    assert got.tolist() == pytest.approx(want, abs=1e-9)
    # names of groups and the order of texts say nothing
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(len(pairs)))
    again = writer_advantages(tensors[0][order], group=7 - tensors[1][order], floor=floor, limit=limit)
    assert again.tolist() == pytest.approx(got[order].tolist(), abs=1e-9)


def test_in_numbers_and_dtypes() -> None:
    group = torch.tensor([0, 0, 0, 1])
    for dtype in (torch.float32, torch.bfloat16):
        got = writer_advantages(torch.tensor([3.0, 1.0, 2.0, 3.0], dtype=dtype), group=group)
        assert got.dtype is dtype
        assert got.tolist() == pytest.approx([1.224745, -1.224745, 0.0, 0.0], abs=1e-2)
    near = writer_advantages(torch.tensor([0.50, 0.51]), group=torch.tensor([0, 0]))
    assert near.tolist() == pytest.approx([-0.1, 0.1], abs=1e-5)  # σ is .05 at the least
    for bad in ({"floor": 0.0}, {"limit": -1.0}):
        with pytest.raises(ConfigError):
            writer_advantages(torch.ones(2), group=torch.zeros(2, dtype=torch.int64), **bad)


def batch_of(seed: int, *, as_rl: bool = False) -> tuple[TokenBatch, TokenScores]:
    """One RL row and two rows of a writer; ``as_rl``: the written tokens as RL tokens, alone."""
    g = torch.Generator().manual_seed(seed)
    shape = (3, 6)
    written = torch.zeros(shape, dtype=torch.bool)
    written[1, 2:], written[2, 3:5] = True, True
    sampled = torch.zeros(shape, dtype=torch.bool)
    sampled[0, 2:] = True
    old = -torch.rand(shape, generator=g)
    scores = (old + 0.5 * torch.randn(shape, generator=g)).requires_grad_()
    batch = TokenBatch(
        input_ids=torch.zeros(shape, dtype=torch.int64),
        attention_mask=torch.ones(shape, dtype=torch.bool),
        rl_mask=written if as_rl else sampled,
        int_mask=torch.zeros(shape, dtype=torch.bool),
        old_logprobs=old,
        reference_logprobs=None,
        advantages=torch.randn(shape, generator=g),
        weights=torch.zeros(shape),
        rl_tokens=6.0 if as_rl else 4.0,
        int_tokens=0.0,
        writer_mask=None if as_rl else written,
        writer_tokens=0.0 if as_rl else 6.0,
    )
    return batch, TokenScores(scores, torch.zeros(shape))


@few
@given(st.integers(0, 50), st.sampled_from([0.01, 0.5, 3.0]))
def test_the_loss_is_the_surrogate_of_the_written_tokens_alone(seed: int, alpha: float) -> None:
    batch, scores = batch_of(seed)
    loss = (ClippedSurrogate() + alpha * WriterSurrogate())(batch, scores)
    [gradient] = torch.autograd.grad(loss.value, scores.logprobs)
    task, own = batch_of(seed)
    apart = ClippedSurrogate()(task, own).value
    [of_task] = torch.autograd.grad(apart, own.logprobs)
    alone, free = batch_of(seed, as_rl=True)
    # α in the advantages is α on the loss: both clips are homogeneous
    inside = ClippedSurrogate()(replace(alone, advantages=alpha * alone.advantages), free).value
    [of_writer] = torch.autograd.grad(inside, free.logprobs)
    torch.testing.assert_close(loss.value, apart + inside, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradient, of_task + of_writer, atol=1e-6, rtol=1e-5)
    assert loss.metrics["policy/loss"] == pytest.approx(float(apart.detach()), abs=1e-6)


def test_without_written_tokens_it_is_nothing() -> None:
    batch, scores = batch_of(0)
    loss = WriterSurrogate()(replace(batch, writer_mask=None, writer_tokens=0.0), scores)
    assert loss.metrics == {"writer/loss": 0.0, "writer/approx_kl": 0.0}
    [gradient] = torch.autograd.grad(loss.value, scores.logprobs)
    assert not gradient.any()


def test_texts_of_an_older_policy_can_be_weighed() -> None:
    batch, scores = batch_of(1)
    older = replace(batch, rollout_logprobs=batch.old_logprobs + 1.0)
    plain = WriterSurrogate()(older, scores).metrics["writer/loss"]
    weighed = WriterSurrogate(importance_limit=2.0)(older, scores).metrics["writer/loss"]
    assert weighed == pytest.approx(plain * 0.36788, rel=1e-4)
