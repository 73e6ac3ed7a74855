"""The world of tools: answers, states, the expert."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siri.envs.tools import KINDS, MULTI_HOP, Question, ToolExpert, ToolWorld, make_question, tools_suite
from siri.envs.tools.questions import ITEMS, UNSEEN_ITEMS
from siri.errors import ConfigError, EnvironmentFault
from siri.types import Task

TABLE = {"lamp": {"price": "12 coins", "weight": "3 pounds", "color": "red"}}
QUESTION = Question(
    "Question: What is the weight of the lamp in ounces ?",
    TABLE,
    "48",
    "ounces",
    ("query lamp weight", "convert 3 pounds ounces", "answer 48"),
)


def play(*commands: str, question: Question = QUESTION) -> list:
    env = ToolWorld()
    env.reset(options={"task": Task("t", "measure", "?", "train", question)})
    return [env.step(command) for command in commands]


def test_an_episode() -> None:
    said = play(*QUESTION.solution)
    assert [text for text, *_ in said] == ["3 pounds", "48 ounces", "Right."]
    assert [reward for _, reward, *_ in said] == [0, 0, 10]
    assert said[-1][2:4] == (True, False)
    assert said[-1][4]["success"]


@pytest.mark.parametrize("answer", ["48", "48 ounces", " 48.0 ", "48 ounces.", "48.00"])
def test_right_answers(answer: str) -> None:
    assert play(f"answer {answer}")[0][0] == "Right."


@pytest.mark.parametrize("answer", ["3", "48 pounds", "about 48", "nan", "inf", "lamp", "4 8"])
def test_wrong_answers_end_the_episode(answer: str) -> None:
    text, reward, terminated, truncated, info = play(f"answer {answer}")[0]
    assert (text, reward, terminated, truncated) == ("Wrong.", 0, True, False)
    assert not info["success"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("query lamp mass", "error: no column 'mass'; columns: price, weight, color"),
        ("query cup price", "error: no item 'cup'; items: lamp"),
        ("query lamp", "error: query takes an item and a column"),
        ("convert 3 pounds feet", "error: pounds do not convert to feet"),
        ("convert 3 pounds", "error: convert takes a value and two units"),
        ("calculator 1 / 0", "error: division by zero"),
        ("answer", "error: no tool 'answer'; tools: calculator, convert, query, answer"),
        ("", "error: no tool ''; tools: calculator, convert, query, answer"),
    ],
)
def test_errors_name_what_would_do(command: str, text: str) -> None:
    said, reward, terminated, _, info = play(command)[0]
    assert (said, reward, terminated) == (text, 0, False)
    assert not info["valid"]
    assert info["anchor"] == ()


def test_a_state_is_what_was_found_out() -> None:
    one = play("query lamp weight", "query lamp price")[-1][4]
    other = play("query lamp price", "query  lamp weight", "query lamp mass", "query lamp price")[-1][4]
    assert one["anchor"] == other["anchor"]
    assert set(one["admissible"]) == set(other["admissible"])
    assert "convert 3 pounds ounces" in one["admissible"]


@settings(max_examples=200, deadline=None)
@given(
    rng=st.randoms(use_true_random=False),
    kind=st.sampled_from(KINDS),
    items=st.sampled_from((ITEMS, UNSEEN_ITEMS)),
)
def test_the_expert_is_right_and_the_answer_is_not_in_the_question(rng, kind: str, items) -> None:
    question = make_question(rng, kind, items)
    said = play(*question.solution, question=question)
    assert all(info["valid"] for *_, info in said)
    assert said[-1][0] == "Right."
    assert len(question.solution) > 2 if kind in MULTI_HOP else len(question.solution) == 2
    if question.answer.isdigit():
        assert int(question.answer) <= 999
    last = said[-2][0].split()[0]
    assert kind == "compare" or last == question.answer


def test_splits_and_kinds() -> None:
    suite = tools_suite(train_tasks=64, valid_tasks=16)
    assert [task.kind for task in suite.split("train")[:8]] == list(KINDS)
    asked = {name for task in suite.split("valid_unseen") for name in task.source.table}
    assert asked <= set(UNSEEN_ITEMS)
    assert not asked & {name for task in suite.split("train") for name in task.source.table}
    assert suite.split("valid_seen") == tools_suite(train_tasks=8, valid_tasks=16).split("valid_seen")
    assert ToolExpert().demonstrate(Task("t", "k", "g", "train")) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "compact"}, "style 'compact'"),
        ({"style": "calls", "family": "gpt"}, "family 'gpt'"),
        ({"kinds": ["sum"]}, "kinds"),
        ({"train_tasks": 0}, "expected 1"),
        ({"kinds": ["convert"], "valid_tasks": 9999}, "different questions"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tools_suite(**settings).make_env()


def test_misuse() -> None:
    with pytest.raises(EnvironmentFault, match="before reset"):
        ToolWorld().step("answer 3")
    with pytest.raises(ConfigError, match="expected one of tools_suite"):
        ToolWorld().reset()
    env = ToolWorld(max_steps=1)
    env.reset(options={"task": Task("t", "measure", "?", "train", QUESTION)})
    assert env.step("look")[2:4] == (False, True)
    with pytest.raises(EnvironmentFault, match="after the end"):
        env.step("look")
