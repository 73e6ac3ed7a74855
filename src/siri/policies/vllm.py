"""A policy that samples with vLLM in this process and takes new weights from the model in training.

Other files that import vLLM: ``vllm_adapter``, ``vllm_nccl``, and ``vllm_transfer`` in a server's workers.
"""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from siri.errors import ConfigError, MissingExtra, PolicyFault
from siri.models.adapters import has_adapter
from siri.models.weights import is_hollow, streamed
from siri.policies.checkpoints import DTYPES, base_of, load_model, load_tokenizer, located
from siri.policies.engine import NO_SLEEP, EnginePolicy, Sampled
from siri.policies.hub import on_hand
from siri.policies.vllm_adapter import ServedAdapter
from siri.policies.widening import WideHeads, head_size
from siri.processes import Processes
from siri.types import Sampling

__all__ = ["VLLMPolicy"]

_NARROWEST = 32
"""Smallest attention head that vLLM has a kernel for on CPUs."""
_CPU_CACHE = 4 << 30
"""Most bytes of KV cache on a CPU, unless options say otherwise; vLLM would take 90 % of the memory."""

_CPU_BATCH = 4096
"""Most tokens of a pass on a CPU, or those of the longest prompt if that is more."""


class VLLMPolicy(EnginePolicy):
    """Samples with a vLLM engine in this process, and is ready for ``Curriculum``.

    Prefix caching is on, so a turn costs only its new tokens. ``model`` is the one in training. The engine
    has its own weights, which are pushed in process, as tensors. In a job each process has an engine (tensor
    parallelism 1), which plays its share of the episodes. All processes make their engines together, after
    they have joined the job; from then on the engines are independent. On a CPU, attention heads narrower
    than 32 are widened for the engine (``WideHeads``), which does not change what the model computes.

    A LoRA adapter is merged into what is pushed, unless ``adapter_rank`` lets the engine serve it. Then the
    base is pushed once, and after that only the adapter, through a new file for each push.

    Args:
        model: a transformers causal LM, the one that is trained.
        tokenizer: its tokenizer, with a chat template.
        path: a checkpoint folder of the same architecture, from which the engine starts.
        dtype: dtype of the engine's weights and cache; None means the model's.
        slots: largest batch.
        max_context: most tokens of prompt plus completion; by default the model's own limit.
        episodes: number of episodes whose keys and values the engine keeps at full length; None: as many as
            slots. On a GPU this alone decides how much memory the engine takes besides its weights.
        adapter_rank: largest rank of an adapter that the engine serves itself; 0 has adapters merged.
        sleep: whether ``sleep`` will be called, which vLLM must know from the start. The engine then starts
            asleep, and the first push or rollout wakes it.
        options: further arguments of ``vllm.LLM``, such as ``gpu_memory_utilization``.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        path: str | os.PathLike[str],
        dtype: str | None = None,
        slots: int = 128,
        max_context: int | None = None,
        episodes: int | None = None,
        adapter_rank: int = 0,
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
        # weights are pushed as tensors, so the engine must be in this process
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        several = Processes.current().size > 1
        if several:
            # each process would pin its threads to the first cores
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        try:
            from vllm import LLM
            from vllm.platforms import current_platform
        except ImportError as error:
            raise MissingExtra("vllm", "vllm") from error
        self._sleeps = current_platform.is_sleep_mode_available()
        config = model.config.get_text_config()
        narrow = current_platform.is_cpu() and head_size(config) < _NARROWEST
        if narrow and adapter_rank:
            raise ConfigError(
                f"got an adapter to serve in vLLM on a CPU with heads of {head_size(config)}, expected heads "
                f"of {_NARROWEST} or more, as narrower ones are widened; fix: lora.engine=merged"
            )
        self._wide = WideHeads(config, _NARROWEST) if narrow else None
        self._adapter = ServedAdapter(adapter_rank) if adapter_rank else None
        self._based: str | None = None
        """What the weights were called when the engine was last known to have the base."""
        self._dtype = model.dtype if dtype is None else DTYPES[dtype]
        self._episodes = min(episodes or slots, slots)
        settings: dict[str, Any] = {
            "dtype": str(self._dtype).removeprefix("torch."),
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "max_model_len": self.max_context,
            "max_num_seqs": slots,
            "logprobs_mode": "raw_logprobs",
            "seed": 0,
            "enable_sleep_mode": sleep and self._sleeps,
            "kv_cache_memory_bytes": self._cache_bytes(_CPU_CACHE if current_platform.is_cpu() else None),
        }
        if several:
            settings["distributed_executor_backend"] = "external_launcher"
        if self._adapter is not None:
            settings |= self._adapter.settings
        if current_platform.is_cpu():
            # compiling takes longer than a small run; and a seeded request whose prompt is cut in two kills
            # the engine there, because torch's generator of the CPU has no offset
            settings |= {
                "enforce_eager": True,
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(self.max_context, _CPU_BATCH),
            }
        if self._wide is None:
            with _generators_kept():
                self.engine = LLM(model=os.fspath(path), **{**settings, **(options or {})})
        else:
            with _generators_kept(), tempfile.TemporaryDirectory() as folder:
                self._wide.config().save_pretrained(folder)
                settings |= {"load_format": "dummy", **(options or {})}
                self.engine = LLM(model=folder, **settings)
        # a model that is still in its files has the weights of the engine's folder
        same = is_hollow(model) and self._wide is None
        self._based = self._engine_tag() if same else None
        if same and not has_adapter(model):
            self.engine.llm_engine.set_weight_version(self._tag())
            self._based = self._tag()
        else:
            self._update()  # the model's weights may differ from those of the folder
        if sleep and self._sleeps:
            self.sleep()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        engine_dtype: str | None = None,
        hollow: bool = False,
        slots: int = 128,
        max_context: int | None = None,
        episodes: int | None = None,
        adapter_rank: int = 0,
        sleep: bool = False,
        options: Mapping[str, Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> VLLMPolicy:
        """Load a transformers checkpoint twice: as the model to train, and into the engine.

        Args:
            path: a checkpoint folder, or an adapter's.
            dtype: dtype of the model to train.
            engine_dtype: dtype of the engine; None means the same.
            hollow: do not load the model to train, because it will be sharded over processes, each of which
                reads its own part from the files.
            slots: see the class, also for the other arguments.
        """
        path = on_hand(located(path))
        model, tokenizer = load_model(path, dtype=dtype, hollow=hollow), load_tokenizer(path)
        return cls(
            model,
            tokenizer,
            path=base_of(path),
            dtype=engine_dtype,
            slots=slots,
            max_context=max_context,
            episodes=episodes,
            adapter_rank=adapter_rank,
            sleep=sleep,
            options=options,
            chat_template_kwargs=chat_template_kwargs,
        )

    def _cache_bytes(self, most: int | None) -> int:
        """Bytes of KV cache for the episodes at full length, up to a limit."""
        config = self.model.config.get_text_config()
        size = head_size(config) if self._wide is None else _NARROWEST
        token = 2 * config.num_hidden_layers * config.num_key_value_heads * size * self._dtype.itemsize
        wanted = self._episodes * self.max_context * token
        return int(max(wanted if most is None else min(wanted, most), 2 * self.max_context * token))

    def _engine_tag(self) -> str:
        return str(self.engine.llm_engine.get_weight_version())

    def _push(self) -> None:
        served = self._adapter if has_adapter(self.model) else None
        if served is None or self._based != self._engine_tag():
            self._push_weights(merge=served is None)
        if served is not None:
            served.push(self.model, self.engine.llm_engine, version=self._tag(), dtype=self._dtype)
        if not self.engine.reset_prefix_cache():
            raise PolicyFault("got a vLLM engine that keeps its prefix cache, expected it to be idle")
        self.engine.llm_engine.set_weight_version(self._tag())
        self._based = None if served is None else self._tag()

    def _push_weights(self, *, merge: bool) -> None:
        weights = streamed(self.model, self._dtype, merge=merge)
        if self._wide is not None:
            weights = self._wide.weights(weights)
        with _generators_kept():
            self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        deque(weights, maxlen=0)  # iterate to the end, as every process must

    def _begin(self, ticket: int, prompt: list[int], seed: int, sampling: Sampling) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        settings = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            stop_token_ids=sorted(self._encoder.stop_ids),
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.engine.llm_engine.add_request(
            str(ticket),
            {"prompt_token_ids": prompt},
            settings,
            lora_request=None if self._adapter is None else self._adapter.request,
        )

    def _finished(self) -> list[tuple[int, Sampled]]:
        done: list[Any] = []
        with _generators_kept():
            while not done:
                if not self.engine.llm_engine.has_unfinished_requests():
                    raise PolicyFault("got an idle vLLM engine, expected it to work on the requests it has")
                done = [output for output in self.engine.llm_engine.step() if output.finished]
        return [(int(output.request_id), _sampled(output.outputs[0])) for output in done]

    def _abort(self, tickets: Sequence[int]) -> None:
        self.engine.llm_engine.abort_request([str(ticket) for ticket in tickets])

    def _sleep(self) -> bool:
        if not self._sleeps:
            warnings.warn(NO_SLEEP, stacklevel=3)
        self.engine.sleep(level=2)
        self._based = None
        return bool(self._sleeps)

    def _wake(self) -> None:
        self.engine.wake_up()


def _sampled(found: Any) -> Sampled:
    ids = tuple(found.token_ids)
    logprobs = tuple(at[i].logprob for at, i in zip(found.logprobs, ids, strict=True))
    return Sampled(ids, logprobs)


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Restore the global generators after the body: vLLM seeds them at its start and draws from torch's."""
    own, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(own)
        np.random.set_state(theirs)  # noqa: NPY002
