"""A policy at a running vLLM server: real vLLM on the CPU (`make test-vllm`), and bad servers without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from benchmarks import push
from siri.errors import ConfigError, EngineAway, PolicyFault
from siri.policies.vllm_http import UNFINISHED
from siri.policies.vllm_server import VLLMServerPolicy
from siri.testing import check_policy
from siri.types import Request, Sampling
from tests.policies._engines import gap, on_transformers
from tests.policies._tiny import tiny_model, tiny_tokenizer
from tests.smoke import metrics, siri
from tests.vllm_server import random_model, write

ROOT = Path(__file__).parents[2]
GREEDY = Sampling(temperature=0.0, max_tokens=8)
REQUESTS = [
    Request([{"role": "user", "content": f"Examine the book with lamp {n}."}], session=str(n))
    for n in range(4)
]


@pytest.fixture(scope="module")
def policy(vllm_url: str):
    """A policy whose weights go to the server as tensors, through shared memory."""
    policy = VLLMServerPolicy(*random_model(), url=vllm_url, slots=8)
    assert policy.transfer == "tensors"
    yield policy
    policy.close()
    assert not policy._exchange.folder.exists()


@pytest.mark.vllm
def test_greedy_is_that_of_transformers_before_and_after_a_push(policy) -> None:
    before = policy.generate(REQUESTS, GREEDY)
    assert gap(before, on_transformers(policy).generate(REQUESTS, GREEDY)) < 1e-3
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.05).add_(0.01)
    policy.reset_cache()
    after = policy.generate(REQUESTS, GREEDY)
    assert gap(after, on_transformers(policy).generate(REQUESTS, GREEDY)) < 1e-3
    assert [c.logprobs for c in after] != [c.logprobs for c in before]
    kept = [path.name for path in policy._exchange.folder.iterdir() if path.is_dir()]
    assert kept == [str(policy.version)]


@pytest.mark.vllm
def test_a_checkpoint_does_the_same(policy, vllm_url: str) -> None:
    other = VLLMServerPolicy(policy.model, policy.tokenizer, url=vllm_url, slots=8, transfer="checkpoint")
    assert other.transfer == "checkpoint"
    assert gap(other.generate(REQUESTS, GREEDY), policy.generate(REQUESTS, GREEDY)) < 1e-6
    other.close()
    assert not other._exchange.folder.exists()


@pytest.mark.vllm
def test_pushes_are_measured_both_ways(policy, vllm_url: str) -> None:
    found = push.measured(policy.model, policy.tokenizer, vllm_url, rounds=2)
    assert {way: len(seconds) for way, seconds in found.items()} == {"tensors": 2, "checkpoint": 2}
    assert push.table(found, 10**6).count("\n| ") == 3


@pytest.mark.vllm
def test_an_update_that_a_dead_trainer_left_open_is_recovered(policy) -> None:
    before, [server] = policy.generate(REQUESTS, GREEDY), policy.engine
    part = first_part(policy)
    server.ask("POST", "/pause", query={"mode": "abort"})
    server.ask("POST", "/update_weight_version", body={"new_version": UNFINISHED})
    server.ask("POST", "/start_weight_update")
    server.receive({**part, "tensors": part["tensors"][:5]})
    assert gap(policy.generate(REQUESTS, GREEDY), before) < 1e-6
    # and by the trainer that comes next
    server.ask("POST", "/pause", query={"mode": "abort"})
    server.ask("POST", "/start_weight_update")
    server.receive({**part, "tensors": part["tensors"][5:9]})
    other = VLLMServerPolicy(policy.model, policy.tokenizer, url=server.url, slots=8)
    assert gap(other.generate(REQUESTS, GREEDY), before) < 1e-6
    other.close()


@pytest.mark.vllm
def test_an_update_that_raises_leaves_a_server_that_can_be_given_weights(policy) -> None:
    before, [server] = policy.generate(REQUESTS, GREEDY), policy.engine
    part = first_part(policy)

    def update() -> None:
        with server.updating("never"):
            server.receive({**part, "tensors": part["tensors"][:5]})
            server.receive({**part, "path": f"{part['path']}-missing"})

    with pytest.raises(PolicyFault, match=r"HTTP 500 from .*/update_weights") as found:
        update()
    assert not isinstance(found.value, EngineAway)
    assert server.version() == UNFINISHED
    assert gap(policy.generate(REQUESTS, GREEDY), before) < 1e-6


def first_part(policy: VLLMServerPolicy) -> dict[str, Any]:
    """What the server is told of the first file."""
    newest = policy._exchange.folder / str(policy.version)
    contents = json.loads((newest / "contents.json").read_text())
    return {"path": str(newest / contents[0]["file"]), "tensors": contents[0]["tensors"]}


@pytest.mark.vllm
def test_a_server_that_is_killed_and_started_again_is_given_the_weights_again(policy, served) -> None:
    before = policy.generate(REQUESTS, GREEDY)
    served.end(signal.SIGKILL)
    starting = Thread(target=served.start)
    starting.start()
    try:
        assert gap(policy.generate(REQUESTS, GREEDY), before) < 1e-6  # it waits
    finally:
        starting.join()
    assert policy.engine[0].version() == policy._tag()


@pytest.mark.vllm
def test_the_contract(policy) -> None:
    check_policy(policy, max_context=policy.max_context, batch_invariant=False)


@pytest.mark.vllm
def test_seeds_belong_to_requests(policy) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=12)
    chats = [r.messages for r in REQUESTS]
    [first] = policy.generate([Request(chats[0], seed=3)], sampling)
    again = policy.generate([Request(chats[1], seed=9), Request(chats[0], seed=3)], sampling)
    assert again[1].completion_ids == first.completion_ids
    assert len(first.logprobs) == len(first.completion_ids)
    other = policy.generate([Request(chats[0], seed=4)], sampling)[0]
    assert other.completion_ids != first.completion_ids


@pytest.mark.vllm
def test_what_another_trainer_pushed_is_replaced_before_the_next_rollout(policy, vllm_url: str) -> None:
    before = policy.generate(REQUESTS, GREEDY)
    other = VLLMServerPolicy(*random_model(), url=vllm_url, slots=2)
    assert other.version == 0
    assert [c.logprobs for c in other.generate(REQUESTS, GREEDY)] != [c.logprobs for c in before]
    other.close()
    assert gap(policy.generate(REQUESTS, GREEDY), before) < 1e-6


@pytest.mark.vllm
def test_sleep_says_what_it_cannot_and_the_next_rollout_wakes(policy) -> None:
    before = policy.generate(REQUESTS, GREEDY)
    with pytest.warns(UserWarning, match="no sleep mode on CPUs"):
        assert policy.sleep() is False
    [server] = policy.engine
    assert server.ask("GET", "/is_sleeping") == {"is_sleeping": True}
    assert gap(policy.generate(REQUESTS, GREEDY), before) < 1e-6
    assert server.ask("GET", "/is_sleeping") == {"is_sleeping": False}


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore:vLLM has no sleep mode")
def test_two_iterations_of_a_run_with_pushes(vllm_url: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = write(*random_model(), tmp_path / "model")
    small = ["env={train_games: 4, valid_games: 2, max_steps: 3}", "rollout={tasks: 2, sleep: true}"]
    small += ["warmup={successes: 0, max_iterations: 2}", "evaluation.splits=[]", "optimizer.recompute=true"]
    small += ["mining={min_active: 0, min_iterations: 0, max_iterations: 0}", "internalization.iterations=0"]
    settings = [part for setting in small for part in ("--set", setting)]
    where = ["--policy", folder, "--engine", vllm_url, "--miner", "none", "--out", tmp_path / "run"]
    assert siri(monkeypatch, "run", "--preset", "smoke", *settings, *where) == 0
    lines = metrics(tmp_path / "run")
    assert len(lines) == 2
    for line in lines:
        assert 0 < line["engine/logprob_gap"] < 1e-3
    # the last update put it to sleep; who comes next finds it awake
    with urllib.request.urlopen(f"{vllm_url}/is_sleeping") as answer:
        assert json.load(answer) == {"is_sleeping": False}


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
from siri.policies.vllm_server import VLLMServerPolicy
from siri.progress import Silent
from siri.training.job import start_processes
from siri.types import Request, Sampling
from tests.policies._engines import gap
from tests.training.test_learner import make_model, make_rows
from tests.smoke import SMOKE

url, folder, out, shard = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "shard"
processes = start_processes()
policy = VLLMServerPolicy.load(folder, url=url, hollow=shard, slots=4, transfer=sys.argv[5])
assert policy.transfer == sys.argv[5]
settings = [f"optimizer={{shard: {str(shard).lower()}, lr: 0.01, kl: 0.01, minibatches: 2}}"]
config = load_config(SMOKE, assignments=settings)
learner = make_learner(policy, SiriObjective(kl=0.01), config, progress=Silent())
assert is_spread(policy.model) is shard
greedy = Sampling(temperature=0.0, max_tokens=8)
mine = [
    Request([{"role": "user", "content": f"Examine the book {n} with lamp {processes.rank}."}], seed=n)
    for n in range(3 + 4 * processes.rank)
]
reference = HFPolicy(load_model(folder), load_tokenizer(folder), slots=8)
gaps, spoken, tags = [], [], []

def compare():
    weights = learner.weights()  # a collective
    with torch.no_grad():
        for name, value in reference.model.named_parameters():
            value.copy_(weights[name])
    reference.reset_cache()
    own = policy.generate(mine, greedy)
    gaps.append(gap(own, reference.generate(mine, greedy)))
    spoken.append([[c.completion_ids, c.logprobs] for c in own])
    tags.append(policy.engine[0].version())
    processes.any(False)

compare()
for push in range(2):
    learner.update(make_rows(make_model()), int_scale=0.1)
    policy.sync(learner)
    compare()
# somebody else's weights: the process that notices restores them, without the other
if not processes.first:
    policy.engine[0].load(Path(folder), "theirs")
    assert policy.engine[0].version() == "theirs"
    assert [c.completion_ids for c in policy.generate(mine, greedy)] == [ids for ids, _ in spoken[-1]]
processes.any(False)
compare()
policy.reset_cache()
try:
    policy.generate(mine, greedy)
except PolicyFault as fault:
    refused = str(fault)
exchange = policy._exchange.folder
policy.sync(learner)
compare()
policy.close()
processes.any(False)
assert not exchange.exists()
(out / f"{processes.rank}.json").write_text(json.dumps([gaps, spoken, tags, refused]))
"""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def launched(*command: object) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("spread", "transfer"), [("whole", "tensors"), ("shard", "tensors"), ("shard", "checkpoint")]
)
def test_one_server_with_two_trainers(vllm_url: str, tmp_path: Path, spread: str, transfer: str) -> None:
    """Greedy tokens are those of transformers on both ranks, before and after each push."""
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    folder = write(*random_model(), tmp_path / "model")
    launched(*LAUNCH, worker, vllm_url, folder, tmp_path, spread, transfer)
    found = [json.loads((tmp_path / f"{n}.json").read_text()) for n in (0, 1)]
    for gaps, spoken, tags, refused in found:
        assert len(gaps) == 5
        assert max(gaps) < 1e-3
        assert spoken[0] != spoken[1] != spoken[2]
        assert spoken[2] == spoken[3]
        # both of one run
        assert tags == found[0][2]
        assert [tag.rpartition("-")[2] for tag in tags] == ["1", "2", "3", "3", "5"]
        assert "policy.sync" in refused
    assert [len(spoken[0]) for _, spoken, _, _ in found] == [3, 7]


