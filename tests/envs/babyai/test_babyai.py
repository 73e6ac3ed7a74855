"""BabyAI in words: what is seen, what is admissible, what ends an episode."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("minigrid", reason="needs the extra babyai")

import numpy

from siri.envs.babyai import COMMANDS, LEVELS, BabyAI, BotExpert, Layout, babyai_suite, describe
from siri.errors import ConfigError, EnvironmentFault, MissingExtra
from siri.types import Task


def task(level: str = "BabyAI-GoToLocal-v0", seed: int = 0) -> Task:
    return Task("t", "go to", "?", "train", Layout(level, seed))


def view(*things: tuple[int, int, int, int, int]) -> str:
    """What is seen with things of (steps right, steps forward, type, color, state)."""
    image = numpy.zeros((7, 7, 3), dtype=numpy.uint8)
    for right, forward, *cell in things:
        image[3 + right, 6 - forward] = cell
    return describe(image, None)


def test_places_in_words() -> None:
    assert view() == "You see nothing. You carry nothing."
    assert view((0, 2, 6, 0, 0)) == "You see a red ball 2 steps forward. You carry nothing."
    assert view((-1, 0, 5, 5, 0), (2, 3, 4, 3, 2)) == (
        "You see a grey key 1 step left, a locked purple door 3 steps forward and 2 steps right. "
        "You carry nothing."
    )
    assert view((0, 1, 2, 5, 0), (-2, 0, 2, 5, 0), (3, 0, 2, 5, 0)) == (
        "You see a wall 1 step forward, a wall 2 steps left, a wall 3 steps right. You carry nothing."
    )


def test_what_is_held_is_told_and_not_seen() -> None:
    env = BabyAI()
    for seed in range(20):
        env.reset(options={"task": task("BabyAI-PutNextLocal-v0", seed)})
        for command in BotExpert().demonstrate(task("BabyAI-PutNextLocal-v0", seed)) or ():
            text, *_ = env.step(command)
            if command == "pick up":
                assert f"You carry a {env.grid.carrying.color} {env.grid.carrying.type}." in text
                assert "0 step" not in text
                return
    pytest.fail("nobody picked anything up")


@pytest.mark.parametrize("level", sorted(LEVELS.values()))
def test_admissible_commands_change_the_state_and_no_others_do(level: str) -> None:
    env = BabyAI()
    for seed in range(6):
        commands = BotExpert().demonstrate(task(level, seed)) or []
        for length in range(0, len(commands), 3):
            for command in COMMANDS:
                _, info = env.reset(options={"task": task(level, seed)})
                for before in commands[:length]:
                    *_, info = env.step(before)
                *_, after = env.step(command)
                changed = info["anchor"][0] != after["anchor"][0]
                assert changed == (command in info["admissible"]) == after["valid"], (command, length)


def test_equal_states_look_the_same() -> None:
    env = BabyAI()
    text, info = env.reset(options={"task": task()})
    for _ in range(4):
        again, *_, turned = env.step("turn left")
    assert turned["anchor"] == info["anchor"]
    assert text.endswith(again)


def test_refused_words() -> None:
    env = BabyAI(max_steps=2)
    env.reset(options={"task": task()})
    text, reward, terminated, truncated, info = env.step("fly")
    assert text.startswith("Nothing happens. You see ")
    assert (reward, terminated, truncated, info["valid"]) == (0, False, False, False)
    assert env.step("")[3]
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("drop")


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    suite = babyai_suite(train_tasks=20, valid_tasks=10)
    for one in suite.split("train"):
        assert suite.expert is not None
        suite.expert.demonstrate(one)
    assert capsys.readouterr().out == ""


def test_the_unseen_missions_are_purple() -> None:
    suite = babyai_suite(train_tasks=40, valid_tasks=10)
    assert all("purple" in one.goal for one in suite.split("valid_unseen"))
    assert not any("purple" in one.goal for one in (*suite.split("train"), *suite.split("valid_seen")))
    assert [one.kind for one in suite.split("train")[:5]] == list(LEVELS)
    assert suite.split("valid_seen") == babyai_suite(train_tasks=5, valid_tasks=10).split("valid_seen")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "compact"}, "style 'compact'"),
        ({"levels": "huge"}, "levels 'huge'"),
        ({"kinds": ["fly"]}, "kinds"),
        ({"valid_tasks": 0}, "expected 1"),
        ({"levels": {"x": "MiniGrid-Empty-5x5-v0"}}, "level"),
        ({"levels": {"x": "BabyAI-GoToRedBall-v0"}}, "no further mission"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        babyai_suite(**{"train_tasks": 4, "valid_tasks": 2, "kinds": None} | settings)
    with pytest.raises(ConfigError, match="expected one of babyai_suite"):
        BabyAI().reset()
    with pytest.raises(ConfigError, match="max_steps"):
        BabyAI(max_steps=0)


def test_without_minigrid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(MissingExtra, match=r"siri-rl\[babyai\]"):
        babyai_suite()
