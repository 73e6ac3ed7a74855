"""Real vLLM on the CPU, in a virtual environment of its own: `make test-vllm`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from siri.policies.hf import HFPolicy
from siri.policies.tiny import base_path, build_model
from siri.types import Request, Sampling

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vllm: make test-vllm")
GREEDY = Sampling(temperature=0.0, max_tokens=8)
CHATS = [
    [{"role": "user", "content": f"You see a desk {n}.\n\nYour task is to: put a mug in desk."}]
    for n in range(1, 5)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded architecture with heads of 32, the smallest that vLLM's CPU attention takes."""
    tokenizer = HFPolicy.load(base_path(), slots=1).tokenizer
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        model = build_model(tokenizer, hidden=96, heads=3)
    path = tmp_path_factory.mktemp("vllm") / "model"
    HFPolicy(model, tokenizer).save(path)
    return path


@pytest.fixture(scope="module")
def policy(folder: Path):
    from siri.policies.vllm import VLLMPolicy

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    return VLLMPolicy.load(folder, slots=16, max_context=1024, options={"enforce_eager": True})


def gap(first, second) -> float:
    """Largest distance of the log-probs of equal tokens."""
    assert [c.completion_ids for c in first] == [c.completion_ids for c in second]
    mine, theirs = ([v for c in found for v in c.logprobs] for found in (first, second))
    pairs = zip(mine, theirs, strict=True)
    return max(abs(a - b) for a, b in pairs)


def test_greedy_is_that_of_transformers_before_and_after_a_push(policy) -> None:
    requests = [Request(chat, session=str(n)) for n, chat in enumerate(CHATS)]
    reference = policy.snapshot()
    before = policy.generate(requests, GREEDY)
    assert gap(before, reference.generate(requests, GREEDY)) < 1e-3
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.05).add_(0.01)
    policy.reset_cache()
    assert policy.version == 1
    after = policy.generate(requests, GREEDY)
    assert gap(after, policy.snapshot().generate(requests, GREEDY)) < 1e-3
    assert [c.logprobs for c in after] != [c.logprobs for c in before]
    assert policy._engine_version() == 1


def test_sessions_continue_the_sampled_ids_and_seeds_belong_to_requests(policy) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=6)
    [first] = policy.generate([Request(CHATS[0], session="s", seed=3)], sampling)
    again = policy.generate([Request(CHATS[1], seed=9), Request(CHATS[0], seed=3)], sampling)[1]
    assert again.completion_ids == first.completion_ids
    reply = {"role": "assistant", "content": first.text}
    chat = [*CHATS[0], reply, {"role": "user", "content": "Nothing happens."}]
    [second] = policy.generate([Request(chat, session="s")], sampling)
    assert second.prompt_ids[: len(first.prompt_ids) + len(first.completion_ids)] == (
        first.prompt_ids + first.completion_ids
    )
    assert len(second.logprobs) == len(second.completion_ids)
    policy.end("s")


def test_a_prompt_that_does_not_fit_gets_no_ids(policy) -> None:
    long = [{"role": "user", "content": "desk " * 2000}]
    fits, does_not = policy.generate([Request(CHATS[0]), Request(long)], GREEDY)
    assert fits.completion_ids
    assert not does_not.finished
    assert does_not.completion_ids == ()


def test_two_iterations_of_a_run_with_pushes(folder: Path, tmp_path: Path, policy, monkeypatch) -> None:
    from siri.algos import SiriObjective
    from siri.config import load_config, preset
    from siri.curriculum import Curriculum
    from siri.envs.alfworld import alfworld_suite

    config = load_config(
        preset("smoke"), assignments=["rollout.tasks=2", "optimizer.recompute=true", "optimizer.kl=0"]
    )
    games = alfworld_suite(train_games=6, valid_games=6, max_steps=4)
    run = Curriculum(games, policy, miner=None, objective=SiriObjective(kl=0.0), config=config)
    start = policy.version
    for number in range(2):
        iteration = run.step()
        assert iteration.metrics["engine/logprob_gap"] < 1e-3
        assert policy.version == start + number + 1
    assert iteration.metrics["learn/steps"] > 0
