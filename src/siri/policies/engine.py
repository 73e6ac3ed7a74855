"""What policies share whose tokens are sampled by an engine with weights of its own."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from siri.errors import ConfigError, PolicyFault
from siri.models.weights import copy_weights
from siri.policies.checkpoints import save_checkpoint
from siri.policies.encoding import Encoder, Transcript
from siri.policies.serving import embedded, stop_ids, usable_context
from siri.policies.template_report import TemplateReport
from siri.processes import started
from siri.protocols import WeightSource
from siri.types import Completion, Request, Sampling

if TYPE_CHECKING:
    from siri.config import LoRAConfig

__all__ = ["EnginePolicy", "Sampled", "named_weights"]

NO_SLEEP = "vLLM has no sleep mode on CPUs: the engine pauses and keeps its memory"
_REMEMBERED = 16
"""Transcripts kept, in multiples of the slots."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion as an engine returns it."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of the unmodified distribution, one for each id."""


class EnginePolicy(ABC):
    """Samples with an engine that follows the model in training; a ``siri.protocols.TrainablePolicy``.

    Token ids go in and come out; a conversation that continues keeps the ids of its past. ``reset_cache``
    marks the engine's weights as old. ``generate`` asks the engine which weights it has, every time, and
    pushes the model's where they are not the newest.

    Args:
        model: a transformers causal LM, the one that is trained.
        tokenizer: its tokenizer, with a chat template.
        slots: largest batch.
        max_context: longest prompt plus completion, in tokens; by default what the model was made for.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.
    """

    engine: Any
    """What samples."""
    elsewhere: bool = True

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        slots: int,
        max_context: int | None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if started() > 1:
            raise ConfigError("got vLLM in a job of several processes, expected one; fix: engine='hf'")
        self.model, self.tokenizer, self.slots = model, tokenizer, slots
        self.max_context = usable_context(model.config.get_text_config(), max_context)
        self._template_arguments = dict(chat_template_kwargs or {})
        self._encoder = Encoder(
            tokenizer,
            stop_ids(model, tokenizer),
            arguments=self._template_arguments,
            embedded=embedded(model),
        )
        self._sessions: OrderedDict[str, Transcript] = OrderedDict()
        self._version = 0
        self._asleep = self._frees = False

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

    def encode(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Token ids of each prompt, as ``generate`` would read it as the first of a session."""
        prompts = self._encoder.encode(requests, [None] * len(requests))
        return [tuple(prompt.ids) for prompt in prompts]

    def snapshot(self) -> Any:
        """A frozen copy on transformers: own weights, no engine."""
        from siri.policies.hf import HFPolicy

        frozen = copy.deepcopy(self.model).eval().requires_grad_(False)
        return HFPolicy(
            frozen,
            self.tokenizer,
            slots=self.slots,
            max_context=self.max_context,
            chat_template_kwargs=self._template_arguments,
        )

    @property
    def template(self) -> TemplateReport:
        """What the chat template does, as the probe found it."""
        return self._encoder.report

    def adapt(self, lora: LoRAConfig, *, seed: int) -> bool:  # noqa: ARG002
        """No adapter: the engine is given whole weights.

        Raises:
            ConfigError: ``lora`` asks for one.
        """
        if lora.rank:
            raise ConfigError(
                f"got lora.rank={lora.rank} with {type(self).__name__}, expected a policy that adapts; "
                "fix: HFPolicy"
            )
        return False

    def make_room(self, *, sleep: bool) -> None:
        """With ``sleep``, give the engine's memory to the learner."""
        if sleep:
            self.sleep()

    def sync(self, source: WeightSource) -> None:
        """Take the newest weights of ``source``; the next ``generate`` pushes them to the engine."""
        copy_weights(source, self.model)
        self.reset_cache()

    def reset_cache(self) -> None:
        """The model has new weights; the next ``generate`` pushes them."""
        self._version += 1
        self._sessions.clear()

    def end(self, session: str) -> None:
        """Forget one session; unknown names are ignored."""
        self._sessions.pop(session, None)

    def sleep(self) -> bool:
        """Give the engine's GPU memory (weights and KV cache) to the trainer until the next ``generate``.

        Returns:
            Whether memory was given back. vLLM has no sleep mode on CPUs: the engine pauses and keeps it.
        """
        if not self._asleep:
            self._frees = self._sleep()
            self._asleep = True
        return self._frees

    def wake(self) -> None:
        """Take the memory back, and push the weights that were dropped. ``generate`` does it by itself."""
        if self._asleep:
            self._wake()
            self._asleep = False
            self._update()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate one completion for each request, in order.

        Raises:
            PolicyFault: the engine does not have the weights that it should, or does not answer.
        """
        self.wake()
        if self._engine_tag() != self._tag():
            self._update()
        known = [self._sessions.get(r.session) if r.session is not None else None for r in requests]
        prompts = self._encoder.encode(requests, known)
        room = self.max_context - sampling.max_tokens
        done = [Completion(text="", finished=False, too_long=(len(p.ids), room)) for p in prompts]
        fits = [n for n, p in enumerate(prompts) if p.ids and len(p.ids) <= room]
        seeds = [requests[n].seed % 2**63 for n in fits]
        found = self._sample([prompts[n].ids for n in fits], seeds, sampling) if fits else []
        for n, sampled in zip(fits, found, strict=True):
            ids, prompt, session = sampled.ids, prompts[n], requests[n].session
            text = self._encoder.decode(ids)
            finished = bool(ids) and ids[-1] in self._encoder.stop_ids
            done[n] = Completion(
                text,
                tuple(prompt.ids),
                tuple(prompt.plain_ids),
                ids,
                sampled.logprobs,
                finished,
                opened=self._encoder.opened,
            )
            if session is not None:
                self._sessions[session] = Transcript(requests[n], prompt, text, ids)
        while len(self._sessions) > _REMEMBERED * self.slots:
            self._sessions.popitem(last=False)
        return done

    def _update(self) -> None:
        """Push the weights, and make sure that they arrived."""
        self._push()
        got, expected = self._engine_tag(), self._tag()
        if got != expected:
            raise PolicyFault(
                f"got weights {got!r} in the engine after a push, expected {expected!r}; "
                "fix: another version of vLLM, or an engine that nobody else pushes to"
            )

    def _tag(self) -> str:
        """What the engine calls the newest weights."""
        return str(self._version)

    @abstractmethod
    def _engine_tag(self) -> str:
        """What the engine calls the weights it has."""

    @abstractmethod
    def _push(self) -> None:
        """Load the model's weights into the engine, make it forget what it computed with others, and tag
        them."""

    @abstractmethod
    def _sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling
    ) -> list[Sampled]:
        """One completion for each prompt, in order."""

    @abstractmethod
    def _sleep(self) -> bool:
        """Fall asleep; whether memory was given back."""

    @abstractmethod
    def _wake(self) -> None:
        """Wake up, with whatever weights."""


def named_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters under their names in a checkpoint.

    A tied head comes under its own name too: on CPUs vLLM computes with a packed copy of it, which it makes
    again only when it is given the head.
    """
    for name, value in model.named_parameters():
        yield name, value.detach()
    if model.config.get_text_config().tie_word_embeddings:
        yield "lm_head.weight", model.get_output_embeddings().weight.detach()
