"""The house of docs/explanation/architecture.md: which room may import which, and no circle between files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "siri"
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")


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


SEAMS = frozenset(
    node.name
    for node in ast.parse((SOURCE / "protocols.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
)
GUESSES = ("getattr", "hasattr", "isinstance")


def probes(source: str) -> list[str]:
    """Guesses about a value that is declared to be a part of ``siri.protocols``."""
    tree, found = ast.parse(source), list[str]()
    attributes: set[str] = set()
    scopes: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
    while scopes:
        scope, known = scopes.pop()
        names = set(known)
        inner = list(within(scope))
        if isinstance(scope, ast.FunctionDef | ast.Lambda):
            arguments = scope.args
            for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                names |= {arg.arg} if seam(arg.annotation) else set()
        for node in inner:
            if isinstance(node, ast.AnnAssign) and seam(node.annotation):
                target = ast.unparse(node.target)
                (attributes if "." in target or isinstance(scope, ast.ClassDef) else names).add(target)
            if isinstance(node, ast.Assign):
                for target, value in assigned(node):
                    if isinstance(target, ast.Attribute) and ast.unparse(value) in names:
                        attributes.add(ast.unparse(target))
            if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
                scopes.append((node, frozenset(names)))
        for node in inner:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in GUESSES and node.args:
                subject, *others = map(ast.unparse, node.args)
                if others == ["str"]:
                    continue  # a part, or the name of one
                if subject in names or "." in subject:
                    found.append(subject)
    return [subject for subject in found if "." not in subject or subject in attributes]


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, without those of the scopes in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield from within(node)


def assigned(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def seam(annotation: ast.expr | None) -> bool:
    return annotation is not None and not SEAMS.isdisjoint(re.findall(r"\w+", ast.unparse(annotation)))


@pytest.mark.parametrize("name", sorted(modules()))
def test_only_the_doors_guess_what_a_part_can_do(name: str) -> None:
    if room(name) not in ("doors", "testing"):
        assert not probes(modules()[name].read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "def f(policy: Policy | None): return hasattr(policy, 'engine')",
        "class A:\n  def f(self, v: Judge): self.v = v\n  def g(self): return isinstance(self.v, int)",
        "class A:\n  miner: SkillMiner\ndef f(m: 'Sequence[Objective]'): return getattr(m, 'kl', 0)",
    ],
)
def test_a_guess_is_found(line: str) -> None:
    assert len(probes(line)) == 1


@pytest.mark.parametrize(
    "name", [name for name in sorted(modules()) if room(name) in ("curriculum", "rollout")]
)
def test_parts_of_the_loop_have_types(name: str) -> None:
    parts = {"policy", "miner", "objective", "validator", "retriever", "env", "prompter", "learner"}
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg) and node.arg in parts and node.annotation is not None:
            assert "Any" not in ast.unparse(node.annotation), f"{name}: {node.arg}"
