"""A policy on any causal language model of transformers, with a KV cache that lives as long as an episode."""

from __future__ import annotations

import copy
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siri.errors import ConfigError, PolicyFault
from siri.models.adapters import add_lora, has_adapter, load_adapter, unwrapped
from siri.models.loading import as_config_errors, load_causal_lm
from siri.models.weights import copy_weights
from siri.policies.cache import SlotCache
from siri.policies.encoding import Encoder, Prompt, Transcript
from siri.policies.prefixes import common_starts, same_prompts
from siri.policies.sampling import sample, uniforms
from siri.policies.slot_check import slot_fault
from siri.policies.support import (
    base_of,
    buckets,
    cache_argument,
    common_prefix,
    encoder_decoder,
    evaluating,
    head_is_linear,
    load_tokenizer,
    save_checkpoint,
    slot_context,
    stop_ids,
    unserved,
    usable_context,
)
from siri.policies.uncached import generate_plain
from siri.protocols import WeightSource
from siri.types import Completion, Request, Sampling

if TYPE_CHECKING:
    from siri.config import LoRAConfig

__all__ = ["HFPolicy"]

_log = logging.getLogger(__name__)

_Ints = NDArray[np.int64]

_KEEP = 0.6
"""Finished rows are computed (and ignored) as long as at least this share of the batch is active."""
_REMEMBERED = 16
"""Transcripts kept, in multiples of the slots; the oldest beyond that are forgotten."""


@dataclass(slots=True)
class _Session:
    """What is known of an episode, and where its keys and values are."""

    transcript: Transcript | None = None
    slot: int | None = None
    cached: list[int] | None = None
    """Token ids whose keys and values the slot holds."""


@dataclass(slots=True)
class _Row:
    """One request while it is generated."""

    index: int
    request: Request
    prompt: Prompt
    session: _Session
    slot: int = -1
    cached: int = 0


