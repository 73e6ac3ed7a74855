"""Settings as people write them, in files and after ``--set``, and what is made of them."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.config import RunConfig, load_config
from siri.errors import ConfigError

BASE = RunConfig()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (b"optimizer:\n  lr: 1e-6\n", "optimizer.lr", 1e-6),
        (b"optimizer:\nrollout:\n  tasks: 4\n", "rollout.tasks", 4),
        (b"optimizer.lr: 1e-4\n", "optimizer.lr", 1e-4),
        (b"", "seed", 0),
        (b"# nothing\n", "seed", 0),
        (b"\xef\xbb\xbfseed: 5\n", "seed", 5),
        (b"seed: 5\r\nrollout:\r\n  tasks: 4\r\n", "rollout.tasks", 4),
        (b'{"seed": 5}', "seed", 5),
        (b"max_env_steps: 1e6\n", "max_env_steps", 1_000_000),
        (b"mining:\n  capacity: None\n", "mining.capacity", None),
        (b"rollout:\n  tasks: '16'\n", "rollout.tasks", 16),
        (b"checkpoint:\n  best: on\n", "checkpoint.best", True),
    ],
)
def test_a_file_means_what_it_says(tmp_path: Path, text: bytes, path: str, value: object) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(text)
    assert attrgetter(path)(load_config(BASE, file=file)) == value


BOMB = b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"seed: 1\nseed: 2\n", "'seed' twice in line 2"),
        (b"rollout:\n  tasks: 4\nseed: 1\nrollout:\n  slots: 4\n", "'rollout' twice"),
        (b"seed: 010\n", "number was expected"),
        (b"seed: yes\n", "number was expected"),
        (b"seed: true\n", "number was expected"),
        (b"optimizer:\n  lr: true\n", "number was expected"),
        (b"rollout:\n  timeout: 1:30\n", "number was expected"),
        (b"optimizer:\n  lr: .inf\n", "finite"),
        (b"optimizer:\n  lr: 1e300\n", "less than or equal"),
        (b"rollout:\n  tasks: 100000000000\n", "less than or equal"),
        (b"rollout:\n  tasks: " + b"9" * 5000, "5,000 digits"),
        (b"seed: 1\n---\nseed: 2\n", "another document"),
        (b"a: *b\n", "alias"),
        (BOMB, "anchor"),
        (b"seed: !!python/object/apply:os.system ['true']\n", "tag"),
        (b"[" * 3000, "nesting"),
        (b"- a\n", "mapping of sections"),
        (b"1: 2\n", "not a word"),
        ("seed: 5\n".encode("utf-16"), "UTF-8"),
        ("# größe\n".encode("latin-1"), "UTF-8"),
        (b"rollout:\n  taks: 4\n", r"did you mean 'rollout\.tasks'"),
        (b"tasks: 4\n", r"did you mean 'rollout\.tasks'"),
        (b"rollout: 4\n", "should be an object"),
        (b"evaluation:\n  splits: valid_seen\n", r"fix: evaluation\.splits=\[valid_seen\]"),
        (b"rollout:\n  tasks: {a: {b: 1}}\n", "rollout.tasks"),
    ],
)
def test_what_is_not_meant_is_one_sentence(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_config(BASE, file=file)
    assert len(str(error.value)) <= 300
    assert "\n" not in str(error.value)
    assert "fix: " in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["seed=1", "seed=2"], "'seed' twice"),
        (["rollout={tasks: 4, slots: 2}", "rollout.tasks=5"], "'rollout.tasks' twice"),
        (["=3"], "key=value"),
        (["seed"], "key=value"),
        (["seed=010"], "number was expected"),
        (["rollout.tasks="], "integer"),
        (["rollout.tasks.more=3"], "rollout.tasks"),
        (["..=3"], "unknown setting"),
        ([f"seed={'[' * 4000}"], "nesting"),
        ([f"{'a' * 5000}=1"], "unknown setting"),
    ],
)
def test_assignments_are_read_as_strictly(assignments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load_config(BASE, assignments=assignments)
    assert len(str(error.value)) <= 300


def test_a_section_may_be_given_in_parts() -> None:
    found = load_config(BASE, assignments=["rollout={slots: 2}", "rollout={tasks: 4}", "rollout.timeout=3"])
    assert (found.rollout.slots, found.rollout.tasks, found.rollout.timeout) == (2, 4, 3)


def test_spaces_around_the_sign_are_fine() -> None:
    assert load_config(BASE, assignments=["rollout.tasks = 4"]).rollout.tasks == 4


def test_a_missing_file_and_a_folder_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(BASE, file=path)


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))
paths = st.sampled_from(["seed", "rollout.tasks", "optimizer.lr", "env.kinds", "validation.rule", "lora"])


@given(paths, values)
def test_any_value_is_taken_or_refused_in_a_sentence(path: str, value: Any) -> None:
    try:
        load_config(BASE, changes={path: value})
    except ConfigError as error:
        assert len(str(error)) <= 300  # noqa: PT017
