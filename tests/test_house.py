"""The house of docs/architecture.md: which room may import which, and no circle between files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "siri"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def floors() -> list[list[str]]:
    """The drawing of the page: one line a floor, the ground last."""
    drawing = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert drawing is not None
    return [line.split() for line in drawing[1].splitlines()]


@cache
def modules() -> dict[str, Path]:
    names = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in files()}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def files() -> Iterator[Path]:
    return SOURCE.rglob("*.py")


def imported(path: Path, *, types: bool) -> set[str]:
    """siri's modules that a file imports, inside functions too; ``types``: also for annotations alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (types or id(node) not in only_types):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules() else node.module or "")
    return {name for name in found if name in modules()}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "siri"


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_room_imports_from_lower_floors_alone(name: str) -> None:
    floor = {room: number for number, rooms in enumerate(reversed(floors())) for room in rooms}
    if room(name) in ("siri", "__main__"):
        return  # the front door opens every room
    for other in imported(modules()[name], types=False):
        if room(other) not in (room(name), "siri"):
            assert floor[room(other)] < floor[room(name)], f"{name} imports {other}"


def test_every_room_is_in_the_drawing() -> None:
    drawn = [room for rooms in floors() for room in rooms]
    assert sorted(drawn) == sorted({room(name) for name in modules()} - {"siri", "__main__"})


def test_no_files_import_each_other() -> None:
    """Not in a circle, and not for their types alone; the lists of names of packages are left out."""
    parts = {name: path for name, path in modules().items() if path.name != "__init__.py"}
    left = {name: imported(path, types=True) & set(parts) - {name} for name, path in parts.items()}
    while ends := [name for name, others in left.items() if not others]:
        left = {name: others - set(ends) for name, others in left.items() if name not in ends}
    assert not left
