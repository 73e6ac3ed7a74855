"""Shared behaviour of policies that sample from an engine with its own copy of the weights."""

from __future__ import annotations

import copy
import itertools
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from siri.errors import ConfigError, PolicyFault
from siri.models.adapters import adapted
from siri.models.weights import copy_weights, is_spread
from siri.policies.checkpoints import save_checkpoint
from siri.policies.encoding import Encoder, Prompt, Transcript
from siri.policies.serving import embedded, stop_ids, usable_context
from siri.policies.template_report import TemplateReport
from siri.processes import Processes, started
from siri.protocols import WeightSource
from siri.types import Completion, Request, Sampling

if TYPE_CHECKING:
    from siri.config import LoRAConfig

__all__ = ["EnginePolicy", "Sampled"]

NO_SLEEP = "vLLM has no sleep mode on CPUs: the engine pauses and keeps its memory"
_REMEMBERED = 16
"""Number of transcripts kept, in multiples of the slots."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion as an engine returns it."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Log-probs under the unmodified distribution, one for each id."""


class EnginePolicy(ABC):
    """Samples with an engine that follows the model in training; a ``siri.protocols.StreamingPolicy``.

    Token ids go in and come out. A conversation that continues keeps the ids of its past. ``sync`` pushes the
    newest weights, one tensor at a time; there is never a whole copy of the model. Every call of ``generate``
    asks the engine which weights it has, and pushes the model's weights if those are newer (``reset_cache``
    marks the engine's as old). Only ``sync`` pushes a model that is sharded over processes, because every
    process must take part.

    Args:
        model: a transformers causal LM, the one that is trained, with or without a LoRA adapter.
        tokenizer: its tokenizer, with a chat template.
        slots: largest batch.
        max_context: most tokens of prompt plus completion; by default the model's own limit.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.

    Raises:
        ConfigError: several processes were started, but have not joined their job.
    """

    engine: Any
    """The engine that samples."""
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
        if started() != (met := Processes.current().size):
            raise ConfigError(
                f"got vLLM in a job of {started()} processes of which {met} have met, expected all: an "
                "engine would keep them apart; fix: siri.training.job.start_processes() first"
            )
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
        self._tickets = itertools.count()
        self._flying: dict[int, tuple[Request, Prompt]] = {}
        self._landed: list[tuple[int, Completion]] = []
        self._version = 0
        self._asleep = self._frees = self._fixed = False

    @property
    def version(self) -> int:
        """Number of times that the weights have changed since the start."""
        return self._version

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the trained model and its tokenizer as a transformers checkpoint.

        In a job of several processes every process calls it, and the first one writes.
        """
        save_checkpoint(self.model, self.tokenizer, Path(folder))

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, in the form of ``Completion.text``."""
        return self._encoder.decode(tuple(ids))

    def encode(self, requests: Sequence[Request]) -> list[tuple[int, ...]]:
        """Token ids of each prompt, as ``generate`` reads the first prompt of a session."""
        prompts = self._encoder.encode(requests, [None] * len(requests))
        return [tuple(prompt.ids) for prompt in prompts]

    def snapshot(self) -> Self:
        """The same engine, while it has the current weights; later ``generate`` raises ``PolicyFault``.

        A copy of the weights would cost as much as the engine itself. Weights that have not been pushed yet
        are pushed first.
        """
        if not self._flying:
            self._renew()
        other = copy.copy(self)
        other._sessions, other._flying, other._landed, other._fixed = OrderedDict(), {}, [], True
        return other

    @property
    def template(self) -> TemplateReport:
        """How the chat template behaves, as the probe found it."""
        return self._encoder.report

    def adapt(self, lora: LoRAConfig, *, seed: int) -> bool:
        """Add the LoRA adapter that ``lora`` asks for, or train the existing one; see ``add_lora``.

        The engine gets base and adapter merged, rounded to the engine's dtype, unless it serves the adapter.

        Raises:
            ConfigError: the model has an adapter, and ``lora`` asks for none or another one.
            MissingExtra: peft is not installed.
        """
        return adapted(self.model, lora, seed=seed)

    def make_room(self, *, sleep: bool) -> None:
        """With ``sleep``, give the engine's memory to the learner."""
        if sleep:
            self.sleep()

    def sync(self, source: WeightSource) -> None:
        """Take the newest weights of ``source``, and push them to the engine. A collective."""
        self._refuse_busy("sync()")
        copy_weights(source, self.model)
        self.reset_cache()
        if self._asleep:
            self._wake()
            self._asleep = False
        self._update()

    def reset_cache(self) -> None:
        """Note that the model has new weights; the next ``generate`` pushes them."""
        self._version += 1
        self._sessions.clear()

    def end(self, session: str) -> None:
        """Forget one session; unknown names are ignored."""
        self._sessions.pop(session, None)

    def sleep(self) -> bool:
        """Give the engine's GPU memory (weights and KV cache) to the trainer until the next ``generate``.

        Returns:
            Whether memory was freed. vLLM has no sleep mode on CPUs: the engine pauses and keeps its memory.
        """
        self._refuse_busy("sleep()")
        if not self._asleep:
            self._frees = self._sleep()
            self._asleep = True
        return self._frees

    def wake(self) -> None:
        """Take the memory back, and push the weights that were dropped. ``generate`` does this by itself."""
        if self._asleep:
            self._refuse_alone("an engine that sleeps")
            self._wake()
            self._asleep = False
            self._update()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate one completion for each request, in order.

        Raises:
            PolicyFault: the engine has the wrong weights or does not answer; or requests are pending.
        """
        self._refuse_busy("generate()")
        try:
            tickets = self._send(requests, sampling)
            found: dict[int, Completion] = {}
            while len(found) < len(tickets):
                found |= dict(self.poll())
        except BaseException:
            self.cancel()
            raise
        return [found[ticket] for ticket in tickets]

    def submit(self, request: Request, sampling: Sampling) -> int:
        """Start a request; return its ticket.

        Raises:
            PolicyFault: the engine has the wrong weights or does not answer; or the session already has a
                pending request.
        """
        [ticket] = self._send([request], sampling)
        return ticket

    def poll(self) -> list[tuple[int, Completion]]:
        """Wait until a pending request is done; return all that are, with tickets; [] if none is pending."""
        done, self._landed = self._landed, []
        while not done and self._flying:
            done = [(ticket, self._landing(ticket, sampled)) for ticket, sampled in self._finished()]
        return done

    def cancel(self) -> None:
        """Forget all pending requests."""
        tickets = list(self._flying)
        self._flying.clear()
        self._landed.clear()
        if tickets:
            self._abort(tickets)

    def _renew(self) -> None:
        """Wake the engine, and push the newest weights."""
        self.wake()
        if self._engine_tag() != self._tag():
            self._refuse_alone("an engine without the newest weights")
            self._update()

    def _send(self, requests: Sequence[Request], sampling: Sampling) -> list[int]:
        if not self._flying:  # a push needs an idle engine, so the weights stay what they are meanwhile
            self._renew()
        named = [request.session for request, _ in self._flying.values()]
        named += [request.session for request in requests]
        sessions = [session for session in named if session is not None]
        if len(set(sessions)) != len(sessions):
            raise PolicyFault("got two requests of one session on the way, expected one; fix: ask in turn")
        known = [self._sessions.get(r.session) if r.session is not None else None for r in requests]
        room, tickets = self.max_context - sampling.max_tokens, []
        for request, prompt in zip(requests, self._encoder.encode(requests, known), strict=True):
            tickets.append(ticket := next(self._tickets))
            if prompt.ids and len(prompt.ids) <= room:
                self._flying[ticket] = request, prompt
                self._begin(ticket, prompt.ids, request.seed % 2**63, sampling)
            else:
                unfit = Completion(text="", finished=False, too_long=(len(prompt.ids), room))
                self._landed.append((ticket, unfit))
        return tickets

    def _landing(self, ticket: int, sampled: Sampled) -> Completion:
        request, prompt = self._flying.pop(ticket)
        ids, text = sampled.ids, self._encoder.decode(sampled.ids)
        if request.session is not None:
            self._sessions[request.session] = Transcript(request, prompt, text, ids)
            while len(self._sessions) > _REMEMBERED * self.slots:
                self._sessions.popitem(last=False)
        return Completion(
            text,
            tuple(prompt.ids),
            tuple(prompt.plain_ids),
            ids,
            sampled.logprobs,
            bool(ids) and ids[-1] in self._encoder.stop_ids,
            opened=self._encoder.opened,
        )

    def _refuse_busy(self, what: str) -> None:
        if self._flying or self._landed:
            raise PolicyFault(
                f"got {what} while {len(self._flying) + len(self._landed)} requests are on the way, expected "
                "none; fix: poll() until [] comes back, or cancel()"
            )

    def _refuse_alone(self, what: str) -> None:
        """Refuse a push by one process alone of a sharded model, or of weights that no longer exist.

        Raises:
            PolicyFault: such a push would be needed.
        """
        if self._fixed:
            raise PolicyFault(
                "got a request to a snapshot of weights that the engine has no more, expected it before the "
                "policy learned; fix: policy.snapshot() again"
            )
        if self._needs_all():
            raise PolicyFault(
                f"got {what} in a job of several processes, expected a push by all of them; fix: "
                "policy.sync(learner) in every process before the next rollout"
            )

    def _needs_all(self) -> bool:
        """Whether a push needs all processes of the job."""
        return is_spread(self.model)

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
        """The engine's name for the newest weights."""
        return str(self._version)

    @abstractmethod
    def _engine_tag(self) -> str:
        """The engine's name for the weights that it has."""

    @abstractmethod
    def _push(self) -> None:
        """Load the model's weights into the engine, make it forget what it computed with others, and tag
        them."""

    @abstractmethod
    def _begin(self, ticket: int, prompt: list[int], seed: int, sampling: Sampling) -> None:
        """Send a prompt to the engine."""

    @abstractmethod
    def _finished(self) -> list[tuple[int, Sampled]]:
        """Wait until a pending request is done; return (ticket, completion) of all that are."""

    @abstractmethod
    def _abort(self, tickets: Sequence[int]) -> None:
        """Forget pending requests."""

    @abstractmethod
    def _sleep(self) -> bool:
        """Fall asleep; return whether memory was freed."""

    @abstractmethod
    def _wake(self) -> None:
        """Wake up, with whatever weights."""
