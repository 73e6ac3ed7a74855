"""Prompts: the skill block is the only difference, transcripts extend, windows forget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.alfworld.prompts import TranscriptPrompter, WindowPrompter
from siri.errors import ConfigError
from siri.types import Skill, Task, Turn

TASK = Task("t", "pick_and_place_simple", "put a mug in desk.", "train")
OPENING = "-= Welcome to TextWorld, ALFRED! =-\n\nYou see a desk 1.\n\nYour task is to: put a mug in desk."
SKILL = Skill("s", TASK.kind, "the task is to put an object", "take it, then move it.", "self", 0)
WORDS = st.text(alphabet="abc 1.", min_size=1, max_size=12)


def turns(texts: list[str]) -> list[Turn]:
    """Turns that start at the opening, each with its command."""
    seen = [OPENING, *(f"After {text}" for text in texts)]
    return [
        Turn(before, ("look",), text, text, True, 0.0, n)
        for n, (before, text) in enumerate(zip(seen, texts, strict=False))
    ]


@pytest.mark.parametrize("prompter", [TranscriptPrompter(), WindowPrompter(), WindowPrompter(0)])
@given(texts=st.lists(WORDS, max_size=5), count=st.integers(1, 2))
def test_without_the_block_the_plain_prompt_remains(prompter, texts: list[str], count: int) -> None:
    past, skills = turns(texts), [SKILL] * count
    state = (TASK, past, "You see nothing." if past else OPENING, ["go to desk 1", "help"])
    plain, skilled = prompter.messages(*state), prompter.messages(*state, skills)
    block = prompter.block(skills)
    assert sum(m["content"].count(block) for m in skilled) == 1
    assert [m["content"].replace(block, "") for m in skilled] == [m["content"] for m in plain]
    assert [m["role"] for m in skilled] == [m["role"] for m in plain]


def test_transcript_extends_itself() -> None:
    prompter = TranscriptPrompter()
    past = turns(["go to desk 1", "look"])
    first = prompter.messages(TASK, past[:1], past[1].observation, [])
    second = prompter.messages(TASK, past, "Nothing happens.", [])
    assert second[: len(first)] == first
    assert [m["role"] for m in second] == ["user", "assistant", "user", "assistant", "user"]
    assert second[0]["content"] == "You see a desk 1.\n\nYour task is to: put a mug in desk."


def test_window_shows_the_last_turns_only() -> None:
    [message] = WindowPrompter(2).messages(TASK, turns(["a", "b", "c"]), "Now.", ["go to desk 1", "help"])
    text = message["content"]
    assert "already taken 3 step(s)" in text
    assert "You are now at step 4 and your current observation is: Now." in text
    assert "[Observation 2: 'After a', Action 2: 'b']\n[Observation 3: 'After b', Action 3: 'c']" in text
    assert "Action 1" not in text
    assert "are: ['go to desk 1']." in text


def test_window_without_history_is_the_first_prompt() -> None:
    [message] = WindowPrompter().messages(TASK, [], OPENING, [])
    assert "step(s)" not in message["content"]
    assert f"Your current observation is: {OPENING}" in message["content"]


@pytest.mark.parametrize(
    ("text", "action", "well_formed"),
    [
        ("<think>x</think><action> Go to desk 1 </action>", "go to desk 1", True),
        ("<action>look</action>", "look", False),
        ("<think>x</think> look", "<think>x</think> look", False),
        ("<think>a</think><ACTION>look</ACTION> or <action>help</action>", "look", True),
        ("<think>看</think><action>look</action>", "look", False),
        ("</think><action>look</action>", "look", False),
    ],
)
def test_window_parses(text: str, action: str, well_formed: bool) -> None:
    got, ok, (start, end) = WindowPrompter().parse(text)
    assert (got, ok) == (action, well_formed)
    assert action in text[start:end].lower()


def test_transcript_parses_bare_commands() -> None:
    assert TranscriptPrompter().parse(" look ") == ("look", True, (0, 6))
    assert TranscriptPrompter().parse("  ")[1] is False


def test_negative_history_is_refused() -> None:
    with pytest.raises(ConfigError, match="history=-1"):
        WindowPrompter(-1)
    with pytest.raises(ConfigError, match="hidden"):
        WindowPrompter(hidden="help")


def test_window_hides_what_it_is_told_to() -> None:
    commands = ["examine desk 1", "help", "look"]
    for hidden, shown in (((), "'examine desk 1'\n 'help'\n 'look'"), (("help", "look"), "'examine desk 1'")):
        [message] = WindowPrompter(hidden=hidden).messages(TASK, [], OPENING, commands)
        assert f"are: [{shown}]." in message["content"]
