"""What has to be known of a model before it may play: its context, its stop tokens, what serves it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from siri.errors import ConfigError

__all__ = [
    "cache_argument",
    "embedded",
    "encoder_decoder",
    "evaluating",
    "head_is_linear",
    "slot_context",
    "stop_ids",
    "unserved",
    "usable_context",
]

_UNBOUNDED = 2**31 - 1
"""The context of a model that names none."""


def cache_argument(model: Any) -> str:
    """The name of ``model.forward``'s cache: ``past_key_values`` before transformers 5.24, else ``cache``."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


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


def embedded(model: Any) -> int | None:
    """Token ids that the model embeds, V; None where it does not say."""
    weight = getattr(model.get_input_embeddings(), "weight", None)
    return None if weight is None else int(weight.shape[0])


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every id that model and tokenizer know to end a completion; none is an answer too."""
    config = getattr(model, "generation_config", None)
    stops = getattr(config, "eos_token_id", None)
    found = set(stops) if isinstance(stops, (list, tuple)) else {stops}
    found.add(tokenizer.eos_token_id)
    found.discard(None)
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
