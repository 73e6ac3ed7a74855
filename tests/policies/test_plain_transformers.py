"""A saved embedded policy is an ordinary checkpoint: AutoTokenizer and pipeline read it as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from siri.config.presets import preset
from siri.envs.alfworld import alfworld_suite
from siri.envs.webshop import webshop_suite
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout.suite import Suite
from siri.types import Message, Request, Sampling


def suite_of(env: str) -> Suite:
    e = preset("smoke", env).env
    if env == "alfworld":
        return alfworld_suite(
            train_games=e.train_games, valid_games=e.valid_games, scale=e.scale, max_steps=3, style=e.style
        )
    return webshop_suite(style=e.style, size=e.catalog, max_steps=3)


def conversations(suite: Suite, policy: HFPolicy, count: int) -> list[list[Message]]:
    """Prompts of first and second turns, with the policy's own words in them."""
    asked: list[list[Message]] = []
    for task in suite.split("train")[:count]:
        env = suite.make_env()
        observation, info = env.reset(seed=0, options={"task": task})
        messages = suite.prompter.messages(task, (), observation, info["admissible"])
        [done] = policy.generate([Request(messages)], Sampling(temperature=0.0, max_tokens=16))
        said: list[Message] = [
            {"role": "assistant", "content": done.text},
            {"role": "user", "content": env.step(suite.prompter.parse(done.text)[0])[0]},
        ]
        asked += [messages, [*messages, *said]]
    return asked


@pytest.mark.parametrize("env", ["alfworld", "webshop"])
def test_auto_tokenizer_and_pipeline_read_what_was_saved(env: str, tmp_path: Path) -> None:
    policy = HFPolicy.load(base_path(env))
    policy.save(tmp_path / "model")
    for folder in (base_path(env), tmp_path / "model"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        asked = conversations(suite_of(env), policy, 6)
        for messages in asked:
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            [done] = policy.generate([Request(messages)], Sampling(temperature=0.0, max_tokens=1))
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tuple(ids) == done.prompt_ids
            assert tokenizer.unk_token_id not in ids[:40]
        assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == (
            policy.tokenizer.eos_token,
            policy.tokenizer.pad_token,
            "left",
        )

    write = pipeline("text-generation", model=str(tmp_path / "model"))
    for messages in asked[::2]:
        [ours] = policy.generate([Request(messages)], Sampling(temperature=0.0, max_tokens=16))
        [theirs] = write(messages, max_new_tokens=16, do_sample=False)
        assert theirs["generated_text"][-1]["content"].strip() == ours.text.strip()


def test_weights_of_before_are_still_read(tmp_path: Path) -> None:
    """Models saved by siri 0.1.0 call themselves qwen2; they are the same function."""
    old = tmp_path / "old"
    shutil.copytree(base_path(), old)
    config = json.loads((old / "config.json").read_text(encoding="utf-8"))
    for name in ("attention_bias", "attention_out_bias", "mlp_bias", "residual_dropout", "head_dim"):
        config.pop(name)
    config |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (old / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        now = AutoModelForCausalLM.from_pretrained(base_path())(ids).logits
        before = AutoModelForCausalLM.from_pretrained(old)(ids).logits
    assert torch.equal(now, before)
    text = "Your task is to: put a hot apple in fridge."
    read = [HFPolicy.load(folder).tokenizer(text)["input_ids"] for folder in (old, base_path())]
    assert read[0] == read[1]
