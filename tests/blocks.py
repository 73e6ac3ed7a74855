"""Runs the blocks of a page, in order, in one folder and one namespace."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from siri.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
sys.path.append(str(ROOT / "scripts"))

from sitegen.fences import LANGUAGES, Fence, fences  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Fence]:
    return fences(page.read_text(encoding="utf-8"))


def pages_with(where: str) -> list[Path]:
    """Pages that have a block which these tests run."""
    return [page for page in PAGES if any(fence.where == where for fence in blocks(page))]


def run_page(page: Path, shell: Shell, wanted: Callable[[Fence], bool]) -> None:
    """Run the ``wanted`` blocks of a page in the folder where we are."""
    namespace: dict[str, object] = {"__name__": "docs"}
    for fence in blocks(page):
        assert fence.language in LANGUAGES, f"line {fence.line}: got the language {fence.language!r}"
        if not wanted(fence):
            continue
        if fence.language == "python":
            # Blank lines in front make a traceback point at the line of the page.
            exec(compile("\n" * (fence.line - 1) + fence.body, str(page), "exec"), namespace)
        elif fence.language == "bash":
            for command in fence.commands():
                shell(command)
        elif fence.language == "yaml":
            yaml.safe_load(fence.body)
        elif fence.language == "json":
            json.loads(fence.body)
        elif fence.language == "toml":
            tomllib.loads(fence.body)


def shrunk(words: list[str]) -> list[str]:
    """A command as it is run here: its settings, at the size of the smoke preset."""
    if words[1] == "run" and "--preset" not in words and "--resume" not in words:
        return [*words, "--preset", "smoke"]
    if words[1] == "sft":
        small = "--preset smoke --steps 1 --episodes 1 --set evaluation.splits=[]"
        return [*words, *shlex.split(small)]
    return words


class Shell:
    """Runs the commands of a page.

    Args:
        kept: folder of finished runs: equal ones are made once, and the later ones get a copy.
        apart: give each command of siri a process of its own, as an engine holds on to its memory.
    """

    def __init__(self, kept: Path, *, apart: bool = False) -> None:
        self.kept, self.apart = kept, apart
        self.servers = ExitStack()
        self.address: tuple[str, str] = ("", "")

    def __call__(self, command: str) -> None:
        """Run one command; those that install or need make are looked up."""
        words = shlex.split(command.replace(*self.address) if self.address[0] else command)
        while "=" in words[0]:
            words.pop(0)  # variables of a server's environment
        match words:
            case ["siri", *_]:
                self._siri(shrunk(words))
            case ["make", *rest]:
                assert {word for word in rest if "=" not in word} <= TARGETS, command
            case ["pip", "install", *rest]:
                for extra in re.findall(r"\[([\w,-]+)\]", " ".join(rest)):
                    assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"]), command
            case ["source", ".venv/bin/activate"]:
                pass
            case ["vllm", "serve", folder, "--port", port, "--enable-scale-out", *_] if self.apart:
                self._serve(Path(folder), port)
            case _:
                pytest.fail(f"nobody runs {command!r}; mark its block <!-- not-run: REASON -->")

    def _siri(self, words: list[str]) -> None:
        out = Path(words[words.index("--out") + 1]) if words[1] == "run" and "--out" in words else None
        key = self.kept / re.sub(r"\W+", "-", " ".join(word for word in words if word != str(out)))
        if out is not None and "--resume" not in words and key.exists():
            shutil.copytree(key, out)
            return
        code, said = self._outcome(words[1:])
        assert code == 0, f"{shlex.join(words)}: {said}"
        if out is not None and "--resume" not in words and "--dry-run" not in words:
            shutil.copytree(out, key)

    def _outcome(self, words: Collection[str]) -> tuple[int, str]:
        if self.apart:
            command = [sys.executable, "-m", "siri", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
            return done.returncode, (done.stdout + done.stderr)[-3000:]
        result = CliRunner().invoke(app, list(words))
        return result.exit_code, f"{result.output[-600:]} {result.exception}"

    def _serve(self, folder: Path, port: str) -> None:
        """A real server of a small model, at a free port, until the page ends."""
        from tests.vllm_server import random_model, vllm_server, write

        write(*random_model(), folder)
        found = self.servers.enter_context(vllm_server(folder, Path("server.log"))).url
        self.address = (f"http://127.0.0.1:{port}", found)
