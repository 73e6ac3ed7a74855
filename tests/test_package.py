"""The package as a whole: what importing it costs, what it exports, what it must not contain."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "siri").rglob("*.py"))
LIGHT = ["siri", "siri.errors", "siri.types", "siri.protocols"]
HEAVY = {"torch", "transformers", "vllm"}
PRIVATE_PATH = re.compile(
    r"(?<![\w.])/(?:home|Users)/[A-Za-z0-9._-]+/"  # Linux and macOS
    r"|(?<!\w)[A-Za-z]:\\{1,2}Users\\{1,2}[A-Za-z0-9._-]+"  # Windows, escaped or not
)


def tracked_files() -> list[Path]:
    """Files that git tracks; without git, the sources and tests."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]
    return [path for folder in ("src", "tests", "docs") for path in (ROOT / folder).rglob("*.*")]


@pytest.mark.parametrize("module", LIGHT)
def test_importing_the_seams_loads_no_framework(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert HEAVY.isdisjoint(json.loads(result.stdout))


@pytest.mark.parametrize("name", ["siri.errors", "siri.types", "siri.protocols"])
def test_exported_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_every_error_belongs_to_the_tree() -> None:
    errors = importlib.import_module("siri.errors")
    assert all(issubclass(getattr(errors, name), errors.SiriError) for name in errors.__all__)


def calls_of_print(source: str) -> list[int]:
    """Lines that call the builtin ``print``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def test_a_call_of_print_is_found() -> None:
    assert calls_of_print("x = 'print('\ndef f():\n    print(x)\n") == [3]


def test_only_the_command_line_prints() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCES
        if path.parent.name != "cli" and (lines := calls_of_print(path.read_text(encoding="utf-8")))
    }
    assert SOURCES
    assert found == {}


@pytest.mark.parametrize("parts", [("/home", "ada", "x"), ("/Users", "ada", "x"), ("C:\\Users", "ada", "x")])
def test_a_private_path_is_found(parts: tuple[str, ...]) -> None:
    assert PRIVATE_PATH.search(("\\" if "\\" in parts[0] else "/").join(parts))


def test_no_private_path_is_tracked() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in PRIVATE_PATH.finditer(text)]
    assert found == []
