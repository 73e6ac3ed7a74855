"""Models that the slot cache cannot serve: real ones of transformers, with random weights."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from siri.errors import ConfigError
from siri.policies.hf import HFPolicy
from siri.policies.uncached import generate_plain
from siri.types import Request, Sampling
from tests.policies._tiny import SAMPLING, close, full_logprobs, play, tiny_model, tiny_tokenizer, user

VOCABULARY = 30
IDS = {"vocab_size": VOCABULARY, "eos_token_id": 2, "bos_token_id": None, "pad_token_id": 0}


def mamba() -> Any:
    return MambaForCausalLM(MambaConfig(**IDS, hidden_size=16, state_size=4, num_hidden_layers=2))


def bloom() -> Any:
    return BloomForCausalLM(BloomConfig(**IDS, hidden_size=16, n_layer=2, n_head=2))


def hybrid() -> Any:
    return Qwen3NextForCausalLM(
        Qwen3NextConfig(
            **IDS,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            layer_types=["linear_attention", "full_attention"],
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=2,
            num_experts=2,
            num_experts_per_tok=1,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
        )
    )


def sliding(window: int = 24) -> Any:
    config = MistralConfig(
        **IDS,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=window,
        max_position_embeddings=512,
    )
    return MistralForCausalLM(config)


def made(build: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    return model


@pytest.mark.parametrize("build", [mamba, bloom, hybrid, sliding])
def test_other_architectures_sample_by_seed(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="siri"):
        agent = HFPolicy(made(build), tiny_tokenizer(), slots=8)
        episodes = play(agent)
        play(agent)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("siri")]
    assert agent.fallback is not None
    assert len(said) == 1
    assert agent.fallback in said[0]
    for c in chain(*episodes):
        want = full_logprobs(agent.model, c.prompt_ids, c.completion_ids)
        assert torch.tensor(c.logprobs) == pytest.approx(want, abs=1e-3)
    # neither the batch nor the sessions matter
    close(episodes, play(HFPolicy(agent.model, tiny_tokenizer(), slots=1), sessions=False))


def test_plain_and_slots_sample_the_same() -> None:
    agent = HFPolicy(tiny_model(), tiny_tokenizer(), slots=8)
    requests = [Request([user("w1 w2 " * n)], seed=n) for n in range(1, 6)]
    slots = agent.generate(requests, SAMPLING)
    assert agent.fallback is None
    agent._give_up("asked for")
    close([slots], [agent.generate(requests, SAMPLING)])


def test_a_model_that_slots_serve_passes_the_trial() -> None:
    for model in (tiny_model(), tiny_model().bfloat16(), tiny_model(use_sliding_window=True)):
        agent = HFPolicy(model, tiny_tokenizer())
        agent.generate([Request([user("w1")])], SAMPLING)
        assert agent.fallback is None
        assert agent.snapshot().fallback is None


def test_settings_of_the_model_change_nothing() -> None:
    model = tiny_model()
    options: dict[str, Any] = {"seeds": [3], "sampling": Sampling(1.0, 1.0, 6), "stop_ids": {2}}
    want = generate_plain(model, [[1, 2, 3]], **options)
    model.generation_config.repetition_penalty = 1.7
    model.generation_config.min_new_tokens = 6
    assert generate_plain(model, [[1, 2, 3]], **options) == want
    assert model.generation_config.repetition_penalty == 1.7


def test_encoder_decoders_are_refused(tmp_path: Path) -> None:
    config = T5Config(vocab_size=VOCABULARY, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    model = T5ForConditionalGeneration(config)
    with pytest.raises(ConfigError, match="encoder-decoder model"):
        HFPolicy(model, tiny_tokenizer())
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="encoder-decoder model"):
        HFPolicy.load(tmp_path)


def test_gpt2_is_served_by_slots() -> None:
    model = made(lambda: GPT2LMHeadModel(GPT2Config(**IDS, n_embd=16, n_layer=1, n_head=2)))
    agent = HFPolicy(model, tiny_tokenizer())
    agent.generate([Request([user("w1")])], SAMPLING)
    assert agent.fallback is None
