"""A random Qwen2 of a few thousand parameters and a word-level tokenizer with a chat template."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from siri.types import Completion, Message, Request, Sampling

SAMPLING = Sampling(temperature=1.0, max_tokens=6)

WORDS = [f"w{n}" for n in range(24)] + ["user", "assistant", "skill"]
SPECIAL = ["<unk>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|im_start|> ' + m['role'] + ' ' + m['content'] + '<|im_end|> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)


def tiny_tokenizer() -> Any:
    """Only the stop token is special, so that any sampled text survives a round trip."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        chat_template=TEMPLATE,
    )


def tiny_model(seed: int = 0, *, hidden: int = 32, layers: int = 2, scale: float = 6.0, **more: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Qwen2Config(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            eos_token_id=2,
            pad_token_id=0,
            bos_token_id=None,
            **more,
        )
        model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
    return model


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def full_logprobs(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of ``completion`` by one pass without any cache."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0]
    scores = logits.float().log_softmax(-1)[len(prompt) - 1 : -1]
    return scores.gather(-1, torch.tensor(completion)[:, None])[:, 0]


def play(
    agent: Any, episodes: int = 5, turns: int = 4, *, sessions: bool = True, skill: bool = True
) -> list[list[Completion]]:
    """Episodes of unequal observations and ends; odd ones carry a skill block in the first message."""
    talks: list[list[Any]] = [
        [user(" ".join(f"w{(3 * e + i) % 24}" for i in range(2 + e)))] for e in range(episodes)
    ]
    out: list[list[Completion]] = [[] for _ in range(episodes)]
    for turn in range(turns):
        live = [e for e in range(episodes) if turn < turns - e % 3]
        requests = []
        for e in live:
            plain = list(talks[e])
            shown = [user("skill w1 w2 " + plain[0]["content"]), *plain[1:]] if skill and e % 2 else plain
            requests.append(
                Request(
                    shown,
                    f"s{e}" if sessions else None,
                    plain if shown is not plain else None,
                    100 * e + turn,
                )
            )
        for e, c in zip(live, agent.generate(requests, SAMPLING), strict=True):
            out[e].append(c)
            words = " ".join(f"w{(7 * e + 5 * turn + i) % 24}" for i in range(1 + (e + turn) % 4))
            talks[e] += [assistant(c.text), user(words)]
    return out


def close(a: list[list[Completion]], b: list[list[Completion]]) -> None:
    for x, y in zip(chain(*a), chain(*b), strict=True):
        assert dataclasses.replace(x, logprobs=()) == dataclasses.replace(y, logprobs=())
        assert x.logprobs == pytest.approx(y.logprobs, abs=1e-4)
