"""A LoRA adapter that vLLM serves itself, in this process, on the CPU (`make test-vllm`)."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from siri.build import policy as build_policy
from siri.config import load_config
from siri.errors import ConfigError
from siri.models.adapters import add_lora
from siri.types import Request, Sampling
from tests.policies._engines import gap, on_transformers
from tests.smoke import SMOKE, metrics
from tests.vllm_server import random_model, write

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vllm: make test-vllm")
GREEDY = Sampling(temperature=0.0, max_tokens=8)
# long prompts with a common beginning, whose keys and values the engine remembers
REQUESTS = [
    Request([{"role": "user", "content": "Examine the book with the lamp. " * 40 + f"Now {n}."}], seed=n)
    for n in range(4)
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory):
    from siri.policies.vllm import VLLMPolicy

    path = write(*random_model(), tmp_path_factory.mktemp("base") / "model")
    return VLLMPolicy.load(path, slots=8, max_context=1024, adapter_rank=4)


def change(policy, seed: int) -> None:
    """What an update does: another adapter, of a size that shows."""
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(seed))
    policy.reset_cache()


def compared(policy):
    found = policy.generate(REQUESTS, GREEDY)
    assert gap(found, on_transformers(policy).generate(REQUESTS, GREEDY)) < 1e-4
    return [completion.logprobs for completion in found]


@pytest.mark.vllm
@needs_vllm
def test_greedy_is_that_of_transformers_and_peft_before_and_after_each_push(policy, monkeypatch) -> None:
    base = copy.deepcopy(policy.model.state_dict())
    spoken = [compared(policy)]
    add_lora(policy.model, rank=4, alpha=8, seed=3)
    policy.reset_cache()
    spoken.append(compared(policy))
    assert spoken[1] == spoken[0]  # B is 0
    reloads = []
    call = policy.engine.collective_rpc
    monkeypatch.setattr(policy.engine, "collective_rpc", lambda *a, **k: reloads.append(a) or call(*a, **k))
    for seed in (1, 2, 1):
        change(policy, seed)
        spoken.append(compared(policy))  # the prefixes of other adapters are not used
    assert reloads == []  # the base was not pushed again
    assert spoken[2] not in (spoken[1], spoken[3])
    assert spoken[4] == spoken[2]
    newest = Path(policy._adapter.request.lora_path)
    assert newest.name == str(policy.version)
    assert list(newest.parent.iterdir()) == [newest]
    for name, value in policy.model.named_parameters():
        if ".lora_" not in name:
            assert value.equal(base[name.replace(".base_layer.", ".")])


@pytest.mark.vllm
@needs_vllm
@pytest.mark.filterwarnings("ignore:vLLM has no sleep mode")
def test_an_engine_that_slept_or_lost_its_weights_is_given_base_and_adapter_again(policy) -> None:
    change(policy, 5)
    before = compared(policy)
    policy.sleep()
    assert compared(policy) == before
    for value in list(policy.engine.llm_engine.model_executor.driver_worker.get_model().parameters())[:4]:
        value.data.mul_(2)
    policy.engine.llm_engine.set_weight_version("of somebody else")
    assert compared(policy) == before


@pytest.mark.vllm
@needs_vllm
def test_an_adapter_that_vllm_cannot_serve_is_one_sentence(policy) -> None:
    model = policy.model
    try:
        policy.model = random_model()[0]
        policy.model.name_or_path = "base"
        add_lora(policy.model, rank=16, alpha=8)
        policy.reset_cache()
        with pytest.raises(ConfigError, match=r"rank.*fix: lora\.engine=merged") as found:
            policy.generate(REQUESTS, GREEDY)
        assert len(str(found.value)) <= 300
    finally:
        policy.model = model
        policy.reset_cache()
    compared(policy)


@pytest.mark.vllm
@needs_vllm
@pytest.mark.parametrize(
    ("model", "rank", "said"), [("tiny", 4, "heads of 16"), ("random", 600, "at most 512")]
)
def test_what_cannot_be_served_is_refused_before_an_engine_is_made(
    model: str, rank: int, said: str, tmp_path: Path
) -> None:
    name = model if model == "tiny" else str(write(*random_model(), tmp_path / "model"))
    config = load_config(SMOKE, assignments=[f"lora={{rank: {rank}, engine: adapter}}"])
    with pytest.raises(ConfigError, match=f"{said}.*fix: lora.engine=merged") as found:
        build_policy(name, config, engine="vllm")
    assert len(str(found.value)) <= 300


@pytest.mark.vllm
@needs_vllm
def test_a_run_with_pushes_has_no_gap(tmp_path: Path) -> None:
    changes = ["lora={rank: 4, engine: adapter}", "optimizer={lr: 0.01, recompute: true}"]
    changes += ["env={train_games: 4, valid_games: 2, max_steps: 3}", "rollout.tasks=2"]
    changes += ["warmup={successes: 0, max_iterations: 2}", "internalization.iterations=0"]
    changes += ["mining={min_active: 0, min_iterations: 0, max_iterations: 0}", "evaluation.splits=[]"]
    command = [sys.executable, "-m", "siri", "run", "--preset", "smoke", "--engine", "vllm"]
    command += ["--policy", str(write(*random_model(), tmp_path / "model")), "--miner", "none"]
    command += [part for change in changes for part in ("--set", change)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = metrics(tmp_path / "run")
    assert len(lines) == 2
    assert all(0 < line["engine/logprob_gap"] < 1e-5 for line in lines)
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()


def test_servers_are_given_adapters_merged() -> None:
    config = load_config(SMOKE, assignments=["lora={rank: 4, engine: adapter}"])
    with pytest.raises(ConfigError, match=r"with vLLM servers.*fix: lora\.engine=merged"):
        build_policy("tiny", config, engine="http://127.0.0.1:9")
