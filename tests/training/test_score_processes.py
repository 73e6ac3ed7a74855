"""Scores are those of one process, however many share the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from siri.algos import SiriObjective
from siri.training.learner import Learner
from tests.training.test_learner import make_model, make_rows

ROOT = Path(__file__).parents[2]
WORKER = """
import json, sys
import torch
torch.set_num_threads(1)
from siri.training.job import start_processes
from tests.training.test_score_processes import scores, tops
processes = start_processes()
found, likely = scores(int(sys.argv[2])), tops(int(sys.argv[2]))
if processes.first:
    open(sys.argv[1], "w").write(json.dumps([processes.size, found, likely]))
"""


def scores(count: int, max_tokens: int = 40) -> list[list[list[float]]]:
    """Of the first ``count`` rows: an odd number leaves the processes unequal shares."""
    model = make_model()
    learner = Learner(model, SiriObjective(kl=0.0), max_tokens_per_micro_batch=max_tokens)
    rows = make_rows(model)[:count]
    return [[list(span) for span in row] for row in learner.score(rows)]


def tops(count: int, max_tokens: int = 40) -> list[list[list[list[float]]]]:
    """The three likeliest tokens of the RL rows among them, ids and log-probs."""
    model = make_model()
    learner = Learner(model, SiriObjective(kl=0.0), max_tokens_per_micro_batch=max_tokens)
    rows = [row for row in make_rows(model)[:count] if row.kind == "rl"]
    found = learner.likeliest(rows, 3)
    return [[[*top.ids.tolist(), *top.logprobs.tolist()] for top in spans] for spans in found]


@pytest.mark.slow
@pytest.mark.parametrize("count", [9, 1])
def test_two_processes_score_as_one(count: int, tmp_path: Path) -> None:
    script, out = tmp_path / "worker.py", tmp_path / "scores.json"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    done = subprocess.run(
        [*command, str(script), str(out), str(count)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    size, got, likely = json.loads(out.read_text())
    want = scores(count, max_tokens=16384)
    assert size == 2
    assert len(got) == len(want) == count
    for one, two in zip(want, got, strict=True):
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(torch.tensor(b), torch.tensor(a), atol=1e-6, rtol=0.0)
    for one, two in zip(tops(count, max_tokens=16384), likely, strict=True):
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(torch.tensor(b), torch.tensor(a), atol=1e-6, rtol=0.0)
