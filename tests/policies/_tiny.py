"""A random Qwen2 of a few thousand parameters and a word-level tokenizer with a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from siri.types import Message

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
