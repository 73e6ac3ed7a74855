"""Bars: on a terminal they move, elsewhere they are silent; in a real one they never stand still."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from io import StringIO

import pytest
from rich.console import Console

from siri.progress import Bars, Silent, during
from siri.rollout.evaluation import evaluate
from siri.types import Sampling
from tests.smoke import SMOKE, fresh, suite


def shown(*, terminal: bool, quiet: bool = False) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, height=40)
    with Bars(console, quiet=quiet) as bars:
        bars.say("warmup, 1 iteration done " + "and much more to say of it " * 9, "no skills yet")
        bars.whole(1, 4, "≤ 2 min left")
        with during(bars, "rollout", 8):
            bars.advance("rollout", 3, plain=0.25, skill=0.5)
            bars._live.refresh()
        console.print("a line")
        bars.advance("no such part")
    return out.getvalue()


def test_a_terminal_shows_parts_and_figures() -> None:
    text = shown(terminal=True)
    words = ("warmup, 1 iteration done", "no skills yet", "1/≤5", "≤ 2 min left", "rollout", "3/8", "a line")
    for part in (*words, "plain 0.25  skill 0.50", "━━━"):
        assert part in text
    # nothing is wider than the terminal, so no bar is pushed off it
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()) <= 100


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_elsewhere_and_quietly_there_are_lines_alone(terminal: bool, quiet: bool) -> None:
    assert shown(terminal=terminal, quiet=quiet).strip() == "a line"


SCRIPT = """
import time
from siri.cli.app import console
from siri.progress import Bars
with Bars(console) as bars:
    bars.say("long work")
    time.sleep(1.5)
    console.print("done \\x1b[31m")
"""


def test_something_moves_while_work_says_nothing() -> None:
    """With the console of the command line, whose stream looks sys.stdout up for each line."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT])
    times, text, end = [], b"", time.monotonic() + 60
    while time.monotonic() < end:
        ready = select.select([terminal], [], [], 1.0)[0]
        try:
            piece = os.read(terminal, 65536) if ready else None
        except OSError:
            break
        if piece == b"":
            break
        if piece:
            times.append(time.monotonic())
            text += piece
    os.waitpid(pid, 0)
    os.close(terminal)
    assert b"long work" in text
    assert b"done \\x1b[31m" in text
    assert len(times) > 5


def test_wins_are_a_share_of_all_that_were_planned() -> None:
    """So the figure of an arm only rises, and ends as its success."""
    seen = list[float]()

    class Told(Silent):
        def advance(self, part: str, n: int = 1, **figures: float) -> None:
            seen.append(figures["plain"])

    policy = fresh(None, SMOKE).policy
    found = evaluate(suite(), policy, split="valid_seen", sampling=Sampling(), slots=2, progress=Told())
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == found.rate
