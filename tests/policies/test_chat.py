"""A hosted model plays, over the real protocol, against a server that speaks it well or badly."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import siri
from siri import build
from siri.errors import ConfigError, PolicyFault
from siri.policies import ChatPolicy
from siri.rollout.play import GroupPlan, Rollout
from siri.rollout.suite import Suite
from siri.types import Request, Sampling, StopReason, Usage
from tests.skills.server import Answer, completion, server
from tests.skills.writers.test_servers import SERVERS as WRITERS

KEY = "sk-test-4711"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


class Door:
    """Opens."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return "A door.", siri.info(anchor="shut", admissible=["open"])

    def step(self, action: str) -> Any:
        won = action == "open"
        return "Open." if won else "Shut.", float(won), won, False, siri.info(success=won, anchor=str(won))


SUITE = Suite.of(Door, ["leave"] * 8, max_steps=3)
REQUEST = Request(
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A door."}], seed=2**40
)


MADE: list[ChatPolicy] = []
"""Policies whose connections the end of a test closes."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


def policy(url: str, **options: Any) -> ChatPolicy:
    made = ChatPolicy("m", base_url=url, **{"sleep": lambda _: None, "timeout": 20.0, **options})
    MADE.append(made)
    return made


def error(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, json.dumps({"error": {"message": message}}), headers)


def refuses(status: int, message: str, *names: str) -> Any:
    def answer(asked: dict[str, Any]) -> Answer:
        present = {*asked, *(m["role"] for m in asked["messages"])}
        return error(status, message) if present & set(names) else completion("open")

    return answer


def streams(asked: dict[str, Any]) -> Answer:
    if not asked.get("stream"):
        return error(400, "This model only supports streaming; set stream=true")
    rows = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in ("op", "en")]
    rows.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    text = "".join(f"data: {json.dumps(row)}\n\n" for row in rows) + "data: [DONE]\n\n"
    return Answer(body=text, headers={"Content-Type": "text/event-stream"})


GOOD = completion("open")
FAULTS: dict[str, list[Any]] = {
    "200 with an error": [Answer(body='{"error": {"message": "overloaded", "code": 502}}'), GOOD],
    "no choices": [Answer(body='{"choices": []}'), GOOD],
    "list of parts": [completion([{"type": "text", "text": "op"}, {"type": "text", "text": "en"}])],  # type: ignore[arg-type]
    "500 on a system role": [refuses(500, "System role not supported", "system")],
    "500 now and then": [error(500, "x"), error(500, "x"), GOOD],
    "refused seed": [refuses(400, "seed: Extra inputs are not permitted", "seed")],
    "refused temperature": [refuses(400, "'temperature' does not support 0.7", "temperature")],
    "an older token limit": [refuses(422, "extra: max_completion_tokens", "max_completion_tokens")],
    "refused system role": [refuses(400, "System role not supported", "system")],
    "streaming only": [streams],
    "429": [error(429, "slow down", **{"Retry-After": "1"}), GOOD],
    "dropped connection": [Answer(body="{", reset=True), GOOD],
    "not JSON": [Answer(body="<html>wait</html>"), GOOD],
    "thoughts next to it": [completion("open", reasoning_content="hm")],
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_plays_on(name: str) -> None:
    waited: list[float] = []
    with server(*FAULTS[name]) as (url, _):
        [found] = policy(url, sleep=waited.append).generate([REQUEST], Sampling(temperature=0.7))
    assert found.text == "open"
    assert found.finished
    assert not found.fault
    if name == "429":
        assert waited == [1.0]


def test_every_kind_of_server_of_the_writer_answers() -> None:
    """The table of the writer's tests, without those that are about structured outputs."""
    for name, (answers, _) in WRITERS.items():
        if "decod" in name or "structured" in name or "schema" in name:
            continue
        with server(*answers) as (url, _seen), closing(policy(url, max_retries=2)) as model:
            [found] = model.generate([REQUEST], Sampling())
        assert "open the door" in found.text, name


