"""What HFPolicy has to find out about a model and a batch before it may run."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from siri.errors import ConfigError
from siri.models.adapters import has_adapter, require_peft, save_adapter

__all__ = [
    "base_of",
    "buckets",
    "cache_argument",
    "common_prefix",
    "encoder_decoder",
    "evaluating",
    "head_is_linear",
    "load_tokenizer",
    "save_checkpoint",
    "slot_context",
    "stop_ids",
    "unserved",
    "usable_context",
]

_UNBOUNDED = 2**31 - 1
"""The context of a model that names none."""
_MASK_CELLS = 1 << 25
"""Largest attention mask of one prefill pass, in elements; larger batches are split."""

_PART = re.compile(
    r"(generation_|adapter_|tokenizer_|preprocessor_|processor_)?config\.json|tokenizer\.(json|model)|spiece\.model"
    r"|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|chat_template\.(jinja|json)"
    r"|additional_chat_templates|(adapter_)?model(-[0-9]+-of-[0-9]+)?\.safetensors"
    r"|model\.safetensors\.index\.json|README\.md"
)
"""Names of what transformers and PEFT write into the folder of a model."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def base_of(path_or_id: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The base that an adapter folder refers to; others as they are.

    Raises:
        MissingExtra: it is an adapter, and peft is not installed.
        ConfigError: the base is a folder that does not exist.
    """
    file = Path(path_or_id) / "adapter_config.json"
    if not file.is_file():
        return path_or_id
    require_peft()
    base = str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
    if os.path.isabs(base) and not os.path.isdir(base):
        raise ConfigError(
            f"got an adapter whose base {base} does not exist, expected the folder of the model it was "
            f"trained on; fix: base_model_name_or_path in {file}"
        )
    return base


def buckets(needs: Sequence[int], widest: int) -> Iterator[list[int]]:
    """Split rows so that little is padded and the mask stays small; ascending indices in each bucket.

    Args:
        needs: new tokens of each row.
        widest: longest prompt of the batch.
    """
    bucket: list[int] = []
    for n in sorted(range(len(needs)), key=needs.__getitem__):
        wasteful = bucket and needs[n] > 2 * needs[bucket[0]] + 32
        if wasteful or (len(bucket) + 1) * needs[n] * (widest + needs[n]) > _MASK_CELLS:
            if bucket:
                yield sorted(bucket)
            bucket = []
        bucket.append(n)
    yield sorted(bucket)


def cache_argument(model: Any) -> str:
    """The name of ``model.forward``'s cache: ``past_key_values`` before transformers 5.24, else ``cache``."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def common_prefix(old: Sequence[int], new: Sequence[int], limit: int) -> int:
    """Length of the common prefix, at most ``limit``."""
    return next((n for n in range(limit) if old[n] != new[n]), limit)


def save_checkpoint(model: Any, tokenizer: Any, target: Path) -> None:
    """Write a transformers checkpoint (of an adapter: PEFT's) aside, then rename it.

    Raises:
        ConfigError: ``target`` exists and is not a checkpoint; it is as before.
    """
    names = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
    foreign = "a file" if target.is_file() else next((n for n in names if not _PART.fullmatch(n)), None)
    if foreign is not None:
        raise ConfigError(
            f"got {target} to save a model in, which holds {foreign!r}, expected a new or empty folder or "
            "one with a model; fix: another folder"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    stale = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    if has_adapter(model):
        save_adapter(model, fresh)
    else:
        model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    if target.exists():
        os.replace(target, stale)
    os.replace(fresh, target)
    shutil.rmtree(stale, ignore_errors=True)


def load_tokenizer(path_or_id: str | os.PathLike[str]) -> Any:
    """The tokenizer that was saved, even where AutoTokenizer would rebuild the one usual for the model.

    transformers 5 replaces the pre-tokenizer of a generic fast tokenizer by that of the model's family.

    Raises:
        ConfigError: a folder without a tokenizer, for which transformers would make up an empty one.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    folder = Path(path_or_id)
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ConfigError(
            f"got model folder {str(folder)[-80:]!r} without a tokenizer, expected one of "
            f"{', '.join(_TOKENIZERS)}; fix: download it again"
        )
    kind = get_tokenizer_config(str(path_or_id)).get("tokenizer_class")
    if kind in ("TokenizersBackend", "PreTrainedTokenizerFast"):
        return PreTrainedTokenizerFast.from_pretrained(path_or_id)
    return AutoTokenizer.from_pretrained(path_or_id)


def head_is_linear(model: Any, ids: torch.Tensor) -> bool:
    """Whether logits are just output embeddings of the base model's last state (some models scale or cap).

    Args:
        ids: any input, [B, T]; tried both ways.
    """
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return False
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return torch.equal(model(input_ids=ids, use_cache=False).logits, head(hidden))


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every id that ends a completion."""
    config = getattr(model, "generation_config", None)
    stops = getattr(config, "eos_token_id", None)
    found = set(stops) if isinstance(stops, (list, tuple)) else {stops}
    found.add(tokenizer.eos_token_id)
    found.discard(None)
    if not found:
        raise ConfigError("got no eos token from model or tokenizer, expected one; fix: set eos_token")
    return {int(i) for i in found if i is not None}


def usable_context(config: Any, wanted: int | None) -> int:
    """Longest prompt plus completion of the model, in tokens."""
    limits = [wanted, getattr(config, "max_position_embeddings", None)]
    # recurrent states and relative positions (ALiBi) name no limit, and have none
    return min((int(limit) for limit in limits if limit is not None), default=_UNBOUNDED)


def slot_context(config: Any, context: int) -> int:
    """The part of ``context`` that the slot cache can serve.

    Its mask is "index <= position": inside the window a sliding layer is a full one, beyond it is not.
    """
    window = getattr(config, "sliding_window", None)
    if window is None or set(getattr(config, "layer_types", None) or ()) == {"full_attention"}:
        return context
    return min(context, int(window))


def unserved(model: Any) -> str | None:
    """Why the slot cache cannot serve ``model``, as far as its class and configuration say; None if it may.

    Raises:
        ConfigError: nothing here can serve it.
    """
    config = model.config.get_text_config()
    if getattr(model.config, "is_encoder_decoder", False):
        raise ConfigError(encoder_decoder(model.config))
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"layers of kind {', '.join(sorted(kinds))}"
    taken = inspect.signature(model.forward).parameters
    if not {"cache", "past_key_values"} & set(taken):
        return "no cache of keys and values"
    if "position_ids" not in taken:
        return "no positions of its own for each row"
    return None


def encoder_decoder(config: Any) -> str:
    """The sentence that refuses such a model."""
    return (
        f"got an encoder-decoder model ({config.model_type}), expected a causal language model (decoder "
        "only); fix: choose another model"
    )


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for the time being."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
