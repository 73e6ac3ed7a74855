"""Standard output that goes away in the middle."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from siri.cli.app import console, errors
for number in range(3000):
    console.print(f"line {number} ≤ é", style="bold")
errors.print("the end")
"""


def run(stdout: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_reader_that_left_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    found = run(writing)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, "the end\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_a_full_disk_is_said_once_and_ends_nothing() -> None:
    with open("/dev/full", "w") as full:
        found = run(full)
    assert found.returncode == 0
    assert found.stderr.splitlines()[-1] == "the end"
    assert found.stderr.count("takes no more text") == 1


def test_an_encoding_without_the_character_escapes_it() -> None:
    found = run(subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "the end\n")
    assert found.stdout.splitlines()[0] == r"line 0 \u2264 \xe9"


def test_a_closed_descriptor_ends_nothing() -> None:
    code = f"import os; os.close(1)\n{PROGRAM}"
    found = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 0
    assert found.stderr.splitlines()[-1] == "the end"
