"""Fifteen tiny random models with the tokenizers and the template structures that people bring.

``tokenizer_of(name)`` trains one on the spot, ``make(name, folder)`` writes a whole checkpoint, ``teach``
trains one until it gives a fixed reply. The templates have the structure of the families that they are named
after, in words of our own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from siri.types import Message

__all__ = ["CHATML", "NAMES", "QWEN3", "R1", "make", "special", "teach", "tokenizer_of"]


@lru_cache
def _corpus() -> tuple[str, ...]:
    rng = random.Random(0)
    places = ["shelf", "cabinet", "drawer", "fridge", "microwave", "sinkbasin", "desk", "bed", "sofa"]
    things = ["apple", "mug", "plate", "egg", "tomato", "pen", "book", "cloth", "soapbar", "pan", "candle"]
    lines = []
    for _ in range(1500):
        place, thing, n, m = rng.choice(places), rng.choice(things), rng.randint(1, 40), rng.randint(1, 9)
        lines += [
            f"You arrive at {place} {n}. On the {place} {n}, you see a {thing} {m}.",
            f"> go to {place} {n}\n> take {thing} {m} from {place} {n}\nYour task: put some {thing} on it.",
            f"<think>I should look at the {place}.</think><action>go to {place} {n}</action>",
        ]
    lines += ["You are in the middle of a room. Looking quickly around you, you see nothing."] * 100
    return tuple(lines)


def _with_bos(tokenizer: Tokenizer, bos: str | None) -> Tokenizer:
    if bos is not None:
        place = [(bos, tokenizer.token_to_id(bos))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=place)
    return tokenizer


def _bytes(special: Sequence[str], *, plain: Sequence[str] = (), bos: str | None = None) -> Tokenizer:
    """Byte-level BPE, as Qwen, Llama 3 and GPT-2 have it; ``plain`` tokens are added, not special."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(_corpus(), trainer)
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    return _with_bos(made, bos)


