"""Keys and values take the memory that they need, and no more than there is."""

from __future__ import annotations

import logging

import pytest

from siri.models.memory import device_memory
from siri.policies.hf import HFPolicy
from siri.types import Request, Sampling
from tests.policies._tiny import close, play, tiny_model, tiny_tokenizer, user

SAMPLING = Sampling(max_tokens=6)


def policy(slots: int = 16, room: int | None = None) -> HFPolicy:
    agent = HFPolicy(tiny_model(0), tiny_tokenizer(), slots=slots)
    agent._slots.room = room
    return agent


def width(agent: HFPolicy) -> int:
    """Bytes of a token's keys and values, from the shape of the model."""
    c = agent.model.config
    return 2 * c.num_hidden_layers * c.num_key_value_heads * (c.hidden_size // c.num_attention_heads) * 4


def held(agent: HFPolicy) -> int:
    """Bytes that keys and values take."""
    stores = [s for layer in agent._slots.cache.layers for s in (layer.keys, layer.values)]
    return sum(store.nbytes for store in stores)


def test_slots_that_nobody_uses_take_no_memory() -> None:
    few, many = policy(slots=8), policy(slots=4096)
    for agent in (few, many):
        agent.generate([Request([user("w1 w2")], "a")], SAMPLING)
    assert held(few) == held(many) == 8 * 256 * width(few)
    many.generate([Request([user("w1 w2")], str(n), seed=n) for n in range(20)], SAMPLING)
    assert held(many) < 40 * 256 * width(few)


@pytest.mark.parametrize("fitting", [1, 2, 3])
def test_with_little_memory_rows_wait_and_say_the_same(
    fitting: int, caplog: pytest.LogCaptureFixture
) -> None:
    free, tight = policy(), policy()
    tight._slots.room = fitting * 256 * width(tight) + 1
    with caplog.at_level(logging.WARNING):
        close(play(free), play(tight))
    assert held(tight) <= tight._slots.room
    said = [record for record in caplog.records if "memory has room for" in record.message]
    assert len(said) == 1
    tight.reset_cache()
    assert len(tight._slots.free) == 16


def test_longer_prompts_leave_room_for_fewer() -> None:
    agent, free = policy(), policy()
    agent._slots.room = 4 * 256 * width(agent)
    short = [Request([user("w1 w2")], str(n), seed=n) for n in range(4)]
    close([agent.generate(short, SAMPLING)], [free.generate(short, SAMPLING)])
    assert agent._slots.count == 4
    long = [Request([user("w3 w4 " * 150)], str(n), seed=n) for n in range(4)]
    close([agent.generate(long, SAMPLING)], [free.generate(long, SAMPLING)])
    assert agent._slots.count == 2
    assert held(agent) <= agent._slots.room


def test_the_machine_says_what_it_has() -> None:
    found = device_memory("cpu")
    assert found is not None
    assert 2**28 < found < 2**50
