"""A vLLM engine in each of two training processes, on the CPU (`make test-vllm`)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from siri.policies.checkpoints import save_checkpoint
from tests.vllm_server import random_model

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vllm: make test-vllm"),
]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
WORKER = """
import json, sys
from pathlib import Path
import torch
from siri.algos import SiriObjective
from siri.config import load_config
from siri.curriculum.parts import make_learner
from siri.errors import PolicyFault
from siri.models.weights import is_spread
from siri.policies import HFPolicy
from siri.policies.checkpoints import load_model, load_tokenizer
from siri.policies.vllm import VLLMPolicy
from siri.progress import Silent
from siri.training.job import start_processes
from siri.types import Request, Sampling
from tests.policies._engines import gap
from tests.training.test_learner import make_model, make_rows
from tests.smoke import SMOKE

folder, out, shard, rank = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "shard", int(sys.argv[4])
served = rank if sys.argv[5] == "adapter" else 0
processes = start_processes()
settings = [f"optimizer.shard={str(shard).lower()}", f"lora.rank={rank}", "optimizer.lr=0.01"]
settings += ["optimizer.kl=0.01", "optimizer.minibatches=2"]
policy = VLLMPolicy.load(
    folder, hollow=shard, slots=8, episodes=8, max_context=256, adapter_rank=served
)
config = load_config(SMOKE, assignments=settings)
learner = make_learner(policy, SiriObjective(kl=0.01), config, progress=Silent())
assert is_spread(policy.model) is shard
greedy = Sampling(temperature=0.0, max_tokens=8)
mine = [
    Request([{"role": "user", "content": f"Examine the book {n} with lamp {processes.rank}."}], seed=n)
    for n in range(3 + 4 * processes.rank)  # the processes need not play alike
]
reference = HFPolicy(load_model(folder), load_tokenizer(folder), slots=8)
if rank:
    from siri.models.adapters import add_lora
    add_lora(reference.model, rank=rank, alpha=config.lora.alpha, seed=config.seed)
gaps, spoken = [], []

def compare():
    weights = learner.weights()  # a collective
    with torch.no_grad():
        for name, value in reference.model.named_parameters():
            if name in weights:
                value.copy_(weights[name])
    reference.reset_cache()
    own = policy.generate(mine, greedy)
    gaps.append(gap(own, reference.generate(mine, greedy)))
    spoken.append([[c.completion_ids, c.logprobs] for c in own])

compare()
for push in range(2):
    rows = make_rows(make_model())
    metrics = learner.update(rows, int_scale=0.1)
    policy.sync(learner)
    compare()
frozen = policy.snapshot()
assert frozen.generate(mine[:1], greedy)[0].completion_ids == spoken[-1][0][0]
policy.save(out / "model")
refused = ""
if shard:
    policy.reset_cache()
    try:
        policy.generate(mine[:1], greedy)
    except PolicyFault as fault:
        refused = str(fault)
(out / f"{processes.rank}.json").write_text(json.dumps([gaps, spoken, metrics, refused]))
"""
EARLY = """
import sys
from siri.errors import ConfigError
from siri.policies.vllm import VLLMPolicy

try:
    VLLMPolicy.load(sys.argv[1])
except ConfigError as error:
    assert "have met" in str(error) and len(str(error)) <= 300, error
    print("refused")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with heads of 32."""
    path = tmp_path_factory.mktemp("model") / "model"
    save_checkpoint(*random_model(), path)
    return path


def launched(*command: str, timeout: float = 400) -> str:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    ("spread", "rank", "served"),
    [
        ("whole", 0, "merged"),
        ("shard", 0, "merged"),
        ("shard", 4, "merged"),
        ("shard", 4, "adapter"),
    ],
)
def test_greedy_is_that_of_transformers_on_both_ranks_before_and_after_each_push(
    folder: Path, tmp_path: Path, spread: str, rank: int, served: str
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    launched(*LAUNCH, str(worker), str(folder), str(tmp_path), spread, str(rank), served)
    found = [json.loads((tmp_path / f"{n}.json").read_text()) for n in (0, 1)]
    for gaps, spoken, metrics, refused in found:
        assert max(gaps) < 1e-3
        assert len(gaps) == 3
        assert spoken[0] != spoken[1] != spoken[2]
        assert metrics == found[0][2]
        assert ("policy.sync" in refused) is (spread == "shard")
    assert [len(spoken[0]) for _, spoken, _, _ in found] == [3, 7]
    written = "adapter_model.safetensors" if rank else "model.safetensors"
    assert (tmp_path / "model" / written).is_file()


def test_an_engine_before_the_processes_have_met_is_refused(folder: Path, tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(EARLY)
    assert launched(*LAUNCH, str(worker), str(folder)).count("refused") == 2


def test_two_processes_give_the_metrics_of_one(tmp_path: Path) -> None:
    """Two iterations with pushes, whole and spread; the model at the end is one's."""
    changes = ["rollout.tasks=3", "warmup={successes: 0, max_iterations: 2}", "optimizer.recompute=true"]
    changes += [
        "mining={min_active: 0, min_iterations: 0, max_iterations: 0}",
        "internalization.iterations=0",
    ]
    changes += ["env={train_games: 6, valid_games: 2, max_steps: 6}", "evaluation.splits=[]"]
    run = ["-m", "siri", "run", "--preset", "smoke", "--engine", "vllm", "--miner", "none"]
    run += [part for change in changes for part in ("--set", change)]
    launched(sys.executable, *run, "--out", str(tmp_path / "one"))
    wanted = figures(tmp_path / "one")
    assert len(wanted) == 2
    for shard in ("false", "true"):
        out = tmp_path / shard
        launched(*LAUNCH, *run, "--set", f"optimizer.shard={shard}", "--out", str(out))
        for found, one in zip(figures(out), wanted, strict=True):
            assert found == pytest.approx(one, abs=1e-6)
            assert found["learn/steps"] > 0
        weights = load_file(tmp_path / "one" / "model" / "model.safetensors")
        written = load_file(out / "model" / "model.safetensors")
        assert written.keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(written[name], value, atol=1e-4, rtol=0)


def figures(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if isinstance(value, int | float)} for row in rows]
