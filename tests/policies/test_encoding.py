from __future__ import annotations

import pytest

from siri.errors import ConfigError
from siri.policies.encoding import Encoder, Transcript
from siri.types import Request
from tests.policies._tiny import assistant, tiny_tokenizer, user

START, END, USER, ASSISTANT = 1, 2, 27, 28
W1, W2, W3, W4 = 4, 5, 6, 7
SKILL = 29


def encoder() -> Encoder:
    return Encoder(tiny_tokenizer(), [END])


def after(request: Request, reply: str, ids: tuple[int, ...]) -> Transcript:
    return Transcript(request, encoder().encode([request], [None])[0], reply, ids)


def test_from_nothing() -> None:
    request = Request([user("w1 w2")], plain=[user("w2")])
    prompt = encoder().encode([request], [None])[0]
    assert prompt.ids == [START, USER, W1, W2, END, START, ASSISTANT]
    assert prompt.plain_ids == [START, USER, W2, END, START, ASSISTANT]
    assert not prompt.continued


@pytest.mark.parametrize(("ids", "middle"), [((W3, END), []), ((W3,), [END])])
def test_continuation_adds_the_rest_only(ids: tuple[int, ...], middle: list[int]) -> None:
    first = Request([user("skill w1")], plain=[user("w1")])
    grown = [assistant("w3"), user("w4")]
    second = Request([*first.messages, *grown], plain=[*(first.plain or ()), *grown])
    prompt = encoder().encode([second], [after(first, "w3", ids)])[0]
    rest = [*ids, *middle, START, USER, W4, END, START, ASSISTANT]
    assert prompt.ids == [START, USER, SKILL, W1, END, START, ASSISTANT, *rest]
    assert prompt.plain_ids == [START, USER, W1, END, START, ASSISTANT, *rest]
    assert prompt.continued


def test_sampled_ids_are_never_tokenised_again() -> None:
    first = Request([user("w1")])
    second = Request([user("w1"), assistant("w3"), user("w4")])
    # ids that the tokenizer would never give for this text
    prompt = encoder().encode([second], [after(first, "w3", (W4, W4, END))])[0]
    assert prompt.ids[6:9] == [W4, W4, END]


@pytest.mark.parametrize(
    "messages",
    [
        [user("w2"), assistant("w3"), user("w4")],
        [user("w1"), assistant("w2"), user("w4")],
        [user("w1")],
        [user("w1"), user("w3")],
    ],
)
def test_other_histories_are_encoded_anew(messages: list) -> None:  # type: ignore[type-arg]
    request = Request(messages, plain=[user("w4")])
    old = after(Request([user("w1")]), "w3", (W3, END))
    assert encoder().encode([request], [old]) == encoder().encode([request], [None])


def test_plain_that_grew_otherwise_is_encoded_anew() -> None:
    first = Request([user("skill w1")], plain=[user("w1")])
    second = Request([*first.messages, assistant("w3"), user("w4")], plain=[user("w2")])
    prompt = encoder().encode([second], [after(first, "w3", (W3, END))])[0]
    assert prompt.continued
    assert prompt.plain_ids == [START, USER, W2, END, START, ASSISTANT]


def test_templates_that_trim() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'] | trim")
    trimming = Encoder(tokenizer, [END])
    first, second = Request([user("w1")]), Request([user("w1"), assistant(" w3 "), user("w4")])
    old = Transcript(first, trimming.encode([first], [None])[0], " w3 ", (W3, END))
    assert trimming.encode([second], [old])[0].continued


def test_decode_drops_the_stop_token_only_at_the_end() -> None:
    assert encoder().decode([W1, W2, END]) == "w1 w2"
    assert encoder().decode([W1, W2]) == "w1 w2"
    assert encoder().decode([END]) == ""


def test_mixed_batch_and_no_template() -> None:
    first = Request([user("w1")])
    second = Request([user("w1"), assistant("w3"), user("w4")])
    both = encoder().encode([first, second], [None, after(first, "w3", (W3, END))])
    assert [p.continued for p in both] == [False, True]
    assert encoder().encode([], []) == []
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="chat template"):
        Encoder(tokenizer, [END])
