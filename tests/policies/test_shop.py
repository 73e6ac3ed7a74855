"""The embedded shop policy: its tokenizer, its checkpoint, and what its demonstrations are like."""

from __future__ import annotations

import importlib
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from siri.envs.webshop.compact import SHOP_SKILL_GRAMMAR
from siri.errors import ConfigError
from siri.policies.tiny import base_path, build_word_tokenizer

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def demos() -> Any:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("shop_demos")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def tokenizer(demos: Any) -> Any:
    return build_word_tokenizer(demos.words())


@pytest.fixture(scope="module")
def worlds(demos: Any) -> Any:
    return demos.Worlds(7, count=1)


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_demonstrations_hold_known_words_and_commands_survive(
    demos: Any, tokenizer: Any, worlds: Any
) -> None:
    rng = random.Random(0)
    for number in range(200):
        for role, text, _ in demos.episode(rng, worlds, progress=number / 200):
            found = ids(tokenizer, text)
            assert tokenizer.unk_token_id not in found
            if role == "assistant":
                assert tokenizer.decode(found) == text


def test_skills_and_summaries_fit_the_grammar(demos: Any, worlds: Any) -> None:
    rng = random.Random(1)
    for kind in demos.OPTIONS:
        for right in (True, False):
            assert re.fullmatch(
                SHOP_SKILL_GRAMMAR, demos.skill_text(kind, demos.skill_plan(rng, kind, right=right))
            )
    for kind in demos.OPTIONS:
        (_, prompt, _), (_, reply, _) = demos.summary(rng, worlds, kind)
        assert prompt.endswith("Summarize as a skill.")
        assert re.fullmatch(SHOP_SKILL_GRAMMAR, reply)


def test_a_right_skill_helps_the_demonstrator(demos: Any, worlds: Any) -> None:
    rng = random.Random(2)
    won = {}
    for name, plan in (
        ("plain", demos.plain_plan),
        ("right", lambda r, k: demos.skill_plan(r, k, right=True)),
    ):
        outcomes = []
        for _ in range(150):
            kind = rng.choice(list(demos.OPTIONS))
            shopper = demos.Shopper(*worlds.draw(rng, kind), rng)
            shopper.play(plan(rng, kind))
            outcomes.append(shopper.won)
        won[name] = sum(outcomes) / len(outcomes)
    assert won["plain"] < 0.2 < won["right"]


def test_what_is_not_known_becomes_unk(tokenizer: Any) -> None:
    one = tokenizer.convert_tokens_to_ids("open")
    assert ids(tokenizer, "open zebra") == [one, tokenizer.unk_token_id]


def test_the_shipped_checkpoint_shops(tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    folder = base_path("webshop")
    assert sum(f.stat().st_size for f in folder.iterdir()) < 4_000_000
    shipped = PreTrainedTokenizerFast.from_pretrained(folder)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = [{"role": "user", "content": "buy area rugs : easy clean , natural jute ; color red ; under 60"}]
    prompt = shipped.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    reply = model.generate(**prompt, do_sample=False, max_new_tokens=16)[0, prompt["input_ids"].shape[1] :]
    assert shipped.decode(reply, skip_special_tokens=True).startswith("search area rugs")


def test_a_benchmark_without_a_base_is_refused() -> None:
    with pytest.raises(ConfigError, match="env='chess'"):
        base_path("chess")
