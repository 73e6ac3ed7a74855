"""Configuration: files, assignments, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from siri.config import RunConfig, differences, load_config
from siri.errors import ConfigError


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
        ("seed=[", "that cannot be read"),
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


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        RunConfig().seed = 3


def test_a_mapping_changes_sections_and_dotted_paths() -> None:
    c = load_config(RunConfig(), changes={"rollout": {"tasks": 3}, "mining.every": 4, "seed": 2})
    assert (c.rollout.tasks, c.mining.every, c.seed) == (3, 4, 2)
    assert c.rollout.slots == RunConfig().rollout.slots
    with pytest.raises(ConfigError, match=r"unknown setting 'mining\.evry'"):
        load_config(RunConfig(), changes={"mining.evry": 4})


def test_differences_name_the_settings_that_differ() -> None:
    a = RunConfig()
    b = load_config(a, changes={"rollout.tasks": 3, "seed": 7})
    assert differences([a, b, a]) == {"seed": (0, 7, 0), "rollout.tasks": (16, 3, 16)}
    assert differences([a, a]) == {}
