"""The short form of scripts/fuzz_cli.py: malformed input ends in one sentence, and touches nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "fuzz_cli.py"), run_name="fuzz_cli")


def test_malformed_input_ends_in_a_sentence(tmp_path: Path) -> None:
    report = SCRIPT["fuzz"](64, seed=11, place=tmp_path)
    assert report.failures == []
    assert report.counts.total() == 64
    # neither everything is refused nor everything taken
    assert any(name.endswith("taken") for name in report.counts)
    assert any(name.endswith("refused") for name in report.counts)


def test_what_it_looks_for_is_found(tmp_path: Path) -> None:
    found = SCRIPT["Fuzz"](tmp_path, 0)

    def breaks() -> None:
        raise RuntimeError("a bug")

    def wordy() -> None:
        from siri.errors import ConfigError

        raise ConfigError(f"fix: {'x' * 400}")

    def touches() -> None:
        (found.around / ".bashrc.old").unlink()

    for function in (breaks, wordy, touches):
        found.case("x", function)
    assert [text.split(" (")[0][:20] for text in found.report.failures] == [
        "x: traceback: Runtim",
        "x: no sentence: fix:",
        "x: changed files out",
    ]
