"""Every public function refuses every tensor that is wrong, in one sentence that names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from siri import algos
from siri.errors import ConfigError, ShapeError

N = 4
ids = torch.arange(N)
flags = torch.ones(N, dtype=torch.bool)
rewards = torch.ones(N)
labels: dict[str, Tensor] = {"group": ids, "episode": ids}
fined: dict[str, Tensor] = {**labels, "invalid": flags}
logp = torch.zeros(2, 3)
mask = torch.ones(2, 3, dtype=torch.bool)
gate: dict[str, Tensor] = {"used": mask, "utility": logp, "action_mask": mask}

tokens: dict[str, Tensor] = {"gap": rewards, "turn": torch.arange(N), "known": flags}

ROWS: dict[str, dict[str, Tensor]] = {
    "discounted_returns": {"rewards": rewards, "episode": ids},
    "episode_advantages": {"scores": rewards, **labels, "baseline": flags},
    "step_advantages": {"returns": rewards, "group": ids, "anchor": ids},
    "gigpo_advantages": {"rewards": rewards, **fined, "anchor": ids, "baseline": flags},
    "grpo_advantages": {"rewards": rewards, **fined},
    "dr_grpo_advantages": {"rewards": rewards, **fined},
    "rloo_advantages": {"rewards": rewards, **fined},
    "writer_advantages": {"rewards": rewards, "group": ids},
    "treatment_utility": {"success": flags, "group": ids, "skill": flags},
    "similarity_anchors": {"features": logp.new_ones(N, 2), "group": ids},
}
CREDIT: dict[str, dict[str, Tensor]] = {
    "rlsd_credit": {"advantages": rewards, **tokens},
    "grsd_credit": {"advantages": rewards, **tokens, "group": ids, "success": flags},
    "agent_opsd_credit": {"advantages": rewards, **tokens, **labels, "prior": rewards},
    "opid_credit": {"advantages": rewards, "gap": rewards, "turn": tokens["turn"]},
}
"""One token a turn."""
ROWS |= CREDIT
TOKENS: dict[str, dict[str, Tensor]] = {
    "clipped_surrogate": {
        "logprobs": logp, "old_logprobs": logp, "advantages": logp, "mask": mask, "importance": logp,
    },
    "mismatch_weights": {"old_logprobs": logp, "rollout_logprobs": logp, "mask": mask},
    "kl_divergence": {"logprobs": logp, "reference": logp, "mask": mask},
    "mean_entropy": {"entropy": logp, "mask": mask},
    "cross_entropy": {"logprobs": logp, "mask": mask},
    "reverse_kl_distillation": {"logprobs": logp, "teacher": logp, "mask": mask},
    "gated_distillation": {"logprobs": logp, "teacher": logp, "mask": mask},
    "importance_distillation": {"logprobs": logp, "teacher": logp, "old_logprobs": logp, "mask": mask},
    "view_distillation": {"logprobs": logp, "teacher": logp, "weights": logp, "mask": mask},
    "top_k_divergence": {"student": logp, "teacher": logp},
    "view_divergence": {"student": logp, "teacher": logp, "weights": logp[:, 0], "gap": logp[:, 0]},
    "internalization_gate": gate,
    "internalization_weights": {"advantages": logp, **gate},
    "internalization_loss": {
        "plain_logprobs": logp, "weights": logp, "response_mask": mask, "gate": mask, "old_logprobs": logp,
    },
}  # fmt: skip
PLAIN = {
    "kl_estimate": {"logprobs": logp, "reference": logp},
    "masked_sum": {"values": logp, "mask": mask},
    "masked_mean": {"values": logp, "mask": mask},
}
OTHERS: dict[str, dict[str, Any]] = {
    "discounted_returns": {"gamma": 0.9},
    "internalization_loss": {"token_clip": 0.2},
}
ALL = {**ROWS, **TOKENS, **PLAIN}


def call(name: str, tensors: dict[str, Tensor], **options: Any) -> None:
    first, *others = tensors
    function: Callable[..., Any] = getattr(algos, name)
    rest = {key: tensors[key] for key in others}
    if name in ("masked_sum", "masked_mean"):
        function(tensors[first], rest["mask"])
    else:
        function(tensors[first], **rest, **{**OTHERS.get(name, {}), **options})


def damaged(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Wrong length, wrong rank, wrong dtype."""
    yield "length", tensor[:-1]
    yield "rank", tensor[None]
    yield "dtype", tensor.to(torch.complex64)


def _cases() -> Iterator[Any]:
    for name, tensors in ALL.items():
        for argument, tensor in tensors.items():
            for defect, bad in damaged(tensor):
                yield pytest.param(name, argument, bad, id=f"{name}-{argument}-{defect}")


@pytest.mark.parametrize("name", ALL)
def test_good_input_passes(name: str) -> None:
    call(name, ALL[name])


@pytest.mark.parametrize(("name", "argument", "bad"), list(_cases()))
def test_one_wrong_tensor_is_refused(name: str, argument: str, bad: Tensor) -> None:
    named = f"{argument} of dtype" if bad.dtype is torch.complex64 else ""
    with pytest.raises(ShapeError, match=rf"got .*{named}.*expected .*; fix: "):
        call(name, {**ALL[name], argument: bad})


@pytest.mark.parametrize("name", TOKENS)
def test_all_of_a_wrong_rank_are_refused(name: str) -> None:
    flat = {key: tensor[0] for key, tensor in TOKENS[name].items()}
    with pytest.raises(ShapeError, match="expected"):
        call(name, flat)


