"""ChatWriter: a function writes, siri does the rest."""

from __future__ import annotations

import json
import threading

import pytest

from siri.errors import ConfigError, MinerFault
from siri.protocols import BoundMiner
from siri.skills import ChatWriter, SelfMiner, prompt_hash
from siri.testing import check_miner
from tests.skills.helpers import Scripted, make_trajectory

SKILLS = json.dumps([{"condition": "an object must be hot", "strategy": "use the microwave"}])


def test_it_asks_in_the_words_of_the_self_miner_and_writes_the_same_skills():
    asked = []
    episodes = [make_trajectory(f"t{i}") for i in range(9)]
    writer = ChatWriter(lambda messages, seed: asked.append((messages, seed)) or SKILLS, samples=3, seed=4)
    policy = Scripted(SKILLS)
    own = SelfMiner(policy, samples=3, seed=4)
    ours, theirs = own.mine(episodes), writer.mine(episodes)
    assert asked == [(request.messages, request.seed) for request in policy.requests]
    assert [(s.id, s.sources, s.prompts) for s in ours] == [(s.id, s.sources, s.prompts) for s in theirs]
    assert own.report == writer.report
    assert {skill.origin for skill in theirs} == {"chat"}
    assert set(theirs[0].prompts) == {prompt_hash(messages) for messages, _ in asked}


def test_it_keeps_the_laws_and_has_the_full_form():
    def broken(messages, seed):
        raise OSError("down")

    writer = ChatWriter(lambda messages, seed: SKILLS)
    check_miner(writer, outage=ChatWriter(broken))
    assert isinstance(writer, BoundMiner)


def test_calls_that_fail_are_counted_and_the_others_used():
    answers = iter([RuntimeError("busy"), SKILLS, 7, SKILLS])

    def complete(messages, seed):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    writer = ChatWriter(complete, origin="mine")
    [skill] = writer.mine([make_trajectory()])
    assert skill.origin == "mine"
    assert writer.report.failed == {"RuntimeError": 1, "not_text": 1}
    assert writer.report.rejected == {"duplicate": 1}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, r"NoneType from complete\(messages, seed\), not text"),
        ({"role": "assistant", "content": SKILLS}, "dict from complete"),
        (b"bytes", "bytes from complete"),
        (ValueError("no\nmodel " + "x" * 999), "ValueError: no model x"),
    ],
)
def test_when_all_fail_it_is_one_sentence(answer, says):
    def complete(messages, seed):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(MinerFault, match=f"^got no reply in any of 4 calls \\({says}") as caught:
        ChatWriter(complete).mine([make_trajectory()])
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


def test_a_function_of_one_argument_is_told_so():
    with pytest.raises(MinerFault, match=r"TypeError: .*takes 1 positional argument"):
        ChatWriter(lambda messages: SKILLS).mine([make_trajectory()])


def test_an_interrupt_is_no_failed_call():
    def complete(messages, seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ChatWriter(complete).mine([make_trajectory()])


def test_calls_at_once():
    meet = threading.Barrier(2, timeout=10)

    def complete(messages, seed):
        meet.wait()  # passes only while two calls are on the way
        return SKILLS

    assert len(ChatWriter(complete, concurrency=2).mine([make_trajectory()])) == 1


@pytest.mark.parametrize("bad", [{"complete": "gpt"}, {"concurrency": 0}, {"origin": ""}, {"samples": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=r"^got .*expected"):
        ChatWriter(**{"complete": lambda messages, seed: "", **bad})
