"""Optimizer steps of the learner on a tiny random model."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from siri.algos import (
    ClippedSurrogate,
    EntropyBonus,
    Internalization,
    KLPenalty,
    Loss,
    SiriObjective,
    TokenBatch,
    TokenScores,
    needs_reference,
)
from siri.algos.composition import needs_advantage
from siri.errors import CheckpointError, ConfigError
from siri.models.scoring import logprobs_only, score
from siri.models.weights import copy_weights
from siri.training.batches import Totals, collate, micro_batches
from siri.training.learner import Learner
from siri.training.rows import Row, Span
from siri.training.shards import Shards, write_shard

OBJECTIVE = SiriObjective(kl=0.0, entropy=0.001)


def make_model(seed: int = 0) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.1,
    )
    return Qwen2ForCausalLM(config).eval()


def make_rows(model: Qwen2ForCausalLM) -> list[Row]:
    """Six RL rows and three rows of L_int of unequal length, with the model's own log-probs."""
    generator = torch.Generator().manual_seed(3)
    rows: list[Row] = []
    for number, length in enumerate((12, 9, 7, 15, 8, 10, 6, 11, 9)):
        ids = tuple(torch.randint(0, 61, (length,), generator=generator).tolist())
        internal = number >= 6
        spans = (
            Span(2, (0.0, 0.0), 1.0 - number % 3, 0.5 * internal),
            Span(5, (0.0,) * (length - 5), number % 2 - 0.5, 1.0 * internal),
        )
        rows.append(Row("int" if internal else "rl", ids, spans))
    logprobs = logprobs_only(model, collate(rows, pad_id=0)).tolist()
    return [
        replace(
            row,
            spans=tuple(
                replace(s, logprobs=tuple(values[s.start : s.start + len(s.logprobs)])) for s in row.spans
            ),
        )
        for row, values in zip(rows, logprobs, strict=True)
    ]


def gradients(
    model: Qwen2ForCausalLM, rows: Sequence[Row], max_tokens: int, scale: float
) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    value = 0.0
    for part in micro_batches(rows, max_tokens=max_tokens):
        batch = collate(part, pad_id=0, totals=Totals.of(rows), int_scale=scale)
        loss = OBJECTIVE(batch, score(model, batch))
        loss.value.backward()
        value += loss.value.item()
    return value, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def weights(model: Qwen2ForCausalLM) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("max_tokens", [1, 24, 60])