@pytest.mark.parametrize("name", ROWS)
def test_negative_labels_and_wrong_numbers_are_refused(name: str) -> None:
    tensors = ROWS[name]
    for label in ("group", "episode", "anchor"):
        if label in tensors:
            with pytest.raises(ShapeError, match=f"got {label} = -1, expected labels of 0 or more"):
                call(name, {**tensors, label: ids - 1})
    first = next(iter(tensors))
    if tensors[first].is_floating_point():
        for value in (torch.nan, torch.inf):
            wrong = tensors[first].clone()
            wrong[-1] = value
            with pytest.raises(ShapeError, match=r"expected (finite )?numbers"):
                call(name, {**tensors, first: wrong})
        with pytest.raises(ShapeError, match=r"at least one|expected equally many"):
            call(name, {key: tensor[:0] for key, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("discounted_returns", "gamma", -0.1),
        ("gigpo_advantages", "gamma", 1.1),
        ("gigpo_advantages", "normalize", "std"),
        ("gigpo_advantages", "failed_groups", "ignored"),
        ("gigpo_advantages", "max_return", 0.0),
        ("gigpo_advantages", "statistics", "per_token"),
        ("episode_advantages", "statistics", "per_token"),
        ("grpo_advantages", "statistics", "per_token"),
        ("step_advantages", "normalize", "std"),
        ("similarity_anchors", "threshold", -0.1),
        ("treatment_utility", "level", "skill"),
        ("clipped_surrogate", "clip_low", 1.1),
        ("clipped_surrogate", "clip_low", -0.1),
        ("clipped_surrogate", "clip_high", -0.1),
        ("clipped_surrogate", "dual_clip", 1.0),
        ("clipped_surrogate", "ratio", "turn"),
        ("clipped_surrogate", "aggregation", "turn"),
        ("mismatch_weights", "limit", 0.0),
        ("mismatch_weights", "unit", "word"),
        ("mismatch_weights", "outside", "drop"),
        ("kl_divergence", "estimator", "k4"),
        ("kl_estimate", "estimator", "k4"),
        ("gated_distillation", "gate", "relu"),
        ("gated_distillation", "sharpness", -1.0),
        ("internalization_weights", "max_weight", 0.0),
        ("view_distillation", "sharpness", -1.0),
        ("rlsd_credit", "strength", 1.5),
        ("rlsd_credit", "level", "episode"),
        ("grsd_credit", "cap", -0.1),
        ("agent_opsd_credit", "band", 2.0),
        ("opid_credit", "weight", -0.001),
        ("view_divergence", "sharpness", -1.0),
        ("writer_advantages", "limit", 0.0),
        ("internalization_loss", "token_clip", -0.1),
    ],
)
def test_an_option_out_of_range_is_refused(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"got .*{option}=.*expected .*; fix: "):
        call(name, ALL[name], **{option: value})


def test_the_table_is_complete() -> None:
    """A new public function must come with its cases."""
    functions = {n for n in algos.__all__ if n[0].islower()}
    assert functions == {
        *ALL,
        "labels",
        "needs_reference",
        "spread",
        "token_entropy",
        "linear_warmup",
        "linear_decay",
        "cosine_decay",
    }


@pytest.mark.parametrize("schedule", [algos.linear_warmup, algos.linear_decay, algos.cosine_decay])
def test_a_schedule_needs_a_length(schedule: Callable[..., float]) -> None:
    with pytest.raises(ConfigError, match="got length=0, expected at least 1"):
        schedule(3, length=0)


@pytest.mark.parametrize("logits", [torch.zeros(()), torch.zeros(2, 0)])
def test_entropy_needs_a_vocabulary(logits: Tensor) -> None:
    with pytest.raises(ShapeError, match="got logits of shape"):
        algos.token_entropy(logits)


DEFAULTS = {
    "normalize": "mean_std",
    "statistics": "per_turn",
    "max_return": 10.0,
    "omega": 1.0,
    "invalid_penalty": 0.1,
    "clip_low": 0.2,
    "failed_groups": "bounded",
    "clip_high": 0.2,
    "dual_clip": 3.0,
    "ratio": "token",
    "aggregation": "token",
    "estimator": "k3",
    "gate": ("sigmoid", None),
    "sharpness": (1.0, None),
    "floor": (0.02, 1e-3, 0.05),
    "max_weight": 2.0,
    "level": ("episode", "token"),
    "strength": 0.5,
    "band": 0.2,
    "cap": 0.2,
    "weight": 0.001,
    "threshold": 0.95,
    "limit": (2.0, None),
    "unit": "token",
    "outside": "truncate",
    "gamma": 0.95,
    "start": 0,
    "length": (20, 100),
    "peak": 0.1,
    "end": 0.0,
}
"""The documented defaults (docs/reference/algorithms.md); None everywhere else."""


def test_defaults_are_the_documented_ones() -> None:
    for name in algos.__all__:
        if name[0].islower():
            for option in inspect.signature(getattr(algos, name)).parameters.values():
                if option.default is not inspect.Parameter.empty:
                    want = DEFAULTS.get(option.name)
                    assert option.default in (want if isinstance(want, tuple) else (want,)), (name, option)


def test_a_list_in_place_of_a_tensor_is_refused_with_what_makes_one() -> None:
    rewards, rows = (
        torch.tensor([0.0, 1.0]),
        {"group": algos.labels(["a", "a"]), "episode": algos.labels(["x", "y"])},
    )
    with pytest.raises(ShapeError, match=r"got rewards as list.*torch.as_tensor\(rewards\)"):
        algos.grpo_advantages([0.0, 1.0], **rows)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"got group as list.*siri.labels\(group\)"):
        algos.grpo_advantages(rewards, **{**rows, "group": ["a", "a"]})  # type: ignore[arg-type]
