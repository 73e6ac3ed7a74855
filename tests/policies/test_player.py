from __future__ import annotations

import pytest
import torch

from siri.config import LoRAConfig
from siri.errors import ConfigError
from siri.models.weights import cast
from siri.policies.hf import HFPolicy
from siri.types import Request, Sampling
from tests.policies._tiny import close, full_logprobs, play, tiny_model, tiny_tokenizer, user

ASKED = [Request([user("w1 w2 w3")], seed=3), Request([user("w4")], seed=4)]
SAMPLING = Sampling(temperature=1.0, max_tokens=8)


def policy(plays: str | None) -> HFPolicy:
    return HFPolicy(tiny_model(0), tiny_tokenizer(), slots=4, plays=plays)


def test_a_copy_in_bfloat16_plays_and_the_model_stays() -> None:
    agent = policy("bfloat16")
    rounded = cast(tiny_model(0), torch.bfloat16).eval()
    for episode in play(agent):
        for c in episode:
            want = full_logprobs(rounded, c.prompt_ids, c.completion_ids)
            assert torch.tensor(c.logprobs) == pytest.approx(want, abs=0.1)
    assert agent.model.dtype == torch.float32
    assert "dtype=bfloat16" in repr(agent)
    exact = policy(None).generate(ASKED, SAMPLING)
    assert [c.logprobs for c in agent.generate(ASKED, SAMPLING)] != [c.logprobs for c in exact]


def test_the_copy_follows_when_the_weights_change() -> None:
    agent = policy("bfloat16")
    agent.generate(ASKED, SAMPLING)
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter.mul_(0.5)
    agent.reset_cache()
    fresh = HFPolicy(agent.model, agent.tokenizer, slots=4, plays="bfloat16")
    assert agent.generate(ASKED, SAMPLING) == fresh.generate(ASKED, SAMPLING)


def test_the_copy_has_the_adapter_that_is_put_on_later() -> None:
    agent = policy("bfloat16")
    agent.generate(ASKED, SAMPLING)
    agent.model.name_or_path = "tiny"
    agent.adapt(LoRAConfig(rank=2, alpha=4.0), seed=0)
    with torch.no_grad():
        for name, parameter in agent.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    agent.reset_cache()
    found = agent.generate(ASKED, SAMPLING)
    for c in found:
        want = full_logprobs(agent.model, c.prompt_ids, c.completion_ids)
        assert torch.tensor(c.logprobs) == pytest.approx(want, abs=0.3)
    snapshot = agent.snapshot()
    assert snapshot.generate(ASKED, SAMPLING) == found


def test_of_the_models_own_dtype_there_is_no_copy() -> None:
    agent, plain = policy("float32"), policy(None)
    close([agent.generate(ASKED, SAMPLING)], [plain.generate(ASKED, SAMPLING)])
    assert agent._slots.model is agent.model


def test_buffers_keep_their_bits() -> None:
    model = tiny_model(0)
    before = [buffer.dtype for buffer in model.buffers()]
    cast(model, torch.bfloat16)
    assert [buffer.dtype for buffer in model.buffers()] == before
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ConfigError, match="plays='half'"):
        policy("half")