@pytest.mark.vllm
def test_two_processes_at_a_server_give_the_metrics_of_one(vllm_url: str, tmp_path: Path) -> None:
    changes = ["rollout.tasks=3", "warmup={successes: 0, max_iterations: 2}", "optimizer.recompute=true"]
    changes += ["mining={min_active: 0, min_iterations: 0, max_iterations: 0}"]
    changes += ["internalization.iterations=0", "evaluation.splits=[]"]
    changes += ["env={train_games: 6, valid_games: 2, max_steps: 6}"]
    run = ["-m", "siri", "run", "--preset", "smoke", "--engine", vllm_url, "--miner", "none"]
    run += ["--policy", write(*random_model(), tmp_path / "model")]
    run += [part for change in changes for part in ("--set", change)]
    launched(sys.executable, *run, "--out", tmp_path / "one")
    launched(*LAUNCH, *run, "--set", "optimizer.shard=true", "--out", tmp_path / "two")
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == 2
    for found, wanted in zip(two, one, strict=True):
        assert figures(found) == pytest.approx(figures(wanted), abs=1e-6)
        assert found["learn/steps"] > 0


def figures(line: dict[str, object]) -> dict[str, float]:
    return {name: value for name, value in line.items() if isinstance(value, int | float)}


def tiny(url: str) -> VLLMServerPolicy:
    return VLLMServerPolicy(tiny_model(0), tiny_tokenizer(), url=url, slots=2)


def test_no_server_is_one_sentence() -> None:
    with pytest.raises(PolicyFault, match=r"got no answer from http://127\.0\.0\.1:9 .*fix: start it"):
        tiny("http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        tiny("127.0.0.1:9")


class Server(BaseHTTPRequestHandler):
    """Knows its models, and fails or does not know all the rest."""

    status = 404

    def do_GET(self) -> None:
        known = {"/v1/models": {"data": [{"id": "m"}]}}
        if self.status == 500:
            known |= {"/is_sleeping": {"is_sleeping": False}, "/is_paused": {"is_paused": False}}
        found = known.get(self.path)
        self.answer(self.status if found is None else 200, found or {"error": "no\nweights"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(self.status, {"error": "no\nweights"})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [(404, ConfigError, "VLLM_SERVER_DEV_MODE=1"), (500, PolicyFault, "HTTP 500 from .*/server_info")],
)
def test_servers_that_cannot_take_weights(status: int, error: type[Exception], match: str) -> None:
    handler = type("Handler", (Server,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(error, match=match):
                tiny(f"http://127.0.0.1:{httpd.server_address[1]}")
        finally:
            httpd.shutdown()
            thread.join()
