"""A policy that samples with vLLM in this process and takes new weights from the model in training.

The only file that imports vLLM.
"""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from siri.errors import MissingExtra, PolicyFault
from siri.policies.checkpoints import load_model, load_tokenizer, located
from siri.policies.engine import NO_SLEEP, EnginePolicy, Sampled, named_weights
from siri.policies.hub import on_hand
from siri.policies.widening import WideHeads, head_size
from siri.types import Sampling

__all__ = ["VLLMPolicy"]

_NARROWEST = 32
"""Smallest attention head that vLLM has a kernel for on CPUs."""
_CPU_CACHE = 4 << 30
"""Most bytes of KV cache on a CPU, unless asked for otherwise; vLLM would take nine tenths of the memory."""


class VLLMPolicy(EnginePolicy):
    """Samples with a vLLM engine in this process, and is ready for ``Curriculum``.

    Prefix caching is on, so a turn costs its new tokens. ``model`` is the one in training; the engine has
    weights of its own, which are pushed in process, as tensors. On a CPU, heads narrower than 32 are widened
    for the engine (``WideHeads``), which changes nothing of what the model computes.

    Args:
        model: a transformers causal LM, the one that is trained.
        tokenizer: its tokenizer, with a chat template.
        path: a checkpoint folder of the same architecture, from which the engine starts.
        slots: largest batch.
        max_context: longest prompt plus completion, in tokens; by default what the model was made for.
        sleep: whether ``sleep`` will be called: vLLM must know it from the start.
        options: further arguments of ``vllm.LLM``, such as ``gpu_memory_utilization``.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        path: str | os.PathLike[str],
        slots: int = 128,
        max_context: int | None = None,
        sleep: bool = False,
        options: Mapping[str, Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            model,
            tokenizer,
            slots=slots,
            max_context=max_context,
            chat_template_kwargs=chat_template_kwargs,
        )
        # weights are handed over as tensors, which needs the engine in this process
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            from vllm import LLM
            from vllm.platforms import current_platform
        except ImportError as error:
            raise MissingExtra("vllm", "vllm") from error
        self._sleeps = current_platform.is_sleep_mode_available()
        config = model.config.get_text_config()
        narrow = current_platform.is_cpu() and head_size(config) < _NARROWEST
        self._wide = WideHeads(config, _NARROWEST) if narrow else None
        settings: dict[str, Any] = {
            "dtype": str(model.dtype).removeprefix("torch."),
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "max_model_len": self.max_context,
            "max_num_seqs": slots,
            "logprobs_mode": "raw_logprobs",
            "seed": 0,
            "enable_sleep_mode": sleep and self._sleeps,
        }
        if current_platform.is_cpu():
            # compiling takes longer than a small run
            settings |= {"enforce_eager": True, "kv_cache_memory_bytes": self._cache_bytes()}
        if self._wide is None:
            with _generators_kept():
                self.engine = LLM(model=os.fspath(path), **{**settings, **(options or {})})
        else:
            with _generators_kept(), tempfile.TemporaryDirectory() as folder:
                self._wide.config().save_pretrained(folder)
                settings |= {"load_format": "dummy", **(options or {})}
                self.engine = LLM(model=folder, **settings)
        # the folder need not hold the weights that the model has now
        self._update()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        slots: int = 128,
        max_context: int | None = None,
        sleep: bool = False,
        options: Mapping[str, Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> VLLMPolicy:
        """Load a transformers checkpoint twice: as the model to train, and into the engine."""
        path = on_hand(located(path))
        model, tokenizer = load_model(path, dtype=dtype), load_tokenizer(path)
        return cls(
            model,
            tokenizer,
            path=path,
            slots=slots,
            max_context=max_context,
            sleep=sleep,
            options=options,
            chat_template_kwargs=chat_template_kwargs,
        )

    def _cache_bytes(self) -> int:
        """KV cache of all slots at full length, within reason."""
        config = self.model.config.get_text_config()
        size = max(head_size(config), _NARROWEST)
        width = config.num_hidden_layers * config.num_key_value_heads * size * self.model.dtype.itemsize
        token = 2 * width
        return int(max(min(self.slots * self.max_context * token, _CPU_CACHE), 2 * self.max_context * token))

    def _engine_tag(self) -> str:
        return str(self.engine.llm_engine.get_weight_version())

    def _weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        weights = named_weights(self.model)
        return weights if self._wide is None else self._wide.weights(weights)

    def _push(self) -> None:
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": self._weights()})
        if not self.engine.reset_prefix_cache():
            raise PolicyFault("got a vLLM engine that keeps its prefix cache, expected it to be idle")
        self.engine.llm_engine.set_weight_version(self._tag())

    def _sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Sampled]:
        from vllm import SamplingParams

        settings = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=seed,
                stop_token_ids=sorted(self._encoder.stop_ids),
                logprobs=0,
                detokenize=False,
            )
            for seed in seeds
        ]
        inputs = [{"prompt_token_ids": ids} for ids in prompts]
        with _generators_kept():
            outputs = self.engine.generate(inputs, settings, use_tqdm=False)
        done = []
        for output in outputs:
            found = output.outputs[0]
            ids = tuple(found.token_ids)
            logprobs = tuple(at[i].logprob for at, i in zip(found.logprobs, ids, strict=True))
            done.append(Sampled(ids, logprobs))
        return done

    def _sleep(self) -> bool:
        if not self._sleeps:
            warnings.warn(NO_SLEEP, stacklevel=3)
        self.engine.sleep(level=2)
        return bool(self._sleeps)

    def _wake(self) -> None:
        self.engine.wake_up()


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global generators as they were: vLLM seeds them when it starts and draws from torch's."""
    own, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(own)
        np.random.set_state(theirs)  # noqa: NPY002
