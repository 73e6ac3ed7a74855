"""A policy that samples at running vLLM servers and pushes new weights to them."""

from __future__ import annotations

import os
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any, Literal

from siri.errors import EngineAway, PolicyFault
from siri.policies.checkpoints import DTYPES, load_model, load_tokenizer, located
from siri.policies.engine import NO_SLEEP, EnginePolicy, Sampled
from siri.policies.hub import on_hand
from siri.policies.transfers import exchange_for
from siri.policies.vllm_http import Server, addresses, on_each
from siri.processes import Processes
from siri.types import Sampling

__all__ = ["VLLMServerPolicy"]

_TRIES = 3
"""Most attempts for a completion: a request that kills its server must not do so for ever."""


class VLLMServerPolicy(EnginePolicy):
    """Samples at vLLM servers (``vllm serve``), and is ready for ``Curriculum``.

    Token ids go in and out. Every completion says which weights sampled it, and one of the wrong weights is
    never used. A server must serve a checkpoint of the same architecture, and be started with
    ``VLLM_SERVER_DEV_MODE=1`` and ``--enable-scale-out``. vLLM's development endpoints handle weights, their
    version and sleep mode; they belong on a network that you trust. No other program may push weights to a
    server during the run; if one does, siri notices it and replaces them.

    Weights are pushed in the servers' type: as tensors where all servers take them, else as a checkpoint that
    they reload in place (``transfer``). On one machine tensors go through shared memory, which keeps the
    newest weights during the run. Servers for that start with ``--worker-extension-cls
    siri.policies.vllm_transfer.Workers`` and ``--weight-transfer-config '{"backend": "siri-shm"}'``, and have
    siri installed. With the backend ``nccl`` they come from the first process's GPU. A checkpoint lies in
    ``exchange``, a folder that all servers and trainers can read.

    In a job of several processes, all of them make the policy together. The first one pushes for all
    (``sync``), and each samples independently. With several servers, a session stays with the server that has
    its prefixes.

    If a server goes away, siri waits for it. The first process that notices gives it the newest weights
    again, alone. Then the missing completions are requested once more. A seed belongs to its request, so the
    completions are the same. (Not with ``nccl``, which keeps no weights: there the run ends, and is resumed.)

    Args:
        model: a transformers causal LM, the one that is trained.
        tokenizer: its tokenizer, with a chat template.
        url: address of the server, e.g. ``http://127.0.0.1:8000``, or of several, separated by commas; a
            trailing ``/v1`` is left out.
        slots: largest batch, and most pending requests of this process.
        max_context: most tokens of prompt plus completion; by default the limit of model and servers.
        timeout: seconds for one request.
        patience: seconds that a server may be away; at the start it must answer.
        transfer: how weights are pushed: ``tensors``, ``checkpoint``, or ``auto`` for tensors where possible.
        exchange: folder for the checkpoints; by default a temporary one (``TMPDIR`` says where).
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.

    Raises:
        ConfigError: an address is malformed, a server lacks an endpoint that must be enabled, or tensors are
            asked for and impossible.
        PolicyFault: a server does not answer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        url: str,
        slots: int = 128,
        max_context: int | None = None,
        timeout: float = 600.0,
        patience: float = 600.0,
        transfer: Literal["auto", "tensors", "checkpoint"] = "auto",
        exchange: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            model,
            tokenizer,
            slots=slots,
            max_context=max_context,
            chat_template_kwargs=chat_template_kwargs,
        )
        self.engine = [Server(each, timeout=timeout, connections=slots) for each in addresses(url)]
        """One server for each address."""
        self.patience = patience
        self._answers: dict[Future[Sampled], int] = {}
        self._pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="vllm")
        self._leaving = Event()
        for server in self.engine:
            _, room = server.served()
            self.max_context = min(self.max_context, room or self.max_context)
        processes = Processes.current()
        named = processes.on_first(lambda: {server.dtype() for server in self.engine})
        self._dtype = DTYPES.get(str(named.pop())) if len(named) == 1 else None
        processes.on_first(lambda: on_each(self.engine, Server.awake))
        self._exchange = exchange_for(
            self.engine, model, transfer=transfer, dtype=self._dtype, folder=exchange
        )
        self._update()

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        url: str,
        dtype: str = "float32",
        hollow: bool = False,
        slots: int = 128,
        max_context: int | None = None,
        transfer: Literal["auto", "tensors", "checkpoint"] = "auto",
        exchange: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> VLLMServerPolicy:
        """Load a transformers checkpoint as the model to train, for servers of its architecture.

        Args:
            path: a checkpoint folder, or an adapter's.
            url: see the class, also for the other arguments.
            dtype: dtype of the model to train.
            hollow: do not load the model to train, because it will be sharded over processes, each of which
                reads its own part from the files.
        """
        path = on_hand(located(path))
        model, tokenizer = load_model(path, dtype=dtype, hollow=hollow), load_tokenizer(path)
        return cls(
            model,
            tokenizer,
            url=url,
            slots=slots,
            max_context=max_context,
            transfer=transfer,
            exchange=exchange,
            chat_template_kwargs=chat_template_kwargs,
        )

    @property
    def transfer(self) -> str:
        """How weights are pushed: ``tensors`` (through shared memory), ``nccl`` or ``checkpoint``."""
        return self._exchange.kind

    def close(self) -> None:
        """Leave the servers awake, with the newest weights; close the connections and remove what was pushed.

        A server that has gone away is not an error. Every process closes its own connections.
        """
        if self._asleep and Processes.current().first:
            with suppress(PolicyFault):
                for server in self.engine:
                    server.wake()
                    self._exchange.give(server)
        self._leaving.set()
        self._pool.shutdown()
        for server in self.engine:
            server.close()
        self._exchange.close()

    def _tag(self) -> str:
        return self._exchange.named(self._version)

    def _engine_tag(self) -> str:
        return next((tag for each in self.engine if (tag := each.version()) != self._tag()), self._tag())

    def _needs_all(self) -> bool:
        return Processes.current().size > 1

    def _renew(self) -> None:
        if not self._asleep and self._exchange.holds(self._version):
            for server in self.engine:
                self._recover(server)
        else:
            super()._renew()

    def _recover(self, server: Server, *, always: bool = False) -> None:
        """Wait until ``server`` has the newest pushed weights; give it them if necessary, or ``always``.

        Any process may do this at any time, alone; a lock separates them.

        Raises:
            PolicyFault: the server is away for too long, or newer weights have replaced these.
        """
        until = time.monotonic() + self.patience
        while True:
            try:
                if not always and server.version() == self._tag():
                    return
                with self._exchange.turn(server, until=until, leaving=self._leaving):
                    if always or server.version() != self._tag():
                        server.awake()
                        self._exchange.give(server)
                    return
            except EngineAway:
                if time.monotonic() > until or self._leaving.wait(0.5):
                    raise

    def _push(self) -> None:
        self._exchange.push(self.model, self._version, dtype=self._dtype)
        if self._exchange.holds(self._version):
            # a server that slept has lost its weights, but not their name
            give = partial(self._recover, always=True)
            Processes.current().on_first(lambda: on_each(self.engine, give))

    def _begin(self, ticket: int, prompt: list[int], seed: int, sampling: Sampling) -> None:
        request, _ = self._flying[ticket]
        name = request.session if request.session is not None else str(seed)
        server = self.engine[zlib.crc32(name.encode()) % len(self.engine)]
        self._answers[self._pool.submit(self._complete, server, prompt, seed, sampling)] = ticket

    def _complete(self, server: Server, prompt: list[int], seed: int, sampling: Sampling) -> Sampled:
        stops = sorted(self._encoder.stop_ids)
        for _ in range(_TRIES):
            with suppress(EngineAway):
                found, versions = server.generate(prompt, sampling, seed=seed, stops=stops)
                if versions == {self._tag()}:
                    return found
            self._recover(server)
        raise PolicyFault(
            f"got no completion by weights {self._tag()!r} from {server.url[:80]} in {_TRIES} tries, "
            "expected one; fix: see its log, and let nobody else push to it"
        )

    def _finished(self) -> list[tuple[int, Sampled]]:
        done = wait(self._answers, return_when=FIRST_COMPLETED).done
        return [(self._answers.pop(future), future.result()) for future in done]

    def _abort(self, tickets: Sequence[int]) -> None:  # noqa: ARG002 (all that are on the way)
        for future in self._answers:
            future.cancel()
        self._leaving.set()
        wait(self._answers)  # requests that were already sent must end
        self._leaving.clear()
        self._answers.clear()

    def _sleep(self) -> bool:
        frees = Processes.current().on_first(lambda: all(on_each(self.engine, Server.sleep)))
        if not frees and Processes.current().first:
            warnings.warn(NO_SLEEP, stacklevel=3)
        return frees

    def _wake(self) -> None:
        Processes.current().on_first(lambda: on_each(self.engine, Server.wake))
