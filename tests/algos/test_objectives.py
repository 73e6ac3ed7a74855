from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import siri.algos
from siri.algos import (
    ClippedSurrogate,
    CrossEntropy,
    EntropyBonus,
    GatedDistillation,
    ImportanceDistillation,
    Internalization,
    KLPenalty,
    ReverseKLDistillation,
    SiriObjective,
    TokenBatch,
    TokenScores,
    ViewDistillation,
    clipped_surrogate,
)
from siri.algos.masked import run_ids
from siri.errors import ConfigError, ShapeError

fast = settings(max_examples=50, deadline=None)
NAMES = {
    "policy/loss",
    "policy/clip_frac",
    "policy/approx_kl",
    "policy/ratio_mean",
    "policy/entropy",
    "kl/reference",
    "int/loss",
    "int/nll_plain",
    "int/prompt_gap",
    "int/weight_mean",
    "int/gate_frac",
}


def example(
    seed: int = 0, rows: int = 6, width: int = 5, int_scale: float = 0.1
) -> tuple[TokenBatch, TokenScores]:
    """Odd rows belong to the internalisation loss, even rows to the RL loss."""
    generator = torch.Generator().manual_seed(seed)

    def rand() -> torch.Tensor:
        return torch.rand(rows, width, generator=generator)

    sampled = rand() < 0.7
    odd = (torch.arange(rows) % 2 == 1)[:, None]
    rl, gated = sampled & ~odd, sampled & odd
    batch = TokenBatch(
        input_ids=torch.zeros(rows, width, dtype=torch.int64),
        attention_mask=torch.ones(rows, width, dtype=torch.bool),
        rl_mask=rl,
        int_mask=gated,
        old_logprobs=-2 * rand(),
        reference_logprobs=-2 * rand(),
        advantages=4 * rand() - 2,
        weights=2 * rand() * gated,
        rl_tokens=float(rl.sum()),
        int_tokens=float(gated.sum()),
        int_scale=int_scale,
    )
    scores = TokenScores((-2 * rand() * sampled).requires_grad_(), rand().requires_grad_())
    return batch, scores


def slice_scores(scores: TokenScores, index: list[int]) -> TokenScores:
    return TokenScores(scores.logprobs[index], scores.entropy[index])