class HFPolicy:
    """Samples from ``model``; implements ``siri.protocols.TrainablePolicy``.

    A request with a session prefills only what is new since the session's last request. Sessions lose their
    slot (least recently used first) when there are more of them than ``slots``: slower, equally correct.
    Call ``reset_cache`` (or ``sync``) after the weights changed and ``end`` when an episode is over.

    A model that the slots cannot serve (recurrent states, hybrid layers, positions that follow from the
    mask) is served by uncached generation, and so is a prompt beyond the window of sliding-window layers: the
    whole prompt anew each turn, equal in what is sampled. A warning is logged once, and ``fallback`` says
    why.

    Args:
        model: a causal LM, unmodified, with or without a LoRA adapter.
        tokenizer: its tokenizer, with a chat template.
        slots: sessions whose keys and values are kept, and the largest batch.
        max_context: longest prompt plus completion, in tokens; by default what the model was made for.
        device: where to move the model; by default it stays where it is.
    """

    elsewhere: bool = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        slots: int = 128,
        max_context: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if slots < 1:
            raise ConfigError(f"got slots={slots}, expected at least 1")
        model = unwrapped(model)
        self.model = model if device is None else model.to(device)
        self.tokenizer = tokenizer
        self.slots = slots
        self.fallback: str | None = None
        """Why some or all prompts are served by uncached generation; None while none was."""
        reason = unserved(model)
        self.max_context = usable_context(model.config.get_text_config(), max_context)
        self._slot_context = slot_context(model.config.get_text_config(), self.max_context)
        self._encoder = Encoder(tokenizer, stop_ids(model, tokenizer))
        self._split_head: bool | None = None
        self._tried = False
        self.reset_cache()
        if reason is not None:
            self._give_up(reason)

    @classmethod
    def load(
        cls,
        path_or_id: str | os.PathLike[str],
        *,
        dtype: str = "float32",
        device: str | torch.device | None = None,
        slots: int = 128,
        max_context: int | None = None,
    ) -> Self:
        """Load a transformers checkpoint or an adapter of PEFT: a folder, or a name on the Hub.

        Raises:
            ConfigError: it cannot be loaded, or its tensors are not exactly those of the model.
        """
        from transformers import AutoConfig

        base = base_of(path_or_id)
        with as_config_errors(base):
            config = AutoConfig.from_pretrained(base)
        if getattr(config, "is_encoder_decoder", False):
            raise ConfigError(encoder_decoder(config))
        model = load_causal_lm(base, dtype=dtype)
        if base is not path_or_id:
            model = load_adapter(model, Path(path_or_id))
        with as_config_errors(path_or_id):
            tokenizer = load_tokenizer(path_or_id)
        return cls(model, tokenizer, slots=slots, max_context=max_context, device=device)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write model and tokenizer as a transformers checkpoint; ``folder`` never is half written.

        Of a model with an adapter, the adapter is written, in PEFT's format; it names its base.
        """
        save_checkpoint(self.model, self.tokenizer, Path(folder))

    def __repr__(self) -> str:
        name = self.model.name_or_path or type(self.model).__name__
        return (
            f"HFPolicy({name!r}, slots={self.slots}, max_context={self.max_context}, "
            f"dtype={str(self.model.dtype).removeprefix('torch.')}, device={str(self.model.device)!r})"
        )

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids in words, as ``Completion.text`` has them."""
        return self._encoder.decode(tuple(ids))

    def snapshot(self) -> HFPolicy:
        """A frozen copy: own weights in evaluation mode, no gradients, no sessions.

        Copies of a model with an adapter share its base, which nobody trains.
        """
        base = [p for p in self.model.parameters() if not p.requires_grad] if has_adapter(self.model) else []
        shared = {id(parameter): parameter for parameter in base}
        model = copy.deepcopy(self.model, shared).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.grad = None
        other = HFPolicy.__new__(HFPolicy)
        other.__dict__.update(self.__dict__, model=model)
        other.reset_cache()
        return other

    def adapt(self, lora: LoRAConfig, *, seed: int) -> bool:
        """Put on the LoRA adapter that ``lora`` asks for, or train the one that is there; see ``add_lora``.

        Raises:
            ConfigError: the model has an adapter, and ``lora`` asks for none or another one.
            MissingExtra: peft is not installed.
        """
        if not lora.rank:
            if has_adapter(self.model):
                raise ConfigError(
                    "got a policy with a LoRA adapter and lora.rank=0, expected the adapter's rank and alpha "
                    "to train it further; fix: set lora.rank and lora.alpha"
                )
            return False
        add_lora(self.model, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=seed)
        self.reset_cache()
        return True

    def make_room(self, *, sleep: bool) -> None:
        """Forget every session: the learner needs the room of their keys and values.

        Raises:
            ConfigError: asked to sleep, which only an engine can.
        """
        if sleep:
            raise ConfigError(
                "got rollout.sleep with HFPolicy, expected an engine that sleeps; fix: VLLMPolicy, or "
                "rollout.sleep=false"
            )
        self.reset_cache()

    def sync(self, source: WeightSource) -> None:
        """Take the newest weights of ``source``, where they are not these, and forget every session."""
        copy_weights(source, self.model)
        self.reset_cache()

    def reset_cache(self) -> None:
        """Forget every session; must be called when the weights changed."""
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._free = list(range(self.slots))
        layers = getattr(self.model.config.get_text_config(), "num_hidden_layers", 0)
        self._cache = SlotCache(layers, self.slots)

    def end(self, session: str) -> None:
        """Forget one session and free its slot; unknown names are ignored."""
        record = self._sessions.pop(session, None)
        if record is not None:
            self._release(record)

    def end_sessions(self, sessions: Iterable[str]) -> None:
        """Forget several sessions."""
        for session in sessions:
            self.end(session)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate one completion for each request, in order."""
        names = [request.session for request in requests if request.session is not None]
        if len(set(names)) != len(names):
            raise PolicyFault("got two requests of one session in a batch, expected one; fix: ask in turn")
        if sampling.max_tokens < 1:
            raise ConfigError(f"got max_tokens={sampling.max_tokens}, expected at least 1")
        done: list[Completion] = []
        with evaluating(self.model), torch.inference_mode():
            if not self._tried:
                self._try()
            for start in range(0, len(requests), self.slots):
                done += self._chunk(requests[start : start + self.slots], sampling)
        while len(self._sessions) > _REMEMBERED * self.slots:
            self.end(next(iter(self._sessions)))
        return done

    def _chunk(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate for at most ``slots`` requests."""
        known = [self._sessions.get(r.session) if r.session is not None else None for r in requests]
        prompts = self._encoder.encode(requests, [s.transcript if s else None for s in known])
        done = [Completion(text="", finished=False)] * len(requests)
        rows = []
        for index, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            if prompt.ids and len(prompt.ids) + sampling.max_tokens <= self.max_context:
                session = known[index] or _Session()
                if request.session is not None:
                    self._sessions[request.session] = session
                    self._sessions.move_to_end(request.session)
                rows.append(_Row(index, request, prompt, session))
        rows, outputs = self._served(rows, sampling)
        for row, ids, logprobs in zip(rows, *outputs, strict=True):
            text, prompt = self._encoder.decode(ids), row.prompt
            finished = ids[-1] in self._encoder.stop_ids
            shown = tuple(prompt.ids)
            plain = shown if prompt.plain_ids is prompt.ids else tuple(prompt.plain_ids)
            done[row.index] = Completion(text, shown, plain, ids, logprobs, finished)
            if row.request.session is not None:
                row.session.transcript = Transcript(row.request, prompt, text, ids)
                if row.session.slot is not None:
                    row.session.cached = [*prompt.ids, *ids[:-1]]
        return done

    def _served(
        self, rows: Sequence[_Row], sampling: Sampling
    ) -> tuple[list[_Row], tuple[list[tuple[int, ...]], list[tuple[float, ...]]]]:
        """What is sampled for each row, in slots where they can serve it; the rows come back reordered."""
        short = [row for row in rows if len(row.prompt.ids) + sampling.max_tokens <= self._slot_context]
        long = [row for row in rows if len(row.prompt.ids) + sampling.max_tokens > self._slot_context]
        tokens: list[tuple[int, ...]] = []
        logprobs: list[tuple[float, ...]] = []
        if long:
            if self.fallback is None:
                self._fall_back(f"prompts beyond the sliding window of {self._slot_context} tokens")
            for row in long:
                self._release(row.session)
            tokens, logprobs = generate_plain(
                self.model,
                [row.prompt.ids for row in long],
                seeds=[row.request.seed for row in long],
                sampling=sampling,
                stop_ids=self._encoder.stop_ids,
            )
        if short:
            self._place(short)
            short.sort(key=lambda row: row.slot)
            try:
                more = self._sample_rows(short, sampling)
            finally:
                for row in short:
                    if row.request.session is None:
                        self._release(row.session)
            tokens, logprobs = tokens + more[0], logprobs + more[1]
        return long + short, (tokens, logprobs)

    def _fall_back(self, reason: str) -> None:
        self.fallback = reason
        _log.warning(
            "%s: %s; served by uncached generation, which computes the whole prompt anew each turn",
            type(self.model).__name__,
            reason,
        )

    def _give_up(self, reason: str) -> None:
        """Serve nothing from slots."""
        self._slot_context, self._tried = 0, True
        self._fall_back(reason)

    def _try(self) -> None:
        """Give up the slots where they compute something else than the model does."""
        self._tried = True
        fault = slot_fault(self.model, self._forward, rows=min(self.slots, 2))
        self.reset_cache()
        if fault is not None:
            self._give_up(fault)

    def _place(self, rows: Sequence[_Row]) -> None:
        """Give every row a slot and find how much of its prompt the slot already holds."""
        busy = {id(row.session) for row in rows}
        idle = (s for s in list(self._sessions.values()) if s.slot is not None and id(s) not in busy)
        for row in rows:
            session = row.session
            if session.slot is None:
                if not self._free:
                    self._release(next(idle))
                session.slot, session.cached = self._free.pop(0), None
            row.slot = session.slot
            if session.cached:
                # the last token always is computed anew: its logits are needed
                limit = min(len(session.cached), len(row.prompt.ids) - 1)
                continued = row.prompt.continued
                row.cached = limit if continued else common_prefix(session.cached, row.prompt.ids, limit)
                # what follows is overwritten from here on, even if the model then fails
                session.cached = session.cached[: row.cached]

    def _release(self, session: _Session) -> None:
        if session.slot is not None:
            self._free.append(session.slot)
            self._free.sort()
            session.slot, session.cached = None, None

    def _sample_rows(
        self, rows: Sequence[_Row], sampling: Sampling
    ) -> tuple[list[tuple[int, ...]], list[tuple[float, ...]]]:
        """Prefill and decode; ``rows`` are in the order of their slots."""
        count, longest = len(rows), sampling.max_tokens
        slots = np.array([row.slot for row in rows])
        seeds = [row.request.seed for row in rows]
        tokens = np.zeros((count, longest), dtype=np.int64)
        logprobs = np.zeros((count, longest), dtype=np.float64)
        lengths = np.full(count, longest)
        active = np.ones(count, dtype=bool)
        work = np.arange(count)
        starts = np.array([len(row.prompt.ids) for row in rows])
        logits = self._prefill(rows)
        for step in range(longest):
            ids, scores = sample(
                logits,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                uniforms=uniforms([seeds[n] for n in work], step).to(logits.device),
            )
            tokens[work, step], logprobs[work, step] = ids.cpu().numpy(), scores.cpu().numpy()
            stopped = active & np.isin(tokens[:, step], list(self._encoder.stop_ids))
            lengths[stopped] = step + 1
            active &= ~stopped
            if step + 1 == longest or not active.any():
                break
            if active[work].mean() < _KEEP:
                work = work[active[work]]
            logits = self._forward(tokens[work, step, None], slots[work], starts[work] + step)
        return (
            [tuple(t[:n].tolist()) for t, n in zip(tokens, lengths, strict=True)],
            [tuple(p[:n].tolist()) for p, n in zip(logprobs, lengths, strict=True)],
        )

    def _prefill(self, rows: Sequence[_Row]) -> Tensor:
        """Compute the new part of every prompt, what rows share but once; logits at its end, [B, V]."""
        leaders, followers = same_prompts([row.prompt.ids for row in rows], [row.cached for row in rows])
        for shared in common_starts([rows[n].prompt.ids for n in leaders], [rows[n].cached for n in leaders]):
            first, *others = [rows[leaders[n]] for n in shared.members]
            start = np.array([first.prompt.ids[: shared.length]])
            self._forward(start, np.array([first.slot]), np.zeros(1, dtype=np.int64))
            self._cache.copy(first.slot, [row.slot for row in others], shared.length)
            for row in (first, *others):
                row.cached = shared.length
        logits = self._prefill_each([rows[n] for n in leaders])
        if not followers:
            return logits
        for leader, same in followers.items():
            self._cache.copy(rows[leader].slot, [rows[n].slot for n in same], len(rows[leader].prompt.ids))
        place = {n: k for k, leader in enumerate(leaders) for n in (leader, *followers.get(leader, ()))}
        return logits[torch.tensor([place[n] for n in range(len(rows))], device=logits.device)]

    def _prefill_each(self, rows: Sequence[_Row]) -> Tensor:
        """Compute the new part of every prompt; logits after its last token, [B, V]."""
        parts, orders = [], []
        needs = [len(row.prompt.ids) - row.cached for row in rows]
        for group in buckets(needs, max(len(row.prompt.ids) for row in rows)):
            news = [rows[n].prompt.ids[rows[n].cached :] for n in group]
            ends = np.array([len(new) for new in news])
            ids = np.zeros((len(group), int(ends.max())), dtype=np.int64)
            for line, new in zip(ids, news, strict=True):
                line[: len(new)] = new
            slots = np.array([rows[n].slot for n in group])
            parts.append(self._forward(ids, slots, np.array([rows[n].cached for n in group]), ends - 1))
            orders += group
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[torch.from_numpy(np.argsort(orders)).to(parts[0].device)]

    def _forward(self, ids: _Ints, slots: _Ints, starts: _Ints, last: _Ints | None = None) -> Tensor:
        """Logits [B, V] at query ``last`` of each row (0 by default), for ids [B, q]."""
        device, dtype = self.model.device, self.model.dtype
        queries = ids.shape[1]
        visible = -(-(int(starts.max()) + queries) // 8) * 8
        where = torch.from_numpy(slots), torch.from_numpy(starts)
        positions = self._cache.address(*where, queries, visible, device)
        hidden_keys = torch.arange(visible, device=device) > positions[:, None, :, None]
        mask = torch.zeros(hidden_keys.shape, dtype=dtype, device=device)
        mask.masked_fill_(hidden_keys, torch.finfo(dtype).min)
        inputs = {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": mask,
            # padding may lie beyond the last position that the model knows
            "position_ids": positions.clamp(max=self.max_context - 1),
            cache_argument(self.model): self._cache,
            "use_cache": True,
        }
        if self._split_head is None:
            self._split_head = head_is_linear(self.model, torch.zeros(1, 1, dtype=torch.long, device=device))
        pick = torch.zeros(len(ids), dtype=torch.long) if last is None else torch.from_numpy(last)
        batch, pick = torch.arange(len(ids), device=device), pick.to(device)
        logits: Tensor
        if self._split_head:
            hidden = self.model.base_model(**inputs).last_hidden_state[batch, pick]
            logits = self.model.get_output_embeddings()(hidden)
        else:
            logits = self.model(**inputs).logits[batch, pick]
        return logits
