"""A slip in a model's name is told at once, without a hub; a hub that does not answer is asked once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

import siri.policies.hub as hub
from siri.errors import ConfigError
from siri.policies import HFPolicy
from siri.policies.hub import on_hand
from siri.runs.planning import shape_of
from tests.zoo import make


class Asked:
    """Stands for the hub's client; counts."""

    def __init__(self, answer: Exception | None) -> None:
        self.answer, self.count = answer, 0

    def __call__(self, *_: Any, timeout: float, **__: Any) -> str:
        self.count += 1
        assert timeout <= 5
        if self.answer is not None:
            raise self.answer
        return "found"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked(OSError("no route to host"))
    monkeypatch.setattr(HfApi, "model_info", found)
    return found


@pytest.mark.parametrize(
    ("word", "meant"), [("tinny", "tiny"), ("smolm2", "smollm2"), ("SmolLM", "smollm2"), ("TINY", "tiny")]
)
def test_a_word_that_is_nearly_a_known_name_says_which(asked: Asked, word: str, meant: str) -> None:
    for ask in (on_hand, HFPolicy.load, shape_of):
        with pytest.raises(ConfigError, match=f"did you mean '{meant}'\\?"):
            ask(word)
    assert asked.count == 0


def test_another_word_is_refused_without_a_hub(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="OWNER/NAME of the Hub; fix: its path"):
        on_hand("xqzw")
    assert asked.count == 0


def test_a_hub_that_does_not_answer_is_asked_once(asked: Asked) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match="a hub that does not answer") as caught:
        HFPolicy.load("some/typo")
    assert time.monotonic() - began < 5
    assert asked.count == 1
    assert len(str(caught.value)) <= 300


def test_what_the_hub_does_not_have_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    monkeypatch.setattr(HfApi, "model_info", Asked(unknown))
    with pytest.raises(ConfigError, match="does not have or does not show"):
        on_hand("some/typo")
    with pytest.raises(ConfigError, match=r"does not have or does not show|does not answer"):
        on_hand("some/ty po")


def test_a_model_that_the_hub_has_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "model_info", Asked(None))
    assert on_hand("owner/name") == "owner/name"


def test_without_a_network_the_copy_in_the_cache_is_taken(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("qwen25", tmp_path)
    monkeypatch.setattr(hub, "_cached", lambda name: str(folder) if name in ("owner/name", "old") else None)
    assert on_hand("owner/name") == str(folder)
    assert HFPolicy.load("old", slots=2).slots == 2
    assert on_hand(str(folder)) == str(folder)
