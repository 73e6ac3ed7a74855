"""Rows of what the policy wrote: counted apart, learned in the same steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from siri.algos import ClippedSurrogate, EntropyBonus, WriterSurrogate
from siri.errors import ShapeError
from siri.training.batches import Totals, collate, minibatches
from siri.training.learner import Learner
from siri.training.replay import Replay
from siri.training.rows import Row
from siri.training.writers import writer_rows
from siri.types import WriterSample
from tests.training.test_learner import make_model, make_rows


def sample(reward: float | None, group: str = "g", size: int = 3) -> WriterSample:
    ids = tuple(range(3, 3 + size))
    return WriterSample((1, 2), ids, tuple(-0.1 * n - 0.5 for n in range(size)), group, reward)


def test_rows_carry_the_advantage_within_the_group() -> None:
    rows = writer_rows([sample(3.0), sample(1.0), sample(None), sample(2.0, "alone"), sample(0.0, size=0)])
    assert [row.spans[0].advantage for row in rows] == [1.0, -1.0, 0.0]
    first = rows[0]
    assert (first.kind, first.ids, first.spans[0].start) == ("writer", (1, 2, 3, 4, 5), 2)
    assert first.spans[0].rollout == first.spans[0].logprobs
    assert writer_rows([]) == []
    for bad in (replace(sample(1.0), logprobs=(0.0,)), replace(sample(1.0), prompt_ids=())):
        with pytest.raises(ShapeError, match="WriterSample"):
            writer_rows([bad])


def test_they_are_counted_apart_and_are_in_every_kind_of_step() -> None:
    model = make_model()
    rows = [row for row in make_rows(model) if row.kind == "rl"]
    mine = writer_rows([sample(3.0), sample(1.0)])
    alone, both = Totals.of(rows), Totals.of([*rows, *mine])
    assert (both.rl_tokens, both.rl_turns, both.int_tokens) == (
        alone.rl_tokens,
        alone.rl_turns,
        alone.int_tokens,
    )
    assert both.writer_tokens == 6.0
    batch = collate([*rows, *mine], pad_id=0)
    assert batch.rl_tokens == alone.rl_tokens
    assert int(batch.writer_mask.sum()) == 6
    assert not (batch.writer_mask & batch.rl_mask).any()
    parts = minibatches([*rows, *mine], count=2, seed=0)
    assert [sum(row.kind == "writer" for row in part) for part in parts] == [1, 1]
    assert [row for part in minibatches(rows, count=2, seed=0) for row in part] == [
        row for part in parts for row in part if row.kind == "rl"
    ]
    kept = Replay(3)
    kept.add(0, [*rows, *mine])
    assert kept.rows(()) == []


def updated(rows: list[Row], objective, **options) -> tuple[dict[str, float], list[torch.Tensor]]:
    model = make_model()
    learner = Learner(model, objective, lr=1e-3, **options)
    return learner.update(rows, seed=1), [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("recompute", [False, True])
def test_the_task_is_not_thinned_and_the_writer_is_trained(recompute: bool) -> None:
    rows = [row for row in make_rows(make_model()) if row.kind == "rl"]
    mine = writer_rows([sample(3.0), sample(1.0, size=5)])
    loss = ClippedSurrogate() + 0.01 * EntropyBonus()
    before, plain = updated(rows, loss, recompute=recompute)
    silent, same = updated([*rows, *mine], loss + 0.0 * WriterSurrogate(), recompute=recompute)
    for name in ("policy/loss", "policy/entropy"):
        assert silent[name] == pytest.approx(before[name], abs=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, same, strict=True))
    taught, changed = updated([*rows, *mine], loss + 0.5 * WriterSurrogate(), recompute=recompute)
    assert taught["writer/loss"] != 0.0
    assert any(not torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, changed, strict=True))
    narrow, _ = updated(
        [*rows, *mine], loss + 0.5 * WriterSurrogate(), recompute=recompute, max_tokens_per_micro_batch=12
    )
    for name in ("writer/loss", "policy/loss", "learn/grad_norm"):
        assert narrow[name] == pytest.approx(taught[name], abs=1e-5)
