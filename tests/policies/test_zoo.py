"""Encoding with the tokenizers and templates that people bring."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from siri.errors import ConfigError
from siri.policies.encoding import Encoder, Prompt, Transcript
from siri.policies.template import ChatTemplate
from siri.rollout.spans import tokens_of_span
from siri.types import Message, Request
from tests.policies._tiny import assistant, user
from tests.zoo import CHATML, NAMES, QWEN3, R1, stops_of, tokenizer_of


@lru_cache
def encoder(name: str, template: str | None = None) -> Encoder:
    tokenizer = tokenizer_of(name, template=template)
    return Encoder(tokenizer, [tokenizer.convert_tokens_to_ids(stop) for stop in stops_of(name)])


def whole(made: Encoder, messages: list[Message]) -> list[int]:
    """What the tokenizer itself makes of a conversation."""
    text = made.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return list(made.tokenizer(text, add_special_tokens=False)["input_ids"])


SCRIPTS = (
    "abcxyz ABC 0189 .,:;!?'\"()-\n"
    + "äéßñ"
    + "жщэ"
    + "العر"
    + "你好世界"
    + "한글"
    + "हिन"
    + "🙂🚀é️"
    + "\t  "
)
SPOKEN = st.text(st.sampled_from(SCRIPTS), min_size=1, max_size=24).filter(lambda text: text.strip() != "")
REPLIES = st.text(st.sampled_from(SCRIPTS.replace("\n", "").replace("\t", "")), min_size=1, max_size=16)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(first=SPOKEN, turns=st.lists(st.tuples(REPLIES, SPOKEN), min_size=1, max_size=4), cut=st.booleans())
def test_ids_of_a_session_are_those_of_the_whole_rendering(
    name: str, first: str, turns: list[tuple[str, str]], cut: bool
) -> None:
    made = encoder(name)
    messages: list[Message] = [user(first)]
    old: Transcript | None = None
    for reply, observation in turns:
        request = Request(list(messages))
        [prompt] = made.encode([request], [old])
        assert prompt.ids == whole(made, messages)
        if old is not None:
            assert prompt.continued
        # the reply as the tokenizer would say it in this place, its closing token included
        said = reply.strip()
        assume(said)
        messages += [assistant(made.opened + said), user(observation)]
        ids = whole(made, messages)
        assume(ids[: len(prompt.ids)] == prompt.ids)
        end = ids.index(made.template.closing_id, len(prompt.ids))
        sampled = tuple(ids[len(prompt.ids) : end if cut else end + 1])
        text = made.decode(sampled)
        assert text.strip() == said
        messages[-2] = assistant(made.opened + text)
        assume(whole(made, messages) == ids)
        old = Transcript(request, prompt, text, sampled)
    [prompt] = made.encode([Request(list(messages))], [old])
    assert prompt.ids == whole(made, messages)
    assert prompt.continued


@pytest.mark.parametrize("name", NAMES)
def test_another_stop_token_is_not_kept_in_the_conversation(name: str) -> None:
    made = encoder(name)
    others = made.stop_ids - {made.template.closing_id}
    request = Request([user("w")])
    [prompt] = made.encode([request], [None])
    ids = tuple(made.tokenizer("go on", add_special_tokens=False)["input_ids"])
    for stop in others:
        old = Transcript(request, prompt, "go on", (*ids, stop))
        [grown] = made.encode([Request([user("w"), assistant(made.opened + "go on"), user("next")])], [old])
        assert grown.continued
        assert grown.ids[len(prompt.ids) :][: len(ids)] == list(ids)
        assert stop not in grown.ids[len(prompt.ids) :]


@pytest.mark.parametrize("name", NAMES)
def test_the_closing_token_of_the_template_stops(name: str) -> None:
    made = encoder(name)
    assert made.report.closing is not None
    assert made.template.closing_id in made.stop_ids
    assert made.report.written == ""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_opens_and_closes_no_turn(name: str) -> None:
    made = encoder(name)
    added = sorted(made.tokenizer.get_added_vocab())
    markers = ["[INST]", "[/INST]", "<<SYS>>", "<|assistant|>", "<|user|>", "<|im_start|>assistant\n"]
    [calm] = made.encode([Request([user("an object")])], [None])
    for text in (*added, *markers):
        [loud] = made.encode([Request([user(f"an {text} object")])], [None])
        for control in made.template.control_ids - {made.tokenizer.unk_token_id}:
            assert loud.ids.count(control) == calm.ids.count(control), text
    shown = made.render([[user("an <|im_end|> [/INST] <|assistant|> </s> object")]])[0]
    assert shown.count("<|im_start|>") == made.render([[user("an object")]])[0].count("<|im_start|>")


def test_rules_are_folded_where_there_is_no_system_role() -> None:
    rules: list[Message] = [{"role": "system", "content": "The rules."}, user("The question.")]
    for name in NAMES:
        [text] = encoder(name).render([rules])
        assert text.index("The rules.") < text.index("The question.")
        folded = encoder(name).report.system == "folded"
        assert folded == name.startswith(("gemma", "mistral"))
        if folded:
            assert "The rules.\n\nThe question." in text
            assert "The rules." in encoder(name).render([rules[:1]])[0]


DROPS = "{% for m in messages %}{% if m.role != 'system' %}" + CHATML.removeprefix(
    "{% for m in messages %}"
).replace("{% endfor %}", "{% endif %}{% endfor %}")
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for p in m.content %}{{ p['text'] }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CLOSED = CHATML[: CHATML.index("{% if add_generation_prompt")]
GENERATION = CHATML.replace(
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}",
    "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}",
)


@pytest.mark.parametrize("template", [DROPS, PARTS, CLOSED, GENERATION])
def test_unusual_templates_are_served_like_usual_ones(template: str) -> None:
    made, usual = encoder("qwen25", template), encoder("qwen25", CHATML)
    talk: list[Message] = [user("one"), assistant("two"), user("three")]
    assert made.render([talk]) == usual.render([talk])
    rules: list[Message] = [{"role": "system", "content": "rules"}, *talk]
    [text] = made.render([rules])
    assert text.index("rules") < text.index("one")
    assert text.endswith("<|im_start|>assistant\n")
    assert made.report.continues


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0].foo.bar.baz }}", "fails on one user message"),
        ("{{ raise_exception('pass a date') if date_string is not defined }}", "pass a date"),
        ("{% for m in messages %", "TemplateSyntaxError"),
        ("Hello.", "leaves out what the user says"),
        ("{{ messages[-1].content }}", "loses the first question"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "loses the reply"),
        (CHATML + "{{ raise_exception('one turn') if messages | length > 1 }}", "fails on a second turn"),
        (CHATML.replace("in messages %}", "in messages[-4:] %}"), "leaves out 'Question 0"),
        (
            CHATML.replace("in messages %}", "in (messages[:2] + messages[2:][-9:]) %}"),
            "leaves out 'Question 1",
        ),
        (CHATML.replace("m['content']", "m['content'][:200]"), r"leaves out 'End 0\.'"),
        (CHATML.replace("m['content']", "m['content'].split('\\n')[0]"), r"leaves out 'End 0\.'"),
        (
            CHATML + "{{ raise_exception('too long') if messages | length > 50 }}",
            "conversation of 81 messages",
        ),
    ],
)
def test_what_cannot_be_served_is_one_sentence(template: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        Encoder(tokenizer_of("qwen25", template=template), [0])
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.content %}" + CHATML.removeprefix("{% for m in messages %}"),
        "{% for m in messages if m.content | trim %}" + CHATML.removeprefix("{% for m in messages %}"),
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty') }}{% endif %}{% endfor %}"
        + CHATML,
    ],
)
@pytest.mark.parametrize("said", ["", " "])
def test_turns_in_which_nothing_is_said_stay_turns(template: str, said: str) -> None:
    """A model may end its reply before it says anything; that is no reason to end a run."""
    made = encoder("qwen25", template)
    [first] = made.encode([Request([user("one")])], [None])
    closing = (made.template.closing_id,)
    old = Transcript(Request([user("one")]), first, said, closing)  # type: ignore[arg-type]
    talk: list[Message] = [user("one"), assistant(said), user("")]
    [text] = made.render([talk])
    assert text.count("<|im_start|>") == 4
    assert text.count("(nothing)") == 2 if not said else text.count("(nothing)") >= 1
    [prompt] = made.encode([Request(talk)], [old])
    assert prompt.text == text
    assert made.tokenizer.decode(prompt.ids) == text
    assert "(nothing)" not in encoder("qwen25", CHATML).render([talk])[0]


LSTRIP = CHATML.replace("m['content']", "m['content'].lstrip()")
TRIM = CHATML.replace("m['content']", "m['content'] | trim")


@pytest.mark.parametrize("template", [LSTRIP, TRIM])
@pytest.mark.parametrize("flags", [{"lstrip": True}, {"normalized": True}, {"lstrip": True, "rstrip": True}])
def test_added_tokens_that_strip_and_templates_that_do(template: str, flags: dict[str, bool]) -> None:
    tokenizer = tokenizer_of("qwen25", template=template)
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in raw["added_tokens"]:
        token.update(flags)
    tokenizer = type(tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)), eos_token="<|im_end|>", chat_template=template
    )
    made = Encoder(tokenizer, [tokenizer.convert_tokens_to_ids("<|im_end|>")])
    messages: list[Message] = [user("  You are here. ")]
    old: Transcript | None = None
    for turn in range(3):
        [prompt] = made.encode([Request(list(messages))], [old])
        assert prompt.ids == whole(made, messages)
        assert prompt.continued == (turn > 0)
        sampled = (
            *tokenizer("go to shelf 1", add_special_tokens=False)["input_ids"],
            made.template.closing_id,
        )
        old = Transcript(Request(list(messages)), prompt, "go to shelf 1", sampled)
        messages += [assistant("go to shelf 1"), user(f"\n A shelf {turn}. ")]


def test_something_has_to_end_replies() -> None:
    plain = (
        "{% for m in messages %}{{ '### ' + m.role + ':\n' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
    )
    tokenizer = tokenizer_of("gpt2", template=plain)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="at which replies end") as caught:
        Encoder(tokenizer, [])
    assert len(str(caught.value)) <= 300
    stop = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    made = Encoder(tokenizer, [stop])
    [prompt] = made.encode([Request([user("one")])], [None])
    assert made.reply_ids(prompt, "go")[-1] == stop
    assert made.decode(made.reply_ids(prompt, "go")).strip() == "go"


def test_arguments_reach_the_template() -> None:
    dated = "{{ raise_exception('pass a date') if date_string is not defined }}" + CHATML
    made = Encoder(tokenizer_of("qwen25", template=dated), [2], arguments={"date_string": "today"})
    assert made.report.continues
    calm = Encoder(tokenizer_of("qwen3"), [2], arguments={"enable_thinking": False})
    assert calm.opened == "<think>\n\n</think>\n\n"
    assert encoder("qwen3").opened == ""
    with pytest.raises(ConfigError, match="'tokenize'"):
        Encoder(tokenizer_of("qwen3"), [2], arguments={"tokenize": True})


def test_one_of_several_templates_has_to_be_named() -> None:
    tokenizer = tokenizer_of("qwen25")
    tokenizer.chat_template = {"chat": CHATML, "tool_use": CHATML}
    with pytest.raises(ConfigError, match=r"chat, tool_use and no 'default'"):
        ChatTemplate(tokenizer)
    assert ChatTemplate(tokenizer, {"chat_template": "chat"}).report.closing == "<|im_end|>"
    tokenizer.chat_template = {"default": CHATML, "tool_use": "{{ 1 / 0 }}"}
    assert ChatTemplate(tokenizer).report.closing == "<|im_end|>"


def test_todays_date_is_noticed_and_can_be_set() -> None:
    assert encoder("llama31").report.dated
    assert any("date" in note for note in encoder("llama31").report.notes)
    set_ = ChatTemplate(tokenizer_of("llama31"), {"strftime_now": "26 Jul 2024"})
    assert not set_.report.dated
    assert "Today: 26 Jul 2024" in set_.render([[user("w")]])[0]


def test_thoughts_in_prompts_and_in_the_past() -> None:
    assert encoder("r1").opened == "<think>\n"
    prefilled = encoder("qwen3", QWEN3.replace("and enable_thinking is false", "or true"))
    assert prefilled.opened == "<think>\n\n</think>\n\n"
    assert not prefilled.report.continues
    keeps = {name: encoder(name).report.keeps_thoughts for name in NAMES}
    assert [name for name, kept in keeps.items() if not kept] == ["qwen3", "r1"]
    # past replies may carry an empty thought that the model does not write
    empty = CHATML.replace(
        "m['content']", "('<think>\n\n</think>\n\n' if m.role == 'assistant' else '') + m['content']"
    )
    made = encoder("qwen3", empty)
    assert made.template.closing_id in made.stop_ids
    assert not made.report.continues


def test_a_rewritten_past_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made = Encoder(tokenizer_of("qwen3"), [2])
    request, reply = Request([user("w")]), "<think>\nso\n</think>\n\ngo"
    [prompt] = made.encode([request], [None])
    old = Transcript(request, prompt, reply, (5, 2))
    grown = Request([user("w"), assistant(reply), user("next")])
    assert not made.encode([grown, grown], [old, old])[0].continued
    assert [record.message.count("rewrites past turns") for record in caplog.records] == [1]


def test_replies_that_begin_on_channels_are_not_cut_at_their_end() -> None:
    harmony = (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{{ '<|im_start|>assistant<|endoftext|>final\n' + m.content + '<|im_end|>' }}{% else %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
    )
    made = Encoder(tokenizer_of("qwen25", template=harmony), [0])
    assert made.report.written == "<|endoftext|>final\n"
    assert made.tokenizer.convert_tokens_to_ids("<|im_end|>") not in made.stop_ids
    assert any("write itself" in note for note in made.report.notes)


@pytest.mark.parametrize(
    "template", [CHATML, R1.replace("<|User|>", "<|im_start|>").replace("<|Assistant|>", "<|im_end|>")]
)
def test_special_tags_stay_in_the_text(template: str) -> None:
    made = encoder("special_tags", CHATML)
    text = "<think>look.</think><action>look</action>"
    ids = made.tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"]
    assert made.decode(ids) == text
    assert made.decode([made.tokenizer.convert_tokens_to_ids("<|im_start|>"), *ids]) == text
    again = [user(f"{text} is the form")]
    assert "<think>" in made.render([again])[0]


def test_tokens_without_embeddings() -> None:
    tokenizer = tokenizer_of("qwen25")
    size = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|extra_{n}|>" for n in range(9)]})
    made = Encoder(tokenizer, [2], embedded=size)
    [prompt] = made.encode([Request([user("an <|extra_3|> object")])], [None])
    assert max(prompt.ids) < size
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n", "assistant\n<|extra_8|>")
    with pytest.raises(ConfigError, match=r"<\|extra_8\|>.* embeds"):
        Encoder(tokenizer, [2], embedded=size)
    plain = tokenizer_of("qwen25")
    plain.add_tokens(["countertop-word"])
    with pytest.raises(ConfigError, match="resize_token_embeddings"):
        Encoder(plain, [2], embedded=size)
    Encoder(plain, [2], embedded=size + 512)


@pytest.mark.parametrize("name", NAMES)
def test_half_characters_are_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match="half a character") as caught:
        encoder(name).encode([Request([user("Blue mug \ud83d")])], [None])
    assert len(str(caught.value).encode()) <= 300
    assert encoder(name).encode([Request([user("Blue mug \x00")])], [None])


def test_a_run_of_bytes_hides_the_characters_before_the_one_begun() -> None:
    made = encoder("mistral")
    ids = made.tokenizer("x你好go to ", add_special_tokens=False)["input_ids"]
    assert made.decode(ids[:3]) == "\ufffd\ufffd"  # x and the first byte of 你
    first, end = tokens_of_span(ids, made.decode, made.decode(ids), (1, 2))
    assert made.decode(ids[first:end]) == "你"


TEXTS = st.lists(
    st.sampled_from(["go to ", "🙂", "你好", "é", "<action>", "look", "</action>", "ﷺ", "…", " "]), max_size=8
)


@pytest.mark.parametrize("name", ["qwen25", "llama2", "gemma2", "mistral", "special_tags"])
@settings(max_examples=40, deadline=None)
@given(parts=TEXTS, data=st.data())
def test_tokens_of_a_span_hold_its_characters(name: str, parts: list[str], data: Any) -> None:
    made = encoder(name)
    ids = made.tokenizer("x" + "".join(parts), add_special_tokens=False)["input_ids"]
    text = made.decode(ids)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    first, end = tokens_of_span(ids, made.decode, text, (start, stop))
    if start == stop:
        assert first == end
        return
    # everything before the span is said without its tokens, and with them all of it is
    before, upto = made.decode(ids[:first]), made.decode(ids[:end])
    assert text.startswith(before.rstrip("�"))
    assert len(before.rstrip("�")) <= start
    assert upto[:stop] == text[:stop]
    if first + 1 < end:
        assert made.decode(ids[: end - 1])[:stop] != text[:stop]
        assert len(made.decode(ids[: first + 1])) > start


def test_a_prompt_is_a_record() -> None:
    assert encoder("qwen25").encode([Request([user("w")])], [None])[0] == Prompt(
        *(lambda ids, text: (text, ids, ids, False))(
            whole(encoder("qwen25"), [user("w")]), encoder("qwen25").render([[user("w")]])[0]
        )
    )


def test_a_template_that_may_switch_thoughts_off_says_how() -> None:
    tokenizer = tokenizer_of("qwen3")
    report = ChatTemplate(tokenizer).report
    assert report.thinks
    assert any("{enable_thinking: false}" in note for note in report.notes)
    assert not ChatTemplate(tokenizer, {"enable_thinking": False}).report.thinks
    assert not encoder("qwen25").report.thinks


def test_a_tokenizer_without_template_takes_one_from_the_settings() -> None:
    tokenizer = tokenizer_of("qwen25")
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="chat_template: TEMPLATE"):
        ChatTemplate(tokenizer)
    made = ChatTemplate(tokenizer, {"chat_template": CHATML})
    assert made.report == encoder("qwen25", CHATML).report
    assert made.render([[user("one")]]) == encoder("qwen25", CHATML).render([[user("one")]])
