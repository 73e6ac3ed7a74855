"""The library says arguments, the command line options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import siri
from siri.cli.words import in_options


@pytest.mark.parametrize(
    ("python", "shown"),
    [
        (
            "got miner='magic', expected 'self'; fix: choose one",
            "got --miner 'magic', expected 'self'; fix: choose one",
        ),
        ("got x; fix: engine='vllm'", "got x; fix: --engine 'vllm'"),
        (
            "a; fix: another out=, or resume=True to continue it",
            "a; fix: another --out, or --resume to continue it",
        ),
        ("a; fix: lora.rank=R", "a; fix: --set lora.rank=R"),
        ("got rollout.tasks=0: too few; fix: change it", "got rollout.tasks=0: too few; fix: change it"),
        ("got env.style='x'", "got env.style='x'"),
        ("got timeout=3", "got timeout=3"),
    ],
)
def test_arguments_become_options(python: str, shown: str) -> None:
    assert in_options(python) == shown


def test_no_message_of_the_library_names_an_option_of_siri() -> None:
    own = {
        "--out",
        "--resume",
        "--engine",
        "--miner",
        "--skills",
        "--set",
        "--policy",
        "--openai-model",
        "--env",
    }
    root = Path(siri.__file__).parent
    found = {
        f"{path.relative_to(root)}: {option}"
        for path in root.rglob("*.py")
        if path.parent.name != "cli"
        for option in re.findall(r"--[a-z][a-z-]*", "".join(re.findall(r'"[^"\n]*"', path.read_text())))
        if option in own
    }
    assert found == set()
