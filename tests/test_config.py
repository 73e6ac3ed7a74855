"""Configuration: presets, files, assignments, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from siri.config import PRESETS, RunConfig, load_config, parse_config, preset
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
    assert (c.warmup.successes, c.mining.every, c.mining.min_active, c.validation.n_eval) == (256, 10, 8, 8)
    assert (c.internalization.peak, c.internalization.warmup, c.internalization.max_weight) == (0.1, 20, 2.0)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert parse_config(PRESETS[name].model_dump(mode="json")) == PRESETS[name]


def test_file_then_assignments(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("rollout: {tasks: 3, group_size: 4}\nseed: 7\n")
    c = load_config(RunConfig(), file=file, assignments=["rollout.tasks=5", "env.kinds=[a, b]"])
    assert (c.rollout.tasks, c.rollout.group_size, c.seed, c.env.kinds) == (5, 4, 7, ("a", "b"))
    assert c.rollout.slots == RunConfig().rollout.slots


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("rollout.task=3", r"unknown setting 'rollout\.task'"),
        ("rollout.tasks=0", r"rollout\.tasks=0.*greater than or equal to 1"),
        ("optimizer.lr=fast", r"optimizer\.lr='fast'"),
        ("seed", "expected key=value"),
        ("seed=[", "expected a YAML value"),
    ],
)
def test_mistakes_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(RunConfig(), assignments=[assignment])


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(RunConfig(), file=tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_config(RunConfig(), file=tmp_path / "list.yaml")


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="got preset 'big'"):
        preset("big")


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        RunConfig().seed = 3
