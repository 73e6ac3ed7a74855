"""The laws of advantages and losses: siri's own keep them, and each defect is named."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from siri import algos
from siri.algos import SiriObjective, needs_reference
from siri.errors import ConfigError, ContractBroken
from siri.testing import check_advantages, check_loss, check_objective

few = 8


@pytest.mark.parametrize(
    ("function", "without"),
    [
        (algos.episode_advantages, ()),
        (partial(algos.episode_advantages, statistics="per_trajectory", normalize="mean"), ()),
        (algos.step_advantages, ()),
        (algos.gigpo_advantages, ()),
        (partial(algos.gigpo_advantages, normalize="mean", omega=0.5), ()),
        (algos.grpo_advantages, ()),
        (algos.dr_grpo_advantages, ()),
        (algos.rloo_advantages, ()),
    ],
)
def test_our_advantages(function, without) -> None:
    check_advantages(function, examples=few, without=without)


@pytest.mark.parametrize(
    ("function", "without"),
    [
        (algos.clipped_surrogate, ()),
        (partial(algos.clipped_surrogate, ratio="sequence"), ()),
        (algos.kl_divergence, ()),
        (partial(algos.kl_divergence, estimator="k2"), ()),
        (algos.mean_entropy, ()),
        (algos.cross_entropy, ()),
        (algos.internalization_loss, ()),
        (algos.reverse_kl_distillation, ()),
        (algos.gated_distillation, ()),
        (algos.importance_distillation, ()),
        (algos.view_distillation, ()),
        (partial(algos.view_distillation, sharpness=5.0), ()),
    ],
)
def test_our_losses(function, without) -> None:
    check_loss(function, examples=few, without=without)


def test_our_sequence_means() -> None:
    surrogate = algos.ClippedSurrogate(aggregation="sequence", ratio="sequence")
    check_objective(surrogate, examples=few)


def surrogate(logprobs: Tensor, *, advantages: Tensor, mask: Tensor, normalizer: float) -> Tensor:
    """Sound: REINFORCE."""
    return -(logprobs * advantages.detach() * mask).float().sum() / max(normalizer, 1.0)


def test_a_sound_loss_passes() -> None:
    check_loss(surrogate)


# One test for each defect of the list that these checks were written against.


def test_a_flipped_sign_is_named() -> None:
    def flipped(logprobs, *, advantages, mask, normalizer):
        return -surrogate(logprobs, advantages=advantages, mask=mask, normalizer=normalizer)

    with pytest.raises(
        ContractBroken, match="law 'direction' is broken: got flipped where raising advantages"
    ):
        check_loss(flipped)


def clipped(logprobs, *, old_logprobs, advantages, mask, normalizer, worst=torch.minimum):
    """PPO's surrogate; sound with the minimum."""
    ratio = (logprobs.float() - old_logprobs.float().detach()).clamp(-20, 20).exp()
    gain = advantages.float().detach()
    value = worst(ratio * gain, ratio.clamp(0.8, 1.2) * gain)
    return -(value * mask).sum() / max(normalizer, 1.0)


def test_a_clip_with_minimum_and_maximum_swapped_is_named() -> None:
    check_loss(partial(clipped), without={"finite"})
    with pytest.raises(ContractBroken, match="law 'off_policy' is broken: got clipped where the advantage"):
        check_loss(partial(clipped, worst=torch.maximum), without={"finite"})


def test_a_reference_that_is_read_without_a_word_is_named() -> None:
    def around(batch, scores):
        return SiriObjective(kl=0.01)(batch, scores)

    with pytest.raises(ContractBroken, match="law 'reference' is broken: got around where"):
        check_objective(around, examples=5)
    check_objective(needs_reference(around), examples=5)


def test_a_mean_over_padding_is_named() -> None:
    def padded(logprobs, *, advantages, mask, normalizer):
        return -(logprobs * advantages.detach() * mask).mean()

    with pytest.raises(ContractBroken, match="law 'padding' is broken: got padded where two padded columns"):
        check_loss(padded)


def test_weights_that_are_not_detached_are_named() -> None:
    def attached(logprobs, *, weights, mask, normalizer):
        return -(logprobs * weights * mask).float().sum() / max(normalizer, 1.0)

    with pytest.raises(
        ContractBroken, match=r"law 'constants' is broken: got attached where the gradient by wei"
    ):
        check_loss(attached)


def test_a_deviation_over_the_wrong_axis_is_named() -> None:
    def batchwide(rewards, *, group, episode):
        scores = algos.grpo_advantages(rewards, group=group, episode=episode, normalize="mean")
        return (scores / (scores.std(correction=0) + 1e-6)).detach()

    with pytest.raises(
        ContractBroken, match="law 'group_independence' is broken: got batchwide where taking"
    ):
        check_advantages(batchwide)


