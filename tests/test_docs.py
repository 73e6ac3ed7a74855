"""Every python block of the README and the documentation runs, in order, one namespace a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[tuple[int, str]]:
    """(line of the first statement, source) of each fence whose info string is exactly ``python``."""
    return [
        (text.count("\n", 0, match.start("body")) + 1, match["body"])
        for match in FENCE.finditer(text)
        if match["info"].strip() == "python"
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    for line, source in python_blocks(page.read_text(encoding="utf-8")):
        # Blank lines in front make a traceback point at the line of the page.
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), namespace)


def test_fences_of_other_languages_are_left_alone() -> None:
    page = "a\n```bash\nmake\n```\n```python\nx = 1\n```\n```text\nprint(\n```\n"
    assert python_blocks(page) == [(6, "x = 1\n")]


def test_the_readme_has_code() -> None:
    assert python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