def test_what_is_asked() -> None:
    with server(GOOD) as (url, seen):
        policy(url).generate([REQUEST], Sampling(temperature=0.3, top_p=0.9, max_tokens=7))
    body = seen[0].body
    assert body["model"] == "m"
    assert body["messages"] == list(REQUEST.messages)
    assert (body["temperature"], body["top_p"], body["max_completion_tokens"]) == (0.3, 0.9, 7)
    assert 0 <= body["seed"] < 2**31
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_tokens_are_those_of_usage_and_an_estimate_says_so() -> None:
    with server(GOOD, completion("open", usage=None)) as (url, _):
        model = policy(url)
        counted = model.generate([REQUEST], Sampling())[0].usage
        guessed = model.generate([REQUEST], Sampling())[0].usage
    assert counted == Usage(11, 7)
    assert guessed == Usage(len("Be brief.A door.") // 4, 1, estimated=True)


def test_completions_come_in_order_and_calls_are_bounded() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def answer(asked: dict[str, Any]) -> Answer:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return completion(asked["messages"][0]["content"])

    requests = [Request([{"role": "user", "content": str(n)}]) for n in range(12)]
    with server(answer) as (url, _):
        found = policy(url, concurrency=3).generate(requests, Sampling())
    assert [c.text for c in found] == [str(n) for n in range(12)]
    assert 1 < most <= 3


def test_a_call_that_fails_for_good_costs_its_episode_alone() -> None:
    def answer(asked: dict[str, Any]) -> Answer:
        return error(400, "no") if "broken" in str(asked["messages"]) else completion("open")

    suite = Suite.of(Door, ["leave", "broken", "leave", "leave", "leave"], max_steps=3)
    with server(answer) as (url, _):
        found = siri.evaluate(suite, policy(url), split="train", sampling=Sampling(max_tokens=9))
    assert (found.successes, found.faults) == (found.n - 1, 1)


def test_an_endpoint_that_is_gone_ends_the_evaluation() -> None:
    with server(error(401, "no key")) as (url, _), pytest.raises(PolicyFault, match="http_401"):
        siri.evaluate(SUITE, policy(url), split="train", sampling=Sampling())


def test_a_prompt_that_does_not_fit_ends_the_episode_and_is_asked_once() -> None:
    with server(error(400, "This model's maximum context length is 8 tokens")) as (url, seen):
        rollout = Rollout(SUITE.make_env, SUITE.prompter, policy(url), sampling=Sampling())
        [group] = rollout.play([GroupPlan(SUITE.tasks["train"][0], 1)])
    assert group.trajectories[0].stop is StopReason.CONTEXT_LIMIT
    assert len(seen) == 1


def test_a_reply_that_is_cut_off_before_a_word_is_a_turn_without_action() -> None:
    with server(completion("", finish="length"), GOOD) as (url, _):
        rollout = Rollout(SUITE.make_env, SUITE.prompter, policy(url), sampling=Sampling())
        [group] = rollout.play([GroupPlan(SUITE.tasks["train"][0], 1)])
    [first, second] = group.trajectories[0].turns
    assert not first.finished
    assert not first.well_formed
    assert second.action == "open"
    assert first.usage == Usage(11, 7)


def test_kept_answers_are_not_paid_for_again(tmp_path: Any) -> None:
    with server(GOOD) as (url, seen):
        for _ in range(2):
            [found] = policy(url, cache=tmp_path).generate([REQUEST], Sampling())
            assert found.text == "open"
        assert len(seen) == 1
    assert KEY not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_the_key_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with server(error(401, f"wrong key {KEY}"), completion(f"open {KEY}")) as (url, _):
        model = policy(url)
        [refused] = model.generate([REQUEST], Sampling())
        [echoed] = model.generate([REQUEST], Sampling())
    assert refused.fault == "http_401"
    assert KEY not in f"{echoed.text}{model!r}{refused}"
    ours = [record for record in caplog.records if record.name.startswith("siri")]
    assert all(KEY not in record.getMessage() for record in ours)


def test_it_cannot_be_trained(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="expected one with weights") as caught:
        siri.train("alfworld", policy="openai:m", out=tmp_path / "run")
    assert len(str(caught.value)) <= 300
    with pytest.raises(ConfigError, match="expected one with weights"):
        siri.sft("alfworld", policy="openai:m", out=tmp_path / "sft")
    with pytest.raises(ConfigError, match="weights"):
        siri.train(SUITE, policy=policy("http://127.0.0.1:1/v1"), out=tmp_path / "own")  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*/config.json"))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("openai:", {}, "openai:NAME"),
        ("openai:m", {"engine": "vllm"}, "engine"),
        ("tiny", {"base_url": "http://127.0.0.1:1/v1"}, "hosted model"),
        ("openai:m", {"base_url": "ftp://x"}, "http"),
    ],
)
def test_bad_input_is_one_sentence(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        build.policy(name, siri.preset("paper"), **options)  # type: ignore[arg-type]
    assert len(str(caught.value)) <= 300


def test_a_world_of_tools_is_refused() -> None:
    request = Request(REQUEST.messages, tools=[{"type": "function"}])
    with pytest.raises(ConfigError, match="tools"):
        policy("http://127.0.0.1:1/v1").generate([request], Sampling())
