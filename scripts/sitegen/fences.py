"""Code blocks of the pages, and what becomes of each.

A block of Python or of shell commands runs in the tests. A comment on the line above says otherwise:
``<!-- vllm -->`` leaves it to the tests of vLLM, and ``<!-- not-run: REASON -->`` to nobody.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sitegen.markdown import table

__all__ = ["LANGUAGES", "Fence", "fences", "left_out", "words"]

LANGUAGES = ("python", "bash", "yaml", "json", "toml", "text")
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>[^\n`]*)\n(?P<body>.*?)^```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Fence:
    """One block."""

    language: str
    body: str
    line: int
    """Of its first statement, from 1."""
    where: Literal["tests", "vllm", "nowhere"]
    """Who runs it."""
    reason: str = ""
    """Why nobody does."""

    def commands(self) -> Iterator[str]:
        """The commands of a shell block: without comments, continued lines joined."""
        for line in self.body.replace("\\\n", " ").splitlines():
            for command in re.split(r"\s&&\s|;\s", re.sub(r"(^|\s)#.*", "", line)):
                if command.strip():
                    yield command.strip()


def fences(text: str) -> list[Fence]:
    """The blocks of a page.

    Raises:
        ValueError: a mark is none of those above.
    """
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        mark, reason = match["mark"] or "", ""
        where: Literal["tests", "vllm", "nowhere"] = "tests"
        if mark == "vllm":
            where = "vllm"
        elif mark.startswith("not-run: "):
            where, reason = "nowhere", mark.removeprefix("not-run: ")
        elif mark.startswith(("not-run", "run")):
            raise ValueError(f"line {line}: got <!-- {mark} -->, expected <!-- not-run: REASON -->")
        found.append(Fence(match["language"].strip(), match["body"], line, where, reason))
    return found


def words(command: str) -> list[str]:
    return shlex.split(command)


def left_out(docs: Path) -> str:
    """A table of the blocks that nobody runs, for the page on testing."""
    rows = [
        (f"[{path.relative_to(docs).as_posix()}](../{path.relative_to(docs).as_posix()})", fence.reason)
        for path in sorted(docs.rglob("*.md"))
        for fence in fences(path.read_text(encoding="utf-8"))
        if fence.where == "nowhere"
    ]
    return table(["page", "why it does not run"], rows)
