"""A LoRA adapter that a vLLM engine in this process serves itself, next to its base."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from siri.errors import ConfigError, first_line
from siri.models.adapters import adapter_weights, require_plain, save_adapter
from siri.models.weights import whole

__all__ = ["ServedAdapter"]

_NAME = "siri"
"""What the engine calls the adapter."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that an engine can be made for."""


class ServedAdapter:
    """Pushes an adapter to an engine, through a new folder each time.

    vLLM's prefix cache tells adapters apart by their paths. In an old path it would find the keys and values
    of the last adapter.

    Args:
        rank: the largest rank of an adapter.

    Raises:
        ConfigError: vLLM serves no adapter of this rank.
    """

    def __init__(self, rank: int) -> None:
        most = next((most for most in _RANKS if most >= rank), None)
        if most is None:
            raise ConfigError(
                f"got lora.rank={rank} to serve in vLLM, expected at most {_RANKS[-1]}; fix: "
                "lora.engine=merged"
            )
        self.settings = {"enable_lora": True, "max_lora_rank": most, "max_loras": 1}
        """Arguments of ``vllm.LLM``."""
        self.request: Any = None
        """What a request for a completion brings; None before the first push."""
        self._folders = tempfile.TemporaryDirectory(prefix="siri-adapter-")

    def push(self, model: Any, engine: Any, *, version: str, dtype: torch.dtype) -> None:
        """Give ``engine`` the adapter of ``model`` in place of the last one. A collective if it is sharded.

        Args:
            model: the model in training.
            engine: vLLM's engine.
            version: a name that was not used before.
            dtype: the engine's dtype, in which it computes the adapter too.

        Raises:
            ConfigError: vLLM cannot serve this adapter.
        """
        from vllm.lora.request import LoRARequest

        require_plain(model)
        weights = {name: whole(value.to(dtype)) for name, value in adapter_weights(model).items()}
        folder = Path(self._folders.name) / version
        shutil.rmtree(folder, ignore_errors=True)
        save_adapter(model, folder, weights)
        try:
            engine.add_lora(LoRARequest(_NAME, 1, str(folder), load_inplace=True))
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"got a LoRA adapter that vLLM cannot serve ({first_line(error)}), expected one of its "
                "linear layers, of the configured rank; fix: lora.engine=merged"
            ) from error
        # with load_inplace a request would read the file again at every step
        self.request = LoRARequest(_NAME, 1, str(folder))
        for old in folder.parent.iterdir():
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
