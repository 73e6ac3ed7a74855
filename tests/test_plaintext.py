"""Text of strangers never steers a terminal."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.table import Table
from rich.text import Text

from siri.cli.consoles import PlainConsole
from siri.plaintext import clean

HOSTILE = [
    "\x1b[31mred",
    "\x1b]52;c;aGk=\x07",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "a\rb\bc\x00",
    "\U000e0041",
    "\ud83d",
    "[/] [bold]x[/bold] [link=http://x]y[/link] :smile:",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_harmful_is_left(text: str) -> None:
    shown = clean(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_what_is_cut_out_is_spelled() -> None:
    assert clean("a\x1b[1mb\u202ec\U000e0041\td\n") == "a\\x1b[1mb\\u202ec\\U000e0041\td\n"


@given(st.text())
def test_clean_is_idempotent_and_leaves_plain_words(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    harmless = "".join(c for c in text if c.isalnum() or c in " .,\n\t")
    assert clean(harmless) == harmless


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_console_passes_nothing_of_it_on(text: str, terminal: bool) -> None:
    def written(*things: object) -> str:
        out = io.StringIO()
        console = PlainConsole(file=out, force_terminal=terminal, width=200, color_system="truecolor")
        for thing in things:
            console.print(thing, soft_wrap=isinstance(thing, str))
        return out.getvalue()

    table = Table("kind", text, title=text, caption=text)
    table.add_row("x", text)
    shown = written(text, Text(text, style="bold"), table)
    assert "\x1b]" not in shown
    assert "\x1b[31m" not in shown
    assert not set("\x9b\x9d\u202e\u2066\r\b\x00\ud83d") & set(shown)
    if "[/]" in text:
        assert text in shown  # markup is text


def test_live_displays_still_move_the_cursor() -> None:
    out = io.StringIO()
    console = PlainConsole(file=out, force_terminal=True, width=80)
    with Live("one\ntwo", console=console, auto_refresh=False) as live:
        live.update("\x1b]52;x", refresh=True)
    assert "\x1b[1A" in out.getvalue()
    assert "\x1b]52" not in out.getvalue()
