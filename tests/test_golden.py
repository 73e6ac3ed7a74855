"""Runs are, to the digit, what they were when scripts/record_golden.py recorded them in tests/golden.

Keys that came later are ignored, and so are times and sentences. On a processor or a torch that rounds in
another way, the short runs are compared loosely, and the long one is skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
try:
    import record_golden as golden
finally:
    sys.path.remove(str(SCRIPTS))


def compare(name: str, folder: Path, *, exact: bool) -> None:
    recorded = golden.read(name)
    del recorded["arithmetic"]
    found = list(golden.differences(golden.play(name, folder), recorded, exact=exact))
    hint = "" if exact else " (loosely: this machine rounds in another way, and may draw another token)"
    shown = "\n".join(found[:20])
    assert not found, f"{name} is not as it was recorded{hint}; {len(found)} differences:\n{shown}"


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.CASES)
def test_a_short_run_is_as_it_was_recorded(name: str, tmp_path: Path) -> None:
    compare(name, tmp_path, exact=golden.read(name)["arithmetic"] == golden.arithmetic())


@pytest.mark.long
def test_a_cell_of_the_study_is_as_it_was_recorded(tmp_path: Path) -> None:
    if golden.read(golden.STUDY)["arithmetic"] != golden.arithmetic():
        pytest.skip("this processor or torch rounds in another way, and a long run drifts apart")
    compare(golden.STUDY, tmp_path, exact=True)


def test_what_is_recorded_trains_on_everything() -> None:
    """A run of zeros would guard nothing."""
    for name in golden.CASES:
        rows = golden.read(name)["metrics"]
        assert {row["phase"] for row in rows} == {"warmup", "mining", "internalization"}
        assert any(row["policy/loss"] for row in rows)
        assert any("arm/skill/success" in row for row in rows)
        if name.startswith("paper"):
            assert any(row["env/valid"] < 1 for row in rows)
            assert all(row["kl/reference"] > 0 and row["policy/entropy"] > 0 for row in rows)
            for key in ("loss", "nll_plain", "prompt_gap", "weight_mean", "gate_frac"):
                assert any(row[f"int/{key}"] for row in rows), (name, key)
    study = golden.read(golden.STUDY)
    assert (study["arm"], study["regime"], study["seed"]) == ("siri", "rare", 3)
    assert any(row["int/loss"] for row in study["training"])


def test_a_difference_is_named() -> None:
    expected = {"metrics": [{"a": 1.0, "b": "x"}, {"a": 2.0}], "n": 2}
    same = {"metrics": [{"a": 1.0, "b": "x", "new": 5}, {"a": 2.0}], "n": 2, "more": {}}
    assert list(golden.differences(same, expected)) == []
    other = {"metrics": [{"b": "y"}, {"a": 2.0000001}, {}], "n": 3}
    assert list(golden.differences(other, expected)) == [
        "/metrics: got 3 entries, expected 2",
        "/metrics[0]/a: missing, expected 1.0",
        "/metrics[0]/b: got 'y', expected 'x'",
        "/metrics[1]/a: got 2.0000001, expected 2.0",
        "/n: got 3, expected 2",
    ]
    loose = list(golden.differences(other, expected, exact=False))
    assert "/metrics[1]/a: got 2.0000001, expected 2.0" not in loose
    assert len(loose) == 4