@fast
@given(st.integers(0, 10**6), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_micro_batches_add_up_to_the_mini_batch(seed: int, parts: list[int]) -> None:
    batch, scores = example(seed)
    objective = SiriObjective()
    whole = objective(batch, scores)
    (gradient,) = torch.autograd.grad(whole.value, scores.logprobs)
    value, metrics = torch.zeros(()), dict.fromkeys(NAMES, 0.0)
    for part in range(3):
        index = [row for row in range(6) if parts[row] == part]
        loss = objective(batch.rows(index), slice_scores(scores, index))
        value = value + loss.value
        metrics = {name: metrics[name] + loss.metrics[name] for name in NAMES}
    torch.testing.assert_close(value, whole.value)
    assert metrics == pytest.approx(dict(whole.metrics), abs=1e-5)
    torch.testing.assert_close(torch.autograd.grad(value, scores.logprobs)[0], gradient)


@fast
@given(st.integers(0, 10**6))
def test_padding_with_masked_rows_changes_nothing(seed: int) -> None:
    batch, scores = example(seed)
    empty = torch.zeros_like(batch.rl_mask)
    names = ("input_ids", "old_logprobs", "reference_logprobs", "advantages", "weights", "attention_mask")
    doubled = {name: torch.cat([getattr(batch, name)] * 2) for name in names}
    masks = {name: torch.cat([getattr(batch, name), empty]) for name in ("rl_mask", "int_mask")}
    padded = replace(batch, **doubled, **masks)
    more = TokenScores(torch.cat([scores.logprobs] * 2), torch.cat([scores.entropy] * 2))
    torch.testing.assert_close(SiriObjective()(padded, more).value, SiriObjective()(batch, scores).value)


def test_the_objective_is_its_terms() -> None:
    batch, scores = example()
    loss = SiriObjective(kl=0.3, entropy=0.2, floor=0.5)(batch, scores)
    terms = (ClippedSurrogate(), Internalization(0.5), EntropyBonus(), KLPenalty())
    values = [term(batch, scores).value for term in terms]
    torch.testing.assert_close(loss.value, values[0] + values[1] + 0.2 * values[2] + 0.3 * values[3])
    assert set(loss.metrics) == NAMES
    scaled = (ClippedSurrogate() * 2.0 + 0.5 * KLPenalty())(batch, scores)
    torch.testing.assert_close(scaled.value, 2 * values[0] + 0.5 * values[3])
    assert scaled.metrics["policy/loss"] == pytest.approx(values[0].item())
    assert loss.metrics["int/loss"] * batch.int_scale == pytest.approx(values[1].item())
    assert loss.metrics["policy/entropy"] == pytest.approx(-values[2].item())


def test_arithmetic_of_terms() -> None:
    batch, scores = example()
    surrogate, kl, entropy = ClippedSurrogate(), KLPenalty(), EntropyBonus()
    a, b, c = (term(batch, scores).value for term in (surrogate, kl, entropy))
    for term, want in (
        (surrogate - kl, a - b),
        (-surrogate, -a),
        (surrogate / 4, a / 4),
        (2 * (surrogate + kl), 2 * a + 2 * b),
        (sum([surrogate, kl, entropy]), a + b + c),
        (surrogate + (kl + entropy), a + b + c),
    ):
        torch.testing.assert_close(term(batch, scores).value, want)
    assert (surrogate + kl + entropy).terms == (surrogate, kl, entropy)


def test_terms_say_whether_they_need_a_reference() -> None:
    assert (ClippedSurrogate() + 0.1 * KLPenalty()).needs_reference
    assert not (ClippedSurrogate() + 0.0 * KLPenalty() + EntropyBonus()).needs_reference
    assert SiriObjective().needs_reference
    assert not SiriObjective(kl=0.0).needs_reference


def test_importance_weights_need_the_log_probs_of_the_engine() -> None:
    batch, scores = example()
    term = ClippedSurrogate(importance_limit=2.0)
    plain = ClippedSurrogate()(batch, scores)
    torch.testing.assert_close(term(batch, scores).value, plain.value)
    same = term(replace(batch, rollout_logprobs=batch.old_logprobs), scores)
    torch.testing.assert_close(same.value, plain.value)
    assert same.metrics["policy/importance_mean"] == pytest.approx(1.0)
    other = term(replace(batch, rollout_logprobs=batch.old_logprobs + math.log(2)), scores)
    torch.testing.assert_close(other.value, plain.value / 2)


def test_sequence_means_need_the_count_of_turns() -> None:
    batch, scores = example()
    term = ClippedSurrogate(aggregation="sequence")
    with pytest.raises(ConfigError, match="rl_turns=0"):
        term(batch, scores)
    turns = float(run_ids(batch.rl_mask).max())
    whole = term(replace(batch, rl_turns=turns), scores).value
    torch.testing.assert_close(term(replace(batch, rl_turns=2 * turns), scores).value, whole / 2)
    want, _ = clipped_surrogate(
        scores.logprobs,
        old_logprobs=batch.old_logprobs,
        advantages=batch.advantages,
        mask=batch.rl_mask,
        aggregation="sequence",
    )
    torch.testing.assert_close(whole, want)


def test_terms_for_comparison() -> None:
    batch, scores = example(int_scale=0.5)
    sft = CrossEntropy()(batch, scores)
    nll = -scores.logprobs[batch.int_mask].mean()
    torch.testing.assert_close(sft.value, 0.5 * nll)
    assert sft.metrics == {"sft/loss": pytest.approx(nll.item())}
    for term in (ReverseKLDistillation(), GatedDistillation(sharpness=2.0), ImportanceDistillation()):
        with pytest.raises(ConfigError, match="teacher_logprobs"):
            term(batch, scores)
    taught = replace(batch, teacher_logprobs=batch.reference_logprobs)
    gap = (batch.reference_logprobs - scores.logprobs)[batch.rl_mask]
    reverse, gated = (t(taught, scores) for t in (ReverseKLDistillation(), GatedDistillation(sharpness=2.0)))
    torch.testing.assert_close(reverse.value, 0.5 * gap.square().mean())
    torch.testing.assert_close(gated.value, (gap * torch.sigmoid(2 * gap.detach())).mean())
    assert gated.metrics["distill/gap"] == pytest.approx(gap.mean().item(), abs=1e-6)
    assert reverse.metrics["distill/gap"] == pytest.approx(gap.mean().item(), abs=1e-6)
    ratio = (scores.logprobs - batch.old_logprobs)[batch.rl_mask].exp()
    weighed = ImportanceDistillation()(taught, scores)
    torch.testing.assert_close(weighed.value, (ratio * (gap.exp() - 1 - gap)).mean())
    view = ViewDistillation(sharpness=5.0)(batch, scores)
    lag = (batch.old_logprobs - scores.logprobs)[batch.int_mask]
    cost = -batch.weights[batch.int_mask] * torch.sigmoid(5 * lag.detach()) * scores.logprobs[batch.int_mask]
    torch.testing.assert_close(view.value, 0.5 * cost.mean())
    assert view.metrics["view/gap"] == pytest.approx(lag.mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    "term", [ReverseKLDistillation(), GatedDistillation(sharpness=2.0), ImportanceDistillation()]
)
def test_a_token_without_a_teacher_changes_no_loss_and_no_gradient(term) -> None:
    batch, scores = example()
    heard = batch.rl_mask & (torch.arange(batch.rl_mask.shape[1]) % 2 == 0)
    noise = torch.where(heard, batch.reference_logprobs, -7.0)
    gradients, values = [], []
    for teacher in (noise, torch.where(heard, noise, -0.1)):
        logprobs = scores.logprobs.detach().clone().requires_grad_()
        taught = replace(batch, teacher_logprobs=teacher, teacher_mask=heard)
        loss = term(taught, replace(scores, logprobs=logprobs))
        values.append(loss.value.item())
        gradients.append(torch.autograd.grad(loss.value, logprobs)[0])
    assert values[0] == values[1]
    assert torch.equal(*gradients)
    assert gradients[0][heard].any()
    assert not gradients[0][~heard].any()


def test_the_ablation_of_l_int_reaches_the_loss() -> None:
    batch, scores = example(int_scale=1.0)
    plain, clipped = (SiriObjective(token_clip=c)(batch, scores) for c in (None, 0.2))
    ratio = (scores.logprobs - batch.old_logprobs)[batch.int_mask].exp().clamp(max=1.2)
    want = -(batch.weights[batch.int_mask] * ratio).sum() / batch.int_tokens
    assert clipped.metrics["int/loss"] == pytest.approx(want.item(), abs=1e-6)
    assert plain.metrics["int/loss"] != pytest.approx(want.item(), abs=1e-3)


def test_metrics_by_hand() -> None:
    true = torch.tensor([[True, True]])
    batch = TokenBatch(
        input_ids=torch.zeros(1, 2, dtype=torch.int64),
        attention_mask=true,
        rl_mask=~true,
        int_mask=true,
        old_logprobs=torch.tensor([[-0.5, -1.0]]),
        reference_logprobs=torch.zeros(1, 2),
        advantages=torch.zeros(1, 2),
        weights=torch.tensor([[2.0, 0.0]]),
        rl_tokens=8.0,
        int_tokens=2.0,
        int_scale=0.5,
    )
    loss = Internalization()(batch, TokenScores(torch.tensor([[-1.0, -3.0]]), torch.zeros(1, 2)))
    assert loss.metrics == pytest.approx(
        {
            "int/loss": 1.0,
            "int/nll_plain": 2.0,
            "int/prompt_gap": 1.25,
            "int/weight_mean": 1.0,
            "int/gate_frac": 0.25,
        }
    )
    assert float(loss.value) == pytest.approx(0.5)


def test_lambda_zero_leaves_the_metrics_and_no_gradient() -> None:
    batch, scores = example(int_scale=0.0)
    loss = SiriObjective()(batch, scores)
    loss.value.backward()
    assert scores.logprobs.grad is not None
    assert not scores.logprobs.grad[batch.int_mask].any()
    assert scores.logprobs.grad[batch.rl_mask].any()
    assert loss.metrics["int/nll_plain"] > 0
    assert loss.metrics["int/prompt_gap"] != 0


def test_without_a_kl_coefficient_the_reference_is_not_read() -> None:
    batch, scores = example()
    blind = replace(batch, reference_logprobs=torch.full_like(batch.old_logprobs, torch.nan))
    loss = SiriObjective(kl=0.0)(blind, scores)
    assert loss.value.isfinite()
    assert "kl/reference" not in loss.metrics


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_without_tokens_gives_zero(dtype: torch.dtype) -> None:
    batch, scores = example()
    nothing = torch.zeros_like(batch.rl_mask)
    empty = replace(batch, rl_mask=nothing, int_mask=nothing, rl_tokens=0.0, int_tokens=0.0)
    loss = SiriObjective()(empty, TokenScores(scores.logprobs.to(dtype), scores.entropy.to(dtype)))
    loss.value.backward()
    assert float(loss.value.detach()) == 0.0
    assert not any(loss.metrics.values())


def test_a_plain_function_is_a_term() -> None:
    batch, scores = example()
    surrogate = ClippedSurrogate()

    def mine(batch: TokenBatch, scores: TokenScores) -> siri.algos.Loss:
        return siri.algos.Loss(scores.logprobs.sum(), {"mine": 1.0})

    for both in (surrogate + mine, mine + surrogate):
        loss = both(batch, scores)
        torch.testing.assert_close(loss.value, surrogate(batch, scores).value + scores.logprobs.sum())
        assert loss.metrics["mine"] == 1.0


def test_mistakes_are_named() -> None:
    batch, scores = example()
    with pytest.raises(ConfigError, match="kl/reference"):
        (KLPenalty("k1") + KLPenalty("k3"))(batch, scores)
    with pytest.raises(ShapeError, match="advantages of shape"):
        replace(batch, advantages=batch.advantages[:, :2])
    with pytest.raises(ShapeError, match="rl_mask of dtype"):
        replace(batch, rl_mask=batch.advantages)
    with pytest.raises(ShapeError, match="expected rank 2"):
        TokenScores(scores.logprobs[0], scores.entropy[0])


def test_rows_keep_the_normalisers_and_to_moves_every_tensor() -> None:
    batch, _ = example()
    for part in (batch.rows([1, 2]), batch.rows(slice(1, 3)), batch.rows(torch.tensor([1, 2]))):
        assert part.input_ids.shape == (2, 5)
        assert part.rl_tokens == batch.rl_tokens
        assert torch.equal(part.weights, batch.weights[1:3])
    moved = batch.to("meta")
    assert moved.weights.device.type == "meta"
    assert moved.int_scale == batch.int_scale


def test_exports_exist() -> None:
    assert list(siri.algos.__all__) == sorted(siri.algos.__all__)
    for name in siri.algos.__all__:
        assert hasattr(siri.algos, name)


def test_the_package_needs_nothing_else_of_siri() -> None:
    code = "import sys, siri.algos; print(*[m for m in sys.modules if m.split('.')[0] == 'siri'])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    others = [name for name in loaded.split() if not name.startswith("siri.algos")]
    assert sorted(others) == ["siri", "siri.errors"]
