"""The teacher's likeliest tokens: scored, carried by lessons, and distilled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from siri.algos import (
    ClippedSurrogate,
    TokenScores,
    TopTokens,
    ViewDistillation,
    ViewDivergence,
    view_divergence,
)
from siri.errors import ConfigError, ShapeError
from siri.models.scoring import likeliest, score
from siri.training.batches import Totals, collate
from siri.training.learner import Learner
from siri.training.replay import Replay
from siri.training.rows import Row, TopK
from tests.oracles import losses
from tests.training.test_learner import make_model, make_rows

VOCABULARY = 61


def distributions(model, row: Row) -> torch.Tensor:
    """Log-probs of the whole vocabulary that each token of a row was drawn from, [T, V]."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.ids])).logits[0].float()
    return torch.cat([torch.zeros(1, logits.shape[1]), logits.log_softmax(-1)[:-1]])


def taught(model, k: int, *, other: bool = True) -> list[Row]:
    """Lessons whose teacher is the same model on other rows of the same tokens, or on the rows themselves."""
    found = []
    for row in (row for row in make_rows(model) if row.kind == "int"):
        changed = replace(row, ids=((row.ids[0] + 7) % VOCABULARY, *row.ids[1:])) if other else row
        table = distributions(model, changed)
        spans = []
        for span in row.spans:
            values, ids = table[span.start : span.start + len(span.logprobs)].topk(k, dim=-1)
            spans.append(replace(span, top=TopK(ids.int().numpy(), values.numpy())))
        found.append(replace(row, spans=tuple(spans)))
    return found


@pytest.mark.parametrize(("chunk", "keep"), [(None, 2**24), (3, 2**24), (3, 0), (None, 0)])
def test_scores_of_chosen_tokens_are_those_of_the_whole_distribution(chunk, keep) -> None:
    model = make_model()
    rows = [*taught(model, 5), *make_rows(model)[:2]]
    batch = collate(rows, pad_id=0)
    assert batch.top is not None
    assert batch.top.ids.shape == (int(batch.int_mask.sum()), 5)
    model.zero_grad()
    got = score(model, batch, chunk=chunk, keep=keep)
    want = score(model, replace(batch, top=None))
    torch.testing.assert_close(got.logprobs, want.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.entropy, want.entropy, atol=1e-5, rtol=0)
    whole = model(input_ids=batch.input_ids).logits.log_softmax(-1)
    picked = whole[batch.top.row, batch.top.position - 1].gather(1, batch.top.ids)
    torch.testing.assert_close(got.top, picked, atol=1e-5, rtol=0)
    weights = torch.randn(got.top.shape, generator=torch.Generator().manual_seed(0))
    [mine] = torch.autograd.grad((got.top * weights).sum() + got.logprobs.sum(), model.lm_head.weight)
    [theirs] = torch.autograd.grad((picked * weights).sum() + want.logprobs.sum(), model.lm_head.weight)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_the_likeliest_tokens_of_a_learner_are_those_of_the_model() -> None:
    model = make_model()
    rows = [row for row in make_rows(model) if row.kind == "rl"]
    for tokens in (16384, 30):
        learner = Learner(model, ClippedSurrogate(), max_tokens_per_micro_batch=tokens)
        for row, spans in zip(rows, learner.likeliest(rows, 4), strict=True):
            table = distributions(model, row)
            for span, top in zip(row.spans, spans, strict=True):
                values, ids = table[span.start : span.start + len(span.logprobs)].topk(4, dim=-1)
                assert top.ids.dtype == np.int32
                assert top.ids.tolist() == ids.tolist()
                np.testing.assert_allclose(top.logprobs, values.numpy(), atol=1e-5)
        assert learner.likeliest([], 4) == []
    ids, values = likeliest(model, collate(rows, pad_id=0), 999)
    assert ids.shape[1] == values.shape[1] == VOCABULARY


def test_the_loss_is_the_equation_whatever_the_parts() -> None:
    model = make_model()
    rows = taught(model, 3)
    batch = collate(rows, pad_id=0, int_scale=0.5)
    loss = ViewDivergence(5.0)(batch, score(model, batch))
    value, count = 0.0, 0
    for row in rows:
        table = distributions(model, row)
        for span in row.spans:
            for n, own in enumerate(span.logprobs):
                mine = table[span.start + n]
                gap = own - float(mine[row.ids[span.start + n]])
                gate = 1 / (1 + np.exp(-5.0 * gap))
                kept = losses.top_k(mine[span.top.ids[n]].tolist(), span.top.logprobs[n].tolist())
                value += float(span.weight) * gate * kept
                count += 1
    assert loss.metrics["view/loss"] == pytest.approx(value / count, abs=1e-6)
    assert float(loss.value.detach()) == pytest.approx(0.5 * value / count, abs=1e-6)
    totals = Totals.of(rows)
    parts = [collate([row], pad_id=0, totals=totals, int_scale=0.5) for row in reversed(rows)]
    apart = [ViewDivergence(5.0)(part, score(model, part)) for part in parts]
    assert sum(part.metrics["view/loss"] for part in apart) == pytest.approx(value / count, abs=1e-6)
    cut = batch.rows([2, 0])
    assert cut.top.row.unique().tolist() == [0, 1]
    again = score(model, cut)
    assert again.top.shape == cut.top.ids.shape


