"""Presets: the paper's numbers, plain data, and names that do not exist."""

from __future__ import annotations

import pytest

import siri
from siri.config import load_config, parse_config
from siri.config.presets import PRESETS, preset, usual_recipe
from siri.errors import ConfigError


def test_paper_preset_is_the_method_page() -> None:
    c = preset("alfworld-paper")
    assert (c.rollout.tasks, c.rollout.group_size, c.env.max_steps, c.env.history) == (16, 8, 50, 2)
    assert (c.optimizer.lr, c.optimizer.kl, c.optimizer.entropy, c.optimizer.clip_low) == (
        1e-6,
        0.01,
        0.001,
        0.2,
    )
    assert (c.optimizer.batch_turns, c.advantage.normalize) == (256, "mean_std")
    shop = preset("paper", "webshop")
    assert (shop.optimizer.batch_turns, shop.advantage.normalize, shop.env.max_steps) == (64, "mean", 15)
    assert (c.checkpoint.every, c.checkpoint.keep, c.checkpoint.best) == (10, 1, "weights")
    assert (c.warmup.successes, c.mining.every, c.mining.min_active, c.validation.n_eval) == (256, 10, 8, 8)
    assert (c.internalization.peak, c.internalization.warmup, c.internalization.max_weight) == (0.1, 20, 2.0)


def test_one_preset_has_a_recipe() -> None:
    assert usual_recipe("embedded") == usual_recipe("alfworld-embedded") == "siri_both"
    others = [
        ("smoke", "alfworld"),
        ("embedded", "webshop"),
        ("embedded", "own:world"),
        ("paper", "alfworld"),
    ]
    assert {usual_recipe(*other) for other in others} == {None}
    assert (preset("embedded").max_env_steps, preset("embedded", "own:world").max_env_steps) == (50_000, None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert parse_config(PRESETS[name].model_dump(mode="json")) == PRESETS[name]


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="got preset 'big'"):
        preset("big")


def test_a_mistyped_preset_is_told_its_neighbour_in_a_short_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'embedded'") as caught:
        preset("embeded", "webshop")
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize(
    ("changes", "recomputes", "limit"),
    [
        ({}, False, None),
        ({"rollout.dtype": "bfloat16"}, True, 2.0),
        ({"optimizer.precision": "bfloat16"}, True, 2.0),
        ({"rollout.dtype": "bfloat16", "optimizer.importance_limit": 5.0}, True, 5.0),
        ({"optimizer.recompute": True}, True, None),
    ],
)
def test_where_something_rounds_recompute_and_limit_follow(
    changes: dict[str, object], recomputes: bool, limit: float | None
) -> None:
    config = load_config(preset("embedded"), changes=changes)
    assert config.recomputes is recomputes
    assert config.importance_limit == limit
    assert siri.objective(config).importance_limit == limit
