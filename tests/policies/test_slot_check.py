"""The trial finds slots that compute something else, and the policy then does without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from siri.policies.hf import HFPolicy
from siri.policies.slot_check import slot_fault
from tests.policies._tiny import close, play, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("rows", [1, 2])
def test_slots_that_do_their_work_pass(rows: int) -> None:
    agent = HFPolicy(tiny_model(), tiny_tokenizer(), slots=rows)
    with torch.inference_mode():
        assert slot_fault(agent.model.eval(), agent._slots.forward, rows=rows) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda got: got + torch.linspace(0, 1, got.shape[-1]), "other logits than without a cache"),
        (lambda got: got * torch.nan, "other logits than without a cache"),
        (lambda got: got[5], "refuses the slot cache"),
    ],
)
def test_slots_that_do_not_are_given_up(spoil: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = play(HFPolicy(tiny_model(), tiny_tokenizer(), slots=8))
    agent = HFPolicy(tiny_model(), tiny_tokenizer(), slots=8)
    honest = agent._slots.forward
    monkeypatch.setattr(agent._slots, "forward", lambda *given: spoil(honest(*given)))
    found = play(agent)
    assert agent.fallback is not None
    assert words in agent.fallback
    close(found, want)
