"""Chunked scores against a plain full forward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from siri.algos import TokenBatch
from siri.errors import ConfigError, ShapeError
from siri.models.scoring import logprobs_only, score
from siri.training.batches import collate
from siri.training.rows import Row, Span


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return Qwen2ForCausalLM(config).eval()


def make_row(ids: list[int], *spans: tuple[int, int]) -> Row:
    return Row("rl", tuple(ids), tuple(Span(a, (-1.0,) * (b - a), 1.0) for a, b in spans))


@pytest.fixture
def batch() -> TokenBatch:
    ids = torch.randint(0, 61, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
    return collate(
        [make_row(ids[0], (3, 6), (15, 20)), make_row(ids[1][:9], (1, 9)), make_row(ids[2][:5], (4, 5))],
        pad_id=0,
    )


def naive(model: Qwen2ForCausalLM, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask.long()).logits[:, :-1]
    table = torch.log_softmax(logits.float(), -1)
    chosen = table.gather(-1, batch.input_ids[:, 1:, None])[..., 0]
    pad = torch.nn.functional.pad
    mask = batch.rl_mask | batch.int_mask
    entropy = pad(-(table.exp() * table).sum(-1), (1, 0))
    return pad(chosen, (1, 0)) * mask, entropy * mask


@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("keep", [0, 2**24])
def test_scores_and_gradients_equal_a_full_forward(
    model: Qwen2ForCausalLM, batch: TokenBatch, chunk: int | None, keep: int
) -> None:
    scores = score(model, batch, chunk=chunk, keep=keep)
    logprobs, entropy = naive(model, batch)
    torch.testing.assert_close(scores.logprobs, logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.entropy, entropy, atol=1e-5, rtol=0)
    parameters = list(model.parameters())
    ours = torch.autograd.grad((scores.logprobs + 0.1 * scores.entropy).sum(), parameters)
    theirs = torch.autograd.grad((logprobs + 0.1 * entropy).sum(), parameters)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_transcript_and_window_rows_give_the_same_logprobs(model: Qwen2ForCausalLM) -> None:
    ids = torch.randint(0, 61, (14,), generator=torch.Generator().manual_seed(2)).tolist()
    merged = logprobs_only(model, collate([make_row(ids, (4, 7), (10, 14))], pad_id=0))
    apart = logprobs_only(model, collate([make_row(ids[:7], (4, 7)), make_row(ids, (10, 14))], pad_id=0))
    torch.testing.assert_close(merged[0, 4:7], apart[0, 4:7], atol=1e-5, rtol=0)
    torch.testing.assert_close(merged[0, 10:], apart[1, 10:], atol=1e-5, rtol=0)
    assert not merged.requires_grad


def test_an_empty_mask_scores_nothing_and_keeps_the_graph(model: Qwen2ForCausalLM, batch: TokenBatch) -> None:
    empty = replace(batch, rl_mask=torch.zeros_like(batch.rl_mask))
    scores = score(model, empty)
    assert scores.logprobs.requires_grad
    gradients = torch.autograd.grad(scores.logprobs.sum(), list(model.parameters()))
    assert all(not gradient.any() for gradient in gradients)


def test_refusals(model: Qwen2ForCausalLM, batch: TokenBatch) -> None:
    first = batch.rl_mask.clone()
    first[0, 0] = True
    with pytest.raises(ShapeError, match="position 0"):
        score(model, replace(batch, rl_mask=first))
    with pytest.raises(ConfigError, match="causal language model"):
        score(torch.nn.Linear(2, 2), batch)
    with pytest.raises(ConfigError, match="chunk"):
        score(model, batch, chunk=0)