def _pieces(special: Sequence[str], kind: str, *, bos: str = "<s>", rstrip: Sequence[str] = ()) -> Tokenizer:
    """SentencePiece-like BPE: the dummy prefix at the first word, at every part, prepended, or none."""
    spread = "never" if kind == "none" else "always"
    learner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spread, split=True)
    hexes = [f"<0x{n:02X}>" for n in range(256)]
    tokens = ["<unk>", *special, *hexes]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=tokens, show_progress=False)
    learner.train_from_iterator(_corpus(), trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    made = Tokenizer(
        models.BPE(
            vocab=learned["vocab"], merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True
        )
    )
    if kind == "prepend":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif kind == "none":
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    made.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, rstrip=t in rstrip) for t in ("<unk>", *special)]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps + ([] if kind == "none" else [decoders.Strip(" ", 1, 0)]))
    return _with_bos(made, bos)


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_QWEN25 = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}" + CHATML
)
QWEN3 = (
    "{%- set ns = namespace(last=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{%- if m.role == 'assistant' %}{%- set c = m.content %}{%- set r = '' %}"
    "{%- if '</think>' in c %}{%- set r = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{%- set c = c.split('</think>')[-1].lstrip('\n') %}{%- endif %}{%- if loop.index0 > ns.last %}"
    "{{- '<|im_start|>assistant\n<think>\n' + r + '\n</think>\n\n' + c }}"
    "{%- else %}{{- '<|im_start|>assistant\n' + c }}{%- endif %}{{- '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- endif %}{%- endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% elif m.role == 'system' %}{{ m.content }}{% else %}{% set c = m.content %}"
    "{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    "{{ '<|Assistant|>' + c + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
_LLAMA3 = (
    "{% for m in messages %}{% set c = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set c = bos_token + c %}{% endif %}"
    "{{ c }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_LLAMA31 = (
    "{{- bos_token }}{%- set day = strftime_now('%d %b %Y') if strftime_now is defined else '1 Jan 2024' %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set rules = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set rules = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + day + '\n\n' + rules + '<|eot_id|>' }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
_ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant') }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}" + _ALTERNATE + ""
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}" + _ALTERNATE + "{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
_LLAMA2 = (
    "{% set rules = '' %}{% if messages[0]['role'] == 'system' %}{% set rules = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}" + _ALTERNATE + ""
    "{% set c = m['content'] %}{% if loop.index0 == 0 and rules %}"
    "{% set c = '<<SYS>>\n' + rules + '\n<</SYS>>\n\n' + c %}{% endif %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + c.strip() + ' [/INST]' }}{% else %}{{ ' ' + c.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
_ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

HERMES_TOOLS = (
    "{% if messages[0].role == 'system' %}{% set rules = messages[0].content %}"
    "{% else %}{% set rules = 'You are helpful.' %}{% endif %}"
    "{{ '<|im_start|>system\n' + rules }}{% if tools %}{{ '\n\nTools:\n<tools>' }}{% for t in tools %}"
    "{{ '\n' }}{{ t | tojson }}{% endfor %}"
    "{{ '\n</tools>\nCall one as <tool_call>{...}</tool_call>.' }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% for m in messages %}{% if m.role == 'system' %}{% elif m.role == 'tool' %}"
    "{{ '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}"
    "{% elif m.tool_calls %}{{ '<|im_start|>assistant' }}{% if m.content %}{{ '\n' + m.content }}{% endif %}"
    '{% for c in m.tool_calls %}{{ \'\n<tool_call>\n{"name": "\' + c.function.name + \'", "arguments": \' }}'
    "{{ c.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_TOOLS = (
    "{{ bos_token }}{% for m in messages %}"
    "{% set role = 'ipython' if m.role == 'tool' else m.role %}"
    "{{ '<|start_header_id|>' + role + '<|end_header_id|>\n\n' }}"
    '{% if m.tool_calls %}{{ \'{"name": "\' + m.tool_calls[0].function.name + \'", "parameters": \' }}'
    "{{ m.tool_calls[0].function.arguments | tojson }}{{ '}' }}"
    "{% elif m.role == 'tool' %}{{ {'output': m.content} | tojson }}"
    "{% else %}{{ m.content | trim }}{% endif %}"
    "{% if loop.first and tools %}{% for t in tools %}{{ '\n\n' }}{{ t | tojson }}{% endfor %}"
    '{{ \'\nAnswer with {"name": function name, "parameters": arguments}.\' }}{% endif %}'
    "{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL_TOOLS = (
    "{{ bos_token }}{% set ns = namespace(index=0) %}{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "{% if (m.role == 'user') != (ns.index % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, roles must alternate') }}{% endif %}"
    "{% set ns.index = ns.index + 1 %}{% endif %}"
    "{% if m.role == 'user' %}{% if tools and loop.first %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}"
    "{{ '[/AVAILABLE_TOOLS]' }}{% endif %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.tool_calls %}{{ '[TOOL_CALLS][' }}{% for c in m.tool_calls %}{% if c.id | length != 9 %}"
    "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
    '{{ \'{"name": "\' + c.function.name + \'", "arguments": \' }}{{ c.function.arguments | tojson }}'
    "{{ ', \"id\": \"' + c.id + '\"}' }}{% endfor %}{{ ']' + eos_token }}"
    "{% elif m.role == 'tool' %}{{ '[TOOL_RESULTS]{\"content\": ' }}{{ m.content | tojson }}"
    "{{ ', \"call_id\": \"' + m.tool_call_id + '\"}[/TOOL_RESULTS]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user, assistant and tool roles are supported!') }}"
    "{% endif %}{% endfor %}"
)
TOOL_TEMPLATES = {
    "hermes": ("qwen25", HERMES_TOOLS),
    "llama": ("llama31", LLAMA_TOOLS),
    "mistral": ("mistral_tools", MISTRAL_TOOLS),
}
"""A model and a template that takes tools, for each family of calls."""

_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_L3 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
)
_R1 = ("<|begin|>", "<|end|>", "<|User|>", "<|Assistant|>")
_G = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
_P3 = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
_INST = ("<s>", "</s>", "[INST]", "[/INST]")
_CALLS = ("[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
_THINK = ("<think>", "</think>")


@dataclass(frozen=True)
class _Spec:
    tokenizer: Callable[[], Tokenizer]
    template: str
    config: type
    stops: tuple[str, ...]
    """What the generation config names; some name less than the template uses."""
    roles: dict[str, str] = field(default_factory=dict)


def _qwen(stops: tuple[str, ...] = ("<|im_end|>",), **more: Any) -> dict[str, Any]:
    return {"stops": stops, "roles": {"eos_token": stops[0], "pad_token": "<|endoftext|>"}, **more}


_LLAMA_ROLES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
_LLAMA_STOPS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
_S = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_GEMMA_ROLES = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}

_SPECS = {
    "qwen25": _Spec(lambda: _bytes(_IM), _QWEN25, Qwen2Config, **_qwen(("<|im_end|>", "<|endoftext|>"))),
    "qwen25_base": _Spec(lambda: _bytes(_IM), _QWEN25, Qwen2Config, **_qwen(("<|endoftext|>",))),
    "qwen3": _Spec(lambda: _bytes(_IM, plain=_THINK), QWEN3, Qwen3Config, **_qwen()),
    "r1": _Spec(
        lambda: _bytes(_R1, plain=_THINK, bos="<|begin|>"),
        R1,
        Qwen2Config,
        ("<|end|>",),
        {"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|end|>"},
    ),
    "special_tags": _Spec(
        lambda: _bytes((*_IM, *_THINK, "<action>", "</action>")), CHATML, Qwen2Config, **_qwen()
    ),
    "llama3": _Spec(lambda: _bytes(_L3, bos=_L3[0]), _LLAMA3, LlamaConfig, _LLAMA_STOPS, _LLAMA_ROLES),
    "llama31": _Spec(lambda: _bytes(_L3, bos=_L3[0]), _LLAMA31, LlamaConfig, _LLAMA_STOPS, _LLAMA_ROLES),
    "llama2": _Spec(lambda: _pieces(("<s>", "</s>"), "prepend"), _LLAMA2, LlamaConfig, ("</s>",), _S),
    "mistral": _Spec(lambda: _pieces(_INST, "first"), _MISTRAL, MistralConfig, ("</s>",), _S),
    "mistral_tools": _Spec(
        lambda: _pieces((*_INST, *_CALLS), "first"), MISTRAL_TOOLS, MistralConfig, ("</s>",), _S
    ),
    "mistral_trim": _Spec(
        lambda: _pieces(_INST, "always"),
        _MISTRAL.replace("m['content'] + eos_token", "m['content'] | trim + eos_token"),
        MistralConfig,
        ("</s>",),
        _S,
    ),
    "gemma2": _Spec(
        lambda: _pieces(_G, "none", bos="<bos>"),
        _GEMMA,
        Gemma2Config,
        ("<eos>", "<end_of_turn>"),
        _GEMMA_ROLES,
    ),
    "gemma2_ft": _Spec(
        lambda: _pieces(_G, "none", bos="<bos>"), _GEMMA, Gemma2Config, ("<eos>",), _GEMMA_ROLES
    ),
    "gpt2": _Spec(
        lambda: _bytes(("<|endoftext|>",)),
        _ZEPHYR,
        GPT2Config,
        ("<|endoftext|>",),
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
    ),
    "zephyr": _Spec(
        lambda: _pieces(("<s>", "</s>"), "prepend"),
        _ZEPHYR,
        MistralConfig,
        ("</s>",),
        {**_S, "pad_token": "</s>"},
    ),
    "phi3": _Spec(
        lambda: _pieces(("<s>", "</s>", "<|endoftext|>", *_P3), "prepend", rstrip=_P3),
        _PHI3,
        LlamaConfig,
        ("<|endoftext|>", "<|end|>"),
        {**_S, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    ),
}
NAMES = tuple(name for name in _SPECS if name != "mistral_tools")


@lru_cache
def _raw(name: str) -> str:
    return _SPECS[name].tokenizer().to_str()


def tokenizer_of(name: str, *, template: str | None = None) -> Any:
    """A tokenizer of the zoo, with its template or another one."""
    spec = _SPECS[name]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_raw(name)), clean_up_tokenization_spaces=False, **spec.roles
    )
    made.chat_template = spec.template if template is None else template
    return made


def stops_of(name: str) -> tuple[str, ...]:
    """What the checkpoint itself calls a stop token."""
    return _SPECS[name].stops


def special(tokens: int) -> list[str]:
    """Names of special tokens that nothing uses."""
    return [f"<|extra_{n}|>" for n in range(tokens)]


def make(
    name: str, folder: Path, *, template: str | None = None, vocab: int | None = None, **config: Any
) -> Path:
    """Write a checkpoint: random weights, the tokenizer, and settings of ``config`` over the usual ones."""
    spec, tokenizer = _SPECS[name], tokenizer_of(name, template=template)
    stops = [tokenizer.convert_tokens_to_ids(token) for token in spec.stops]
    size = vocab or -(-len(tokenizer) // 64) * 64
    if spec.config is GPT2Config:
        made = GPT2Config(vocab_size=size, n_positions=4096, n_embd=32, n_layer=2, n_head=4)
    else:
        more: dict[str, Any] = {}
        if spec.config is Gemma2Config:
            more = {"head_dim": 8, "sliding_window": 4096, "query_pre_attn_scalar": 8}
        elif spec.config is Qwen3Config:
            more = {"head_dim": 8}
        elif spec.config is MistralConfig:
            more = {"sliding_window": None}
        made = spec.config(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            bos_token_id=tokenizer.bos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **more,
        )
    made.eos_token_id = stops if len(stops) > 1 else stops[0]
    for key, value in config.items():
        setattr(made, key, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(made)
    model.generation_config.eos_token_id = made.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def teach(
    folder: Path,
    conversations: Sequence[Sequence[Message]],
    reply: str,
    *,
    steps: int = 300,
    **arguments: Any,
) -> Path:
    """Train the checkpoint until it answers ``conversations`` with ``reply``, closing tokens included."""
    rng = random.Random(0)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    texts = [
        tokenizer.apply_chat_template(list(c), add_generation_prompt=True, tokenize=False, **arguments)
        for c in conversations
    ]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    target = tokenizer(reply, add_special_tokens=False)["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(steps):
        ids = rng.choice(prompts)[-rng.choice((16, 64, 4000)) :] + target
        labels = torch.tensor([[-100] * (len(ids) - len(target)) + target])
        loss = model(input_ids=torch.tensor([ids]), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step > 60 and loss.item() < 0.002:
            break
    model.save_pretrained(folder)
    return folder