def test_loss_and_gradients_do_not_depend_on_the_micro_batches(max_tokens: int) -> None:
    model = make_model()
    rows = make_rows(model)
    whole, expected = gradients(model, rows, 10_000, 0.1)
    parts, actual = gradients(model, rows, max_tokens, 0.1)
    assert parts == pytest.approx(whole, abs=1e-6)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_lambda_zero_gives_the_gradient_of_rl_alone() -> None:
    model = make_model()
    rows = make_rows(model)
    _, silent = gradients(model, rows, 10_000, 0.0)
    _, alone = gradients(model, [row for row in rows if row.kind == "rl"], 10_000, 0.1)
    _, both = gradients(model, rows, 10_000, 0.1)
    for a, b in zip(silent, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert any((a - b).abs().max() > 1e-4 for a, b in zip(both, alone, strict=True))


def test_an_update_with_lambda_zero_drops_the_internalisation_rows() -> None:
    first, second = make_model(), make_model()
    rows = make_rows(first)
    metrics = Learner(first, OBJECTIVE, lr=1e-3).update(rows, int_scale=0.0)
    Learner(second, OBJECTIVE, lr=1e-3).update([row for row in rows if row.kind == "rl"])
    assert metrics["learn/rows"] == 6
    torch.testing.assert_close(weights(first), weights(second))


def test_updates_do_not_depend_on_the_micro_batches() -> None:
    results = []
    for size in (16, 10_000):
        model = make_model()
        learner = Learner(model, OBJECTIVE, lr=1e-4, max_tokens_per_micro_batch=size, minibatches=2)
        metrics = learner.update(make_rows(model), int_scale=0.1, seed=5)
        results.append((metrics, weights(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], atol=2e-5, rtol=0)


def test_steps_raise_the_logprob_of_good_tokens_and_lower_the_loss() -> None:
    model = make_model()
    rows = make_rows(model)
    learner = Learner(model, OBJECTIVE, lr=2e-3, epochs=4, recompute=False)
    first = learner.update(rows, int_scale=0.1)
    second = learner.update(rows, int_scale=0.1)
    assert second["learn/loss"] < first["learn/loss"]
    assert second["int/nll_plain"] < first["int/nll_plain"]
    batch = collate(rows, pad_id=0)
    change = logprobs_only(model, batch) - batch.old_logprobs
    assert (change * batch.advantages)[batch.rl_mask].mean() > 0


@pytest.mark.parametrize(("turns", "steps"), [(1, 6), (2, 6), (4, 3), (5, 3), (1000, 1)])
def test_steps_follow_from_the_turns_where_asked(turns: int, steps: int) -> None:
    model = make_model()
    rows = make_rows(model)
    spans = [len(row.spans) for row in rows if row.kind == "rl"]
    assert (len(spans), sum(spans)) == (6, 12)  # a row is never divided
    learner = Learner(model, OBJECTIVE, minibatches=5, batch_turns=turns)
    assert learner.update(rows, int_scale=0.1)["learn/steps"] == steps


@pytest.mark.parametrize("recompute", [True, False])
def test_metrics(recompute: bool) -> None:
    model = make_model()
    rows = make_rows(model)
    shifted = [
        replace(row, spans=tuple(replace(s, logprobs=tuple(v - 0.25 for v in s.logprobs)) for s in row.spans))
        for row in rows
    ]
    learner = Learner(model, OBJECTIVE, minibatches=3, epochs=2, recompute=recompute)
    metrics = learner.update(shifted, int_scale=0.1)
    assert metrics["learn/logprob_gap"] == pytest.approx(0.25, abs=1e-5)
    assert metrics["learn/steps"] == 6
    assert metrics["learn/rows"] == 9
    assert metrics["learn/tokens"] == sum(row.tokens for row in rows)
    assert metrics["learn/grad_norm"] > 0
    assert metrics["learn/skipped"] == 0
    expected = 1.0 if recompute else 1.284
    assert metrics["policy/ratio_mean"] == pytest.approx(expected, abs=1e-2)
    assert not model.training


def test_recomputing_keeps_what_the_engine_reported_for_importance_weights() -> None:
    model = make_model()
    shifted = [
        replace(row, spans=tuple(replace(s, logprobs=tuple(v - 0.25 for v in s.logprobs)) for s in row.spans))
        for row in make_rows(model)
    ]
    for limit, expected in ((2.0, 1.284), (1.1, 1.1)):
        objective = SiriObjective(kl=0.0, importance_limit=limit)
        metrics = Learner(make_model(), objective, recompute=True).update(shifted)
        assert metrics["policy/importance_mean"] == pytest.approx(expected, abs=1e-3)
        assert metrics["policy/ratio_mean"] == pytest.approx(1.0, abs=1e-3)


def test_half_precision_rounds_the_passes_and_leaves_the_weights() -> None:
    exact, rounded = make_model(), make_model()
    rows = make_rows(exact)
    reference = copy.deepcopy(exact)
    objective = SiriObjective(kl=0.01)
    one = Learner(exact, objective, lr=1e-2, reference=reference).update(rows)
    two = Learner(rounded, objective, lr=1e-2, reference=reference, half=True).update(rows)
    assert {p.dtype for p in rounded.parameters()} == {torch.float32}
    assert not torch.equal(weights(exact), weights(rounded))
    assert two["learn/loss"] == pytest.approx(one["learn/loss"], rel=0.1)
    assert 0 < two["learn/logprob_gap"] < 0.1
    # the reference rounds as the model does: the same weights are no distance apart
    assert two["kl/reference"] == pytest.approx(0.0, abs=1e-6)
    moved = [weights(model) - weights(reference) for model in (exact, rounded)]
    assert torch.cosine_similarity(*moved, dim=0) > 0.8


def test_reference_model_feeds_the_kl_term() -> None:
    model = make_model()
    rows = make_rows(model)
    objective = SiriObjective(kl=0.01)
    with pytest.raises(ConfigError, match="reference"):
        Learner(model, objective)
    same = Learner(model, objective, reference=copy.deepcopy(model)).update(rows)
    other = Learner(make_model(), objective, reference=make_model(9)).update(rows)
    assert same["kl/reference"] == pytest.approx(0.0, abs=1e-6)
    assert other["kl/reference"] > 1e-3


def test_state_continues_exactly(tmp_path: Path) -> None:
    model = make_model()
    rows = make_rows(model)
    learner = Learner(model, OBJECTIVE, lr=1e-3)
    learner.update(rows, int_scale=0.1, seed=1)
    twin = copy.deepcopy(model)
    resumed = Learner(twin, OBJECTIVE, lr=1e-3)
    write_shard(tmp_path, list(learner.pieces()), rank=0, size=1)
    resumed.restore(Shards(tmp_path), json.loads(json.dumps(learner.settings())))
    learner.update(rows, int_scale=0.1, seed=2)
    resumed.update(rows, int_scale=0.1, seed=2)
    assert torch.equal(weights(model), weights(twin))
    other = make_model()
    del other.model.layers[1]
    with pytest.raises(CheckpointError, match="another model"):
        Learner(other, OBJECTIVE).restore(Shards(tmp_path), learner.settings())


def test_nothing_to_learn_takes_no_step_and_a_broken_gradient_is_skipped() -> None:
    model = make_model()
    before = weights(model)
    learner = Learner(model, OBJECTIVE, lr=1e-2)
    assert learner.update([])["learn/steps"] == 0
    rows = make_rows(model)
    broken = [replace(r, spans=tuple(replace(s, advantage=float("nan")) for s in r.spans)) for r in rows]
    assert learner.update(broken)["learn/skipped"] == 1
    assert learner.trouble == "the loss was nan"
    assert torch.equal(weights(model), before)


def test_a_step_that_is_skipped_says_nothing_in_the_figures_of_the_others() -> None:
    model = make_model()
    rows = [row for row in make_rows(model) if row.kind == "rl"]
    spans = tuple(replace(s, advantage=float("inf")) for s in rows[0].spans)
    learner = Learner(model, OBJECTIVE, lr=1e-2, minibatches=2)
    metrics = learner.update([replace(rows[0], spans=spans), *rows[1:]])
    assert (metrics["learn/skipped"], metrics["learn/steps"]) == (1, 2)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["policy/entropy"] > 1
    assert learner.trouble
    learner.update(rows)
    assert learner.trouble == ""


def test_a_gradient_alone_that_is_not_finite_is_skipped_too() -> None:
    model = make_model()
    before = weights(model)

    def steep(batch, scores):
        # finite, with an infinite slope at 0
        return Loss((scores.logprobs - scores.logprobs.detach()).abs().sum().sqrt(), {})

    learner = Learner(model, lambda b, s: steep(b, s) if b.input_ids.max() > 0 else OBJECTIVE(b, s))
    metrics = learner.update(make_rows(model))
    assert metrics["learn/skipped"] == 1
    assert learner.trouble == "the gradient norm was nan"
    assert torch.equal(weights(model), before)


def test_norms_and_biases_do_not_decay() -> None:
    model = make_model()
    groups = Learner(model, OBJECTIVE, weight_decay=0.1).settings()["groups"]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    vectors = sum(parameter.ndim < 2 for parameter in model.parameters())
    assert len(groups[1]["params"]) == vectors


def test_the_batch_type_is_the_objectives() -> None:
    assert isinstance(collate(make_rows(make_model()), pad_id=0), TokenBatch)


WORKER = """
import sys
import torch
from accelerate import Accelerator
from siri.training.learner import Learner
from tests.training.test_learner import OBJECTIVE, make_model, make_rows, weights

accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
model = make_model()
rows = make_rows(model)
settings = {"lr": 1e-4, "minibatches": 2, "max_tokens_per_micro_batch": 24}
learner = Learner(model, OBJECTIVE, accelerator=accelerator, **settings)
metrics = learner.update(rows, int_scale=0.1)
if accelerator.process_index == 0:
    torch.save((metrics, weights(model)), sys.argv[1])
# threads of gloo that hold tensors abort an interpreter that is going down (pytorch#179291)
accelerator.wait_for_everyone()
del learner
accelerator.free_memory()
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    model = make_model()
    metrics = Learner(model, OBJECTIVE, lr=1e-4, minibatches=2).update(make_rows(model), int_scale=0.1)
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "worker.py"), str(tmp_path / "out.pt")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    other_metrics, other_weights = torch.load(tmp_path / "out.pt")
    assert other_metrics == pytest.approx(metrics, abs=1e-5)
    torch.testing.assert_close(other_weights, weights(model), atol=1e-6, rtol=0)


def test_sums_multiples_and_functions_measure_the_kl_that_the_objective_does() -> None:
    reference, rows = make_model(9), make_rows(make_model())

    @needs_reference
    def around(batch, scores):
        return SiriObjective(kl=0.01)(batch, scores)

    objectives = (
        SiriObjective(kl=0.01),
        ClippedSurrogate() + Internalization() + 0.01 * KLPenalty(),
        1.0 * SiriObjective(kl=0.01),
        around,
    )
    found = [
        Learner(make_model(), objective, reference=copy.deepcopy(reference)).update(rows)["kl/reference"]
        for objective in objectives
    ]
    assert found[0] > 1e-3
    assert found == [found[0]] * len(found)


def test_a_function_that_does_not_say_that_it_needs_a_reference_fails_before_anything_is_trained() -> None:
    def around(batch, scores):
        return SiriObjective(kl=0.01)(batch, scores)

    with pytest.raises(ConfigError, match="needs_reference") as caught:
        Learner(make_model(), around)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    "found", [torch.tensor(1.0), Loss(torch.ones(2), {}), Loss(torch.tensor(torch.nan), {})]
)
def test_what_is_no_loss_is_refused_before_anything_is_trained(found: object) -> None:
    def odd(batch, scores):
        return found

    with pytest.raises(ConfigError, match="odd"):
        Learner(make_model(), odd)


def test_weights_are_streamed_by_name_and_a_policy_takes_them() -> None:
    learner, other = Learner(make_model(), OBJECTIVE), make_model(9)
    streamed = dict(learner.named_weights())
    assert streamed.keys() == learner.weights().keys()
    copy_weights(learner, other)
    for name, value in other.state_dict().items():
        if name in streamed:
            assert torch.equal(value, streamed[name])
    addresses = [value.data_ptr() for value in learner.model.state_dict().values()]
    copy_weights(learner, learner.model)  # its own stay where they are
    assert addresses == [value.data_ptr() for value in learner.model.state_dict().values()]


def test_the_gap_is_that_of_the_scores() -> None:
    model = make_model()
    rows = [row for row in make_rows(model) if row.kind == "int"]
    batch = collate(rows, pad_id=0)
    with torch.no_grad():
        now = score(model, batch).logprobs
    expected = float((batch.old_logprobs - now)[batch.int_mask].mean())
    for width in (1, 10_000):
        learner = Learner(make_model(), OBJECTIVE, max_tokens_per_micro_batch=width)
        assert learner.gap(rows) == pytest.approx(expected, abs=1e-5)
    assert learner.gap([]) == 0.0


def mute(rows: Sequence[Row], numbers: Sequence[int]) -> list[Row]:
    """The rows, some of them without any advantage."""
    return [
        replace(row, spans=tuple(replace(s, advantage=0.0) for s in row.spans)) if n in numbers else row
        for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("numbers", [(), (0, 3), (0, 1, 2, 3, 4, 5)])
def test_rows_without_a_signal_cost_no_pass_and_count_in_every_normaliser(
    numbers: tuple[int, ...], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*, skips: bool) -> tuple[list[dict[str, float]], torch.Tensor, int]:
        passed = 0
        model = make_model()
        learner = Learner(model, SiriObjective(kl=0.0, entropy=0.0), lr=1e-3, recompute=recompute)
        learner._skips = learner._skips and skips
        forward = learner._scorer.forward

        def counted(batch: TokenBatch, entropy: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal passed
            passed += len(batch.input_ids)
            return forward(batch, entropy)

        monkeypatch.setattr(learner._scorer, "forward", counted)
        rows = make_rows(make_model())
        found = [learner.update(part, int_scale=0.0) for part in (rows, mute(rows, numbers))]
        return found, weights(model), passed

    (_, one), own, few = trained(skips=True)
    (_, two), whole, all_ = trained(skips=False)
    assert all_ - few == len(numbers) * (2 if recompute else 1)
    # AdamW divides by the size of a gradient, so that of a tiny one its rounding shows
    assert (own - whole).abs().mean() < 1e-6
    assert one.keys() == two.keys()
    for name in ("learn/loss", "policy/loss", "learn/grad_norm", "learn/rows", "learn/tokens"):
        assert one[name] == pytest.approx(two[name], abs=1e-6)
    assert one["policy/ratio_mean"] == pytest.approx(two["policy/ratio_mean"], abs=0.1)
    assert one["policy/entropy"] == pytest.approx(two["policy/entropy"], rel=0.5)


def test_every_row_has_its_pass_where_divergence_entropy_or_a_strange_loss_may_count_it() -> None:
    def strange(batch: TokenBatch, scores: TokenScores) -> Loss:
        return Loss((scores.logprobs * batch.rl_mask).sum(), {})

    silent = SiriObjective(kl=0.0, entropy=0.0)
    assert needs_advantage(silent)
    assert needs_advantage(ClippedSurrogate() + 0.0 * EntropyBonus())
    for loss in (SiriObjective(kl=0.0), SiriObjective(entropy=0.0), strange, silent.terms + strange):
        assert not needs_advantage(loss)