def test_a_mean_over_each_micro_batch_is_named() -> None:
    def partwise(logprobs, *, advantages, mask):
        return -(logprobs * advantages.detach() * mask).float().sum() / mask.sum().clamp(min=1)

    with pytest.raises(ContractBroken, match="law 'micro_batch' is broken: got partwise where splitting"):
        check_loss(partwise)


def advantages(rewards: Tensor, *, group: Tensor, episode: Tensor) -> Tensor:
    return algos.rloo_advantages(rewards, group=group, episode=episode)


def nanny(rewards, *, group, episode):
    """Divides by a deviation that may be 0."""
    scores = advantages(rewards, group=group, episode=episode)
    return scores / torch.stack([scores[group == g].std(correction=0) for g in group])


def late(rewards, *, group, episode):
    return advantages(rewards, group=group, episode=episode) * torch.arange(len(rewards)).flip(0)


def labelled(rewards, *, group, episode):
    return advantages(rewards, group=group, episode=episode) * (1 + group)


def raw(rewards, *, group, episode):
    return rewards.detach() * torch.stack([(group == g).sum() > 1 for g in group])


def unbaselined(rewards, *, group, episode):
    got = advantages(rewards, group=group, episode=episode)
    alone = torch.tensor([len(episode[group == g].unique()) == 1 for g in group])
    return torch.where(alone, rewards.detach(), got)


def squared(rewards, *, group, episode):
    got = advantages(rewards, group=group, episode=episode)
    return got * got.abs()


def lifted(rewards, *, group, episode):
    got = advantages(rewards, group=group, episode=episode)
    return torch.where(got > 0, 2 * got, got)


@pytest.mark.parametrize(
    ("function", "law"),
    [
        (lambda rewards, *, group: rewards[:-1], "shape"),
        (lambda rewards, *, group: rewards.mul_(1.5), "purity"),
        (nanny, "finite"),
        (lambda rewards, *, group: rewards - rewards, "constant"),
        (late, "permutation"),
        (labelled, "relabelling"),
        (raw, "equal_returns"),
        (unbaselined, "singleton"),
        (lambda rewards, *, group, episode: -advantages(rewards, group=group, episode=episode), "order"),
        (squared, "scale"),
        (lifted, "zero_mean"),
        (
            lambda rewards, *, group, episode: advantages(rewards, group=group, episode=episode).float(),
            "dtype",
        ),
    ],
)
def test_advantages_that_break_a_law(function, law: str) -> None:
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken") as caught:
        check_advantages(function, examples=20)
    assert law == "shape" or "the turns rewards=" in str(caught.value)


def exploding(logprobs, *, old_logprobs, mask, normalizer):
    return ((logprobs - old_logprobs).exp() * mask).float().sum() / max(normalizer, 1.0)


def hollow(logprobs, *, mask, normalizer):
    return (logprobs * mask).float().sum() / normalizer if normalizer else logprobs.sum() * float("nan")


def leaky(logprobs, *, mask, normalizer):
    return (logprobs * (mask + 0.01 * mask.any())).float().sum() / max(normalizer, 1.0)


def ordered(logprobs, *, mask, normalizer):
    rows = 1 + torch.arange(len(mask))[:, None]
    return (logprobs * mask * rows).float().sum() / max(normalizer, 1.0)


def narrow(logprobs, *, mask, normalizer):
    return ((logprobs * 100).round() * mask + 0 * logprobs).sum() / max(normalizer, 1.0) + len(
        str(logprobs.dtype)
    ) * mask.any()


@pytest.mark.parametrize(
    ("function", "law"),
    [
        (lambda logprobs, *, mask: logprobs, "loss"),
        (lambda logprobs, *, mask: mask.logical_not_().sum() * 1.0, "purity"),
        (exploding, "finite"),
        (hollow, "empty"),
        (leaky, "masked_tokens"),
        (ordered, "permutation"),
        (narrow, "dtype"),
    ],
)
def test_losses_that_break_a_law(function, law: str) -> None:
    without = {"micro_batch"} if law == "dtype" else set()
    with pytest.raises(ContractBroken, match=f"law '{law}' is broken") as caught:
        check_loss(function, without=without)
    assert "the batch [" in str(caught.value)


def test_the_smallest_counterexample_is_shown() -> None:
    def padded(logprobs, *, advantages, mask, normalizer):
        return -(logprobs * advantages.detach() * mask).mean()

    with pytest.raises(ContractBroken) as caught:
        check_loss(padded)
    assert "on the batch ['.b']" in str(caught.value)


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(ConfigError, match=r"needs \['bonus'\]"):
        check_loss(lambda logprobs, bonus: logprobs.sum())
    with pytest.raises(ConfigError, match=r"needs \['invalid'\]"):
        check_advantages(lambda rewards, *, group, invalid: rewards)
