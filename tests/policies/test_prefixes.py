from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siri.policies.hf import HFPolicy
from siri.policies.prefixes import common_starts, same_prompts
from siri.types import Request, Sampling
from tests.policies._tiny import SAMPLING, close, tiny_model, tiny_tokenizer, user

PROMPTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=300), min_size=1, max_size=8)


@settings(deadline=None)
@given(PROMPTS, st.data())
def test_shared_starts_are_shared(prompts: list[list[int]], data: Any) -> None:
    prompts = data.draw(st.lists(st.sampled_from(prompts + [[1] * 200 + p for p in prompts]), max_size=12))
    cached = [data.draw(st.integers(0, 1)) for _ in prompts]
    leaders, followers = same_prompts(prompts, cached)
    assert sorted([*leaders, *(n for same in followers.values() for n in same)]) == list(range(len(prompts)))
    for leader, same in followers.items():
        assert all(prompts[n] == prompts[leader] and not cached[n] for n in (leader, *same))
    seen = set()
    for shared in common_starts(prompts, cached):
        assert len(shared.members) > 1
        assert not seen & set(shared.members)
        seen |= set(shared.members)
        starts = {tuple(prompts[n][: shared.length]) for n in shared.members}
        assert len(starts) == 1
        assert all(shared.length < len(prompts[n]) and not cached[n] for n in shared.members)


def group(block: str, size: int = 4, first: int = 0) -> list[Request]:
    text = "w1 w2 w3 " * 60
    return [Request([user(text + block)], f"{block}{n}", seed=first + n) for n in range(size)]


@pytest.mark.parametrize("sampling", [SAMPLING, Sampling(temperature=0, max_tokens=6)])
def test_a_group_is_prefilled_once_and_samples_the_same(
    sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [*group("w4"), *group("w5 w6", first=10)]
    agent = HFPolicy(tiny_model(), tiny_tokenizer(), slots=8)
    alone = [agent.generate([r], sampling)[0] for r in requests]
    agent.reset_cache()
    computed: list[int] = []
    forward = agent._slots.forward

    def counted(ids: Any, *rest: Any) -> Any:
        computed.append(ids.size)
        return forward(ids, *rest)

    monkeypatch.setattr(agent._slots, "forward", counted)
    together = agent.generate(requests, sampling)
    close([alone], [together])
    # the common start once, and a few tokens of each of the two prompts
    assert sum(computed) < 250 + len(requests) * sampling.max_tokens
    longer = []
    for request, completion in zip(requests, together, strict=True):
        talk = [*request.messages, {"role": "assistant", "content": completion.text}, user("w7")]
        longer.append(Request(talk, request.session, seed=request.seed + 1))
    again = agent.generate(longer, sampling)
    fresh = HFPolicy(tiny_model(), tiny_tokenizer(), slots=1)
    for request, earlier, completion in zip(longer, requests, again, strict=True):
        fresh.generate([earlier], sampling)
        close([[completion]], [fresh.generate([request], sampling)])
        fresh.end(request.session or "")
