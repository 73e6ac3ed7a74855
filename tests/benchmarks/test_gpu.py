"""The script for a GPU, at a toy shape without one: it must not break on the day that there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def smoke(out: Path, timeout: float) -> str:
    command = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--peak-tflops", "989", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return out.read_text()


@pytest.mark.slow
def test_every_part_runs_and_has_its_row(tmp_path: Path) -> None:
    text = smoke(tmp_path / "gpu.md", 400)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| what |" not in line]
    wanted = [
        "| toy | rollout, HF |",
        "| toy | training, siri |",
        "| toy-lora | training, siri |",
        "| – | a run",
    ]
    if importlib.util.find_spec("trl"):
        wanted.append("| toy | training, trl |")
    for start in wanted:
        assert any(row.startswith(start) for row in rows), (start, rows)
    assert "broke" not in text
    assert all(row.count("|") == 8 for row in rows)


@pytest.mark.vllm
def test_with_vllm_too(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="needs vllm: make test-vllm")
    text = smoke(tmp_path / "gpu.md", 800)
    for what in ("push to vLLM, the adapter alone", "rollout, vLLM, the adapter alone"):
        assert text.count(f"| toy-lora | {what} |") == 1, text
    for what in ("push to vLLM |", "rollout, vLLM |", "lengths, vLLM, lock-step", "lengths, vLLM, streaming"):
        assert text.count(what) == 2, text
    assert "iterations, vLLM, engine/logprob_gap" in text
