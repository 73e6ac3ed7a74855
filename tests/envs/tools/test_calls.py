"""Calls as model families write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.tools import FAMILIES, TOOLS, CallPrompter, family_of, find_call, write_call
from siri.errors import ConfigError
from siri.testing import check_prompter, make_skill
from siri.types import Task, Turn

WORDS = st.text(st.characters(codec="ascii", exclude_characters=" "), min_size=1, max_size=8).filter(
    str.strip
)


@pytest.mark.parametrize("family", FAMILIES)
@given(item=WORDS, column=WORDS)
def test_a_call_is_read_as_it_was_written(family: str, item: str, column: str) -> None:
    text = write_call("query", {"item": item, "column": column}, family)
    call = find_call(text, family)
    assert call is not None
    assert call.alone
    assert dict(call.arguments) == {"item": item, "column": column}
    assert call.command(TOOLS) == " ".join(f"query {item} {column}".split())
    assert text[slice(*call.span)].startswith(("{", "["))


@pytest.mark.parametrize("family", FAMILIES)
@given(text=st.text(max_size=80))
def test_any_reply_is_a_call_or_none(family: str, text: str) -> None:
    for reply in (text, f"<tool_call>{text}</tool_call>", f"[TOOL_CALLS]{text}", "{" + text + "}"):
        action, formed, (start, end) = CallPrompter(family).parse(reply)
        assert 0 <= start <= end <= len(reply)
        assert not formed or action.split()[0] in {tool.name for tool in TOOLS}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The answer is 3.", "no call"),
        ('<tool_call>{"name": "query"}</tool_call>', "no arguments"),
        ('<tool_call>{"name": "query", "arguments": {"item": "lamp"}}</tool_call>', "one too few"),
        ('<tool_call>{"name": "search", "arguments": {"item": "lamp"}}</tool_call>', "no such tool"),
        ('<tool_call>{"name": "answer", "arguments": {"value": [3]}}</tool_call>', "no plain value"),
        ('<tool_call>{"name": "answer", "arguments": {"value": 3}</tool_call>', "broken JSON"),
        ('<tool_call>{"name": "answer", "arguments": {"value": 3}}', "cut off"),
        ("<tool_call>" + "{" * 5000 + "}</tool_call>", "too deep"),
    ],
)
def test_a_call_that_does_not_parse_is_malformed(text: str, why: str) -> None:
    action, formed, _ = CallPrompter("hermes").parse(text)
    assert not formed, why
    assert len(action) <= 60


def test_two_calls_are_one_too_many() -> None:
    one = write_call("answer", {"value": 3}, "hermes")
    assert CallPrompter().parse(one)[:2] == ("answer 3", True)
    assert CallPrompter().parse(f"<think>hm</think>{one}\n{one}")[:2] == ("answer 3", False)


def test_numbers_are_plain_words() -> None:
    call = find_call(
        write_call("convert", {"value": 3.0, "from_unit": "feet", "to_unit": "inches"}, "llama"), "llama"
    )
    assert call is not None
    assert call.command(TOOLS) == "convert 3 feet inches"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_prompter(family: str) -> None:
    prompter = CallPrompter(family)
    check_prompter(prompter)
    task = Task("t", "price", "What?", "train")
    turn = Turn("Question: What?", (), "query lamp price", "…", True, 0.0, ())
    chat = prompter.messages(task, [turn], "12 coins", (), [make_skill()])
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert [tool["function"]["name"] for tool in prompter.tools] == [tool.name for tool in TOOLS]
    assert chat[-1]["content"] == "12 coins"


def test_the_family_of_a_template() -> None:
    assert family_of("{% if tools %}<tool_call>") == "hermes"
    assert family_of("{% if tools %}[TOOL_CALLS]") == "mistral"
    assert family_of('{% if tools %}{"name": function name, "parameters"') == "llama"
    with pytest.raises(ConfigError, match="without tools"):
        family_of("{{ messages }}")
    with pytest.raises(ConfigError, match="of another form"):
        family_of("{% if tools %}<|call|>")
    for call in (
        lambda: find_call("", "gpt"),
        lambda: write_call("a", {}, "gpt"),
        lambda: CallPrompter("gpt"),
    ):
        with pytest.raises(ConfigError, match="'gpt'"):
            call()
