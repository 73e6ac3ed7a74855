"""The embedded policy: its tokenizer, its checkpoint, and what its training data may not contain."""

from __future__ import annotations

import importlib
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from siri.policies.tiny import (
    CONDITIONS,
    TINY_SKILL_PATTERN,
    base_path,
    build_model,
    build_tokenizer,
    vocabulary,
)
from siri.skills.writers.parsing import parse_skills

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = (
    "go to cabinet 1",
    "take soapbottle 2 from sinkbasin 1",
    "move apple 1 to fridge 1",
    "put apple 1 in/on fridge 1",
    "heat egg 3 with microwave 1",
    "use desklamp 1",
    "open drawer 12",
    "close safe 1",
    "slice tomato 1 with butterknife 2",
    "examine mug 1",
    "inventory",
    "look",
    "help",
)
SKILLS = (
    "search the countertop first, take it, heat it with the microwave, then move it to the goal.",
    "search the bed first, take it, then use the desklamp.",
    "take it, move it to the goal, then repeat with the second one.",
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def demos() -> Any:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("tiny_demos")
    finally:
        sys.path.remove(str(SCRIPTS))


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_survive_the_round_trip(tokenizer: Any, command: str) -> None:
    assert tokenizer.decode(ids(tokenizer, command)) == command


@pytest.mark.parametrize("strategy", SKILLS)
@pytest.mark.parametrize("condition", CONDITIONS.values())
def test_skills_survive_the_round_trip_and_fit_the_grammar(
    tokenizer: Any, condition: str, strategy: str
) -> None:
    text = f"When {condition}: {strategy}"
    assert tokenizer.decode(ids(tokenizer, text)) == text
    assert re.fullmatch(TINY_SKILL_PATTERN, text)
    assert parse_skills(text) == [(condition, strategy)]


@pytest.mark.parametrize(
    "text",
    [
        "When the task is to heat an object: search the fridge.",
        "When the task is to fly: take it.",
        "take it.",
    ],
)
def test_the_grammar_refuses_other_texts(text: str) -> None:
    assert re.fullmatch(TINY_SKILL_PATTERN, text) is None


def test_what_is_not_known_becomes_unk_and_nothing_is_lost(tokenizer: Any) -> None:
    unknown, one = tokenizer.unk_token_id, tokenizer.convert_tokens_to_ids("1")
    assert ids(tokenizer, "zebra 1 é") == [unknown, one, unknown]


def test_phrases_match_whole_words_only(tokenizer: Any) -> None:
    pieces = tokenizer.convert_ids_to_tokens(
        ids(tokenizer, "On the bed 1, you see a armchair 1, and a apple 2.")
    )
    assert pieces == ["On the", "bed", "1", ", you see a", "armchair", "1", ", and a", "apple", "2", "."]


def test_vocabulary_has_no_duplicates_and_takes_more_words() -> None:
    words = vocabulary(["gramophone", "apple"])
    assert len(words) == len(set(words))
    assert words[-1] == "gramophone"


def test_template_is_a_growing_transcript(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Your task is to: put a apple in fridge."}]
    first = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    chat += [
        {"role": "assistant", "content": "go to fridge 1"},
        {"role": "user", "content": "Nothing happens."},
    ]
    second = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert second.startswith(first + "go to fridge 1" + tokenizer.eos_token)


def test_model_is_small(tokenizer: Any) -> None:
    assert sum(p.numel() for p in build_model(tokenizer).parameters()) < 600_000


def test_demonstrations_hold_nothing_out_of_reach_and_no_held_out_pair(demos: Any, tokenizer: Any) -> None:
    rng, worlds = random.Random(0), demos.Worlds(0)
    told = 0
    for number in range(300):
        segments = demos.episode(rng, worlds, progress=number / 300)
        text = "\n".join(text for _, text, _ in segments)
        assert tokenizer.unk_token_id not in ids(tokenizer, text)
        pairs = set(re.findall(r"(heat|cool|clean) it with the ([a-z]+)", text))
        told += bool(pairs)
        assert not pairs & demos.HELD_OUT
    assert told > 50


def test_a_held_out_pair_is_refused(demos: Any) -> None:
    with pytest.raises(ValueError, match="held-out"):
        demos.skill_text(demos.HEAT, demos.Plan("bed", (("heat", "microwave"), ("put",))))


def test_summaries_fit_the_grammar(demos: Any) -> None:
    rng, worlds = random.Random(1), demos.Worlds(1)
    for _ in range(60):
        (_, _, _), (_, reply, _) = demos.summary(rng, worlds, "small")
        assert re.fullmatch(TINY_SKILL_PATTERN, reply)


def test_the_shipped_checkpoint_acts(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = base_path()
    assert sum(f.stat().st_size for f in folder.iterdir()) < 4_000_000
    shipped = PreTrainedTokenizerFast.from_pretrained(folder)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    model = AutoModelForCausalLM.from_pretrained(folder)
    opening = (
        "You are in the middle of a room. Looking quickly around you, you see a fridge 1, and a sidetable 1."
        "\n\nYour task is to: put a apple in fridge."
    )
    chat = [{"role": "user", "content": opening}]
    prompt = shipped.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    reply = model.generate(**prompt, do_sample=False, max_new_tokens=12)[0, prompt["input_ids"].shape[1] :]
    assert shipped.decode(reply, skip_special_tokens=True).startswith(("go to fridge 1", "go to sidetable 1"))
