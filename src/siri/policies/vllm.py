"""A policy that samples with vLLM in this process and takes new weights from the model in training.

The only file that imports vLLM.
"""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from siri.errors import ConfigError, MissingExtra, PolicyFault
from siri.policies.encoding import Encoder, Transcript
from siri.policies.support import load_tokenizer, save_checkpoint, stop_ids, usable_context
from siri.types import Completion, Request, Sampling

__all__ = ["VLLMPolicy"]

_REMEMBERED = 16
"""Transcripts kept, in multiples of the slots."""


class VLLMPolicy:
    """Samples with a vLLM engine; implements ``siri.protocols.Policy``, and is ready for ``Curriculum``.

    Token ids go in and come out; log-probs are those of the unmodified distribution. Prefix caching is on, so
    a turn costs its new tokens. ``model`` is the one in training; the engine has weights of its own.
    ``reset_cache`` marks them as old, and the next ``generate`` pushes the new ones in process and asks the
    engine for its weight version before it samples.

    Args:
        model: a transformers causal LM, the one that is trained.
        tokenizer: its tokenizer, with a chat template.
        path: a checkpoint folder of the same architecture, from which the engine starts.
        slots: largest batch.
        max_context: longest prompt plus completion, in tokens; by default what the model was made for.
        options: further arguments of ``vllm.LLM``, such as ``gpu_memory_utilization``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        path: str | os.PathLike[str],
        slots: int = 128,
        max_context: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("got vLLM in a job of several processes, expected one; fix: --engine hf")
        # weights are handed over as tensors, which needs the engine in this process
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            from vllm import LLM
        except ImportError as error:
            raise MissingExtra("vllm", "vllm") from error
        self.model, self.tokenizer, self.slots = model, tokenizer, slots
        self.max_context = usable_context(model.config.get_text_config(), max_context)
        self._encoder = Encoder(tokenizer, stop_ids(model, tokenizer))
        settings: dict[str, Any] = {
            "dtype": str(model.dtype).removeprefix("torch."),
            "skip_tokenizer_init": True,
            "enable_prefix_caching": True,
            "max_model_len": self.max_context,
            "max_num_seqs": slots,
            "logprobs_mode": "raw_logprobs",
            "seed": 0,
        }
        self.engine: Any = LLM(model=os.fspath(path), **{**settings, **(options or {})})
        self._sessions: OrderedDict[str, Transcript] = OrderedDict()
        self._version = 0
        # the folder need not hold the weights that the model has now
        self._push()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        slots: int = 128,
        max_context: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> VLLMPolicy:
        """Load a transformers checkpoint twice: as the model to train, and into the engine."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        tokenizer = load_tokenizer(path)
        return cls(model, tokenizer, path=path, slots=slots, max_context=max_context, options=options)

    @property
    def version(self) -> int:
        """How often the weights changed since the start."""
        return self._version

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the trained model and its tokenizer as a transformers checkpoint."""
        save_checkpoint(self.model, self.tokenizer, Path(folder))

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids in words, as ``Completion.text`` has them."""
        return self._encoder.decode(tuple(ids))

    def snapshot(self) -> Any:
        """A frozen copy on transformers: own weights, no engine."""
        from siri.policies.hf import HFPolicy

        frozen = copy.deepcopy(self.model).eval().requires_grad_(False)
        return HFPolicy(frozen, self.tokenizer, slots=self.slots, max_context=self.max_context)

    def reset_cache(self) -> None:
        """The model has new weights; the next ``generate`` pushes them."""
        self._version += 1
        self._sessions.clear()

    def end(self, session: str) -> None:
        """Forget one session; unknown names are ignored."""
        self._sessions.pop(session, None)

    def sleep(self) -> None:
        """Give the engine's GPU memory to the trainer; weights are pushed again after ``wake``."""
        self.engine.sleep(level=2)

    def wake(self) -> None:
        """Take the memory back."""
        self.engine.wake_up()
        self._push()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate one completion for each request, in order.

        Raises:
            PolicyFault: the engine does not have the weights that it should.
        """
        from vllm import SamplingParams

        if self._engine_version() != self._version:
            self._push()
        known = [self._sessions.get(r.session) if r.session is not None else None for r in requests]
        prompts = self._encoder.encode(requests, known)
        done = [Completion(text="", finished=False)] * len(requests)
        fits = [
            n for n, p in enumerate(prompts) if p.ids and len(p.ids) + sampling.max_tokens <= self.max_context
        ]
        settings = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=requests[n].seed % 2**63,
                stop_token_ids=sorted(self._encoder.stop_ids),
                logprobs=0,
                detokenize=False,
            )
            for n in fits
        ]
        inputs = [{"prompt_token_ids": prompts[n].ids} for n in fits]
        outputs = self.engine.generate(inputs, settings, use_tqdm=False) if fits else []
        for n, output in zip(fits, outputs, strict=True):
            found = output.outputs[0]
            ids = tuple(found.token_ids)
            logprobs = tuple(at[i].logprob for at, i in zip(found.logprobs, ids, strict=True))
            text, prompt, session = self._encoder.decode(ids), prompts[n], requests[n].session
            finished = ids[-1] in self._encoder.stop_ids
            done[n] = Completion(text, tuple(prompt.ids), tuple(prompt.plain_ids), ids, logprobs, finished)
            if session is not None:
                self._sessions[session] = Transcript(requests[n], prompt, text, ids)
        while len(self._sessions) > _REMEMBERED * self.slots:
            self._sessions.popitem(last=False)
        return done

    def _engine_version(self) -> int:
        version = self.engine.llm_engine.get_weight_version()
        return int(version) if version.isdecimal() else -1

    def _push(self) -> None:
        """Load the model's weights into the engine and let it forget what it computed with the old ones."""
        weights = [(name, value.detach()) for name, value in self.model.named_parameters()]
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        if self.model.config.get_text_config().tie_word_embeddings:
            self.engine.apply_model(_refresh_tied_head)
        if not self.engine.reset_prefix_cache():
            raise PolicyFault("got a vLLM engine that keeps its prefix cache, expected it to be idle")
        self.engine.llm_engine.set_weight_version(str(self._version))
        if self._engine_version() != self._version:
            raise PolicyFault(
                f"got weights of version {self._engine_version()} in the engine, expected {self._version}; "
                "fix: another version of vLLM"
            )


def _refresh_tied_head(model: Any) -> None:
    """vLLM's reload leaves the head as it was: on the CPU it is a packed copy of the embedding."""
    head, embedding = getattr(model, "lm_head", None), getattr(model.model, "embed_tokens", None)
    if head is not None and embedding is not None and head is not embedding:
        head.weight = embedding.weight
        head.quant_method.process_weights_after_loading(head)