def test_equal_prompts_teach_nothing_and_more_tokens_say_more() -> None:
    model = make_model()
    same = collate(taught(model, 4, other=False), pad_id=0)
    loss = ViewDivergence()(same, score(model, same))
    assert loss.metrics["view/loss"] == pytest.approx(0.0, abs=1e-6)
    gradients = torch.autograd.grad(loss.value, [p for p in model.parameters() if p.requires_grad])
    assert max(float(g.abs().max()) for g in gradients) < 1e-5
    found = []
    for k in (1, 3, 10, VOCABULARY):
        batch = collate(taught(model, k), pad_id=0)
        found.append(ViewDivergence()(batch, score(model, batch)).metrics["view/loss"])
    assert found == sorted(found)
    assert found[0] >= 0


def test_at_the_whole_vocabulary_it_is_the_mean_of_sampled_tokens() -> None:
    """Rao and Blackwell: for y ~ π_T the mean gradient of −w log π_S(y) is w·∇KL(π_T ‖ π_S)."""
    student = torch.randn(VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    student.requires_grad_()
    teacher = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(2)).double().log_softmax(-1)
    ours = view_divergence(
        student.log_softmax(-1)[None], teacher=teacher[None], weights=torch.ones(1) * 2, gap=torch.zeros(1)
    )[0]
    [one] = torch.autograd.grad(ours, student)
    sampled = torch.zeros(VOCABULARY, dtype=torch.float64)
    for y in range(VOCABULARY):
        [part] = torch.autograd.grad(-2 * student.log_softmax(-1)[y], student)
        sampled += teacher[y].exp() * part
    torch.testing.assert_close(one, sampled, atol=1e-5, rtol=1e-4)


def test_a_lesson_loses_nothing_in_replay_and_unknown_batches_are_refused() -> None:
    model = make_model()
    rows = taught(model, 3)
    kept = Replay(2)
    kept.add(0, rows)
    again = Replay(2)
    import json

    again.load_state_dict(json.loads(json.dumps(kept.state_dict())))
    one, two = (collate(r.rows(()), pad_id=0).top for r in (kept, again))
    assert torch.equal(one.ids, two.ids)
    torch.testing.assert_close(one.logprobs, two.logprobs)
    bare = collate(make_rows(model), pad_id=0)
    assert bare.top is None
    with pytest.raises(ConfigError, match="top_k=32"):
        ViewDivergence()(bare, score(model, bare))
    with pytest.raises(ConfigError, match="top_k=32"):
        Learner(model, ClippedSurrogate() + ViewDivergence())
    Learner(model, ClippedSurrogate() + ViewDivergence(), top_k=4).update(make_rows(model)[:3])
    batch = collate(rows, pad_id=0)
    with pytest.raises(ShapeError, match="under no mask"):
        score(model, replace(batch, top=replace(batch.top, position=batch.top.position * 0 + 1)))
    with pytest.raises(ShapeError):
        TopTokens(torch.zeros(2).long(), torch.zeros(2).long(), torch.zeros(1, 3).long(), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="sharpness"):
        ViewDivergence(-1.0)(batch, score(model, batch))


def test_a_step_lowers_the_divergence() -> None:
    model = make_model()
    rows = taught(model, 8)
    learner = Learner(model, ClippedSurrogate() + ViewDivergence(), lr=3e-3, top_k=8, recompute=False)
    before = learner.update(rows, seed=0)["view/loss"]
    for _ in range(4):
        after = learner.update(rows, seed=0)["view/loss"]
    assert after < 0.8 * before
    sampled = Learner(make_model(), ClippedSurrogate() + ViewDistillation(), recompute=False)
    assert sampled.update(rows, seed=0)["view/loss"] > 0  # takes the same rows, and looks at y alone


def test_scores_without_likeliest_tokens_have_none() -> None:
    batch = collate(make_rows(make_model()), pad_id=0)
    assert score(make_model(), batch).top is None
    assert TokenScores(batch.old_logprobs, batch.old_logprobs).top is None
