"""Weights to vLLM servers by NCCL, from the first process's GPU to theirs, with vLLM's own trainer class.

Not run yet: no machine with GPUs was at hand. It follows vLLM 0.32.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from siri.errors import PolicyFault, SiriError, first_line
from siri.models.weights import Outline, is_spread, outlines, streamed
from siri.policies.exchange import Exchange
from siri.policies.vllm_http import Server, on_each
from siri.processes import Processes

__all__ = ["NCCL", "Broadcast"]

NCCL = "nccl"
"""Name of the backend, for vLLM."""


class Broadcast(Exchange):
    """Sends tensors from the first process to all servers at once, in one NCCL group.

    Nothing is kept. A server that loses its weights during a rollout ends the run, which can be resumed.

    Args:
        servers: the servers.
        run: see ``Exchange``, also for ``folder``.
    """

    kind = NCCL
    device = "cuda"

    def __init__(self, servers: Sequence[Server], run: str, folder: Path) -> None:
        super().__init__(run, folder)
        self._servers = servers
        self._client: Client | None = None
        self._trainer: Any = None

    def holds(self, version: int) -> bool:  # noqa: ARG002
        """Always False: a process alone has nothing to give."""
        return False

    def give(self, server: Server) -> None:
        """Refuse: this takes all processes.

        Raises:
            PolicyFault: always.
        """
        raise PolicyFault(
            f"got a server at {server.url[:60]} without the newest weights, expected it to keep them: NCCL "
            "cannot give them again during a rollout; fix: resume the run, or rollout.transfer=checkpoint"
        )

    def push(self, model: Any, version: int, *, dtype: torch.dtype | None) -> None:
        """Send the weights."""
        processes, source, fault = Processes.current(), Source(model, dtype, self.device), None
        try:
            if processes.first:
                self._send(source, self.named(version))
        except (RuntimeError, ValueError, OSError, SiriError) as error:
            fault, self._trainer = error, None  # the next push joins the servers again
        finally:
            if processes.first or is_spread(model):
                source.exhaust()

        def check() -> None:
            if isinstance(fault, SiriError):
                raise fault
            if fault is not None:
                raise PolicyFault(
                    f"got {first_line(fault)} while sending weights by NCCL, expected all servers to take "
                    "them; fix: see their logs, or rollout.transfer=checkpoint"
                ) from fault

        processes.on_first(check)
        self.version = version

    def _send(self, source: Source, name: str) -> None:
        if self._client is None or self._trainer is None:
            self._client = Client(self._servers)
            self._trainer = self._joined(self._client, source)
        self._trainer.source = source
        with ExitStack() as updates:
            self._client.name, self._client.updates = name, updates
            self._trainer.send_weights()

    def _joined(self, client: Client, source: Source) -> Any:
        """Meet the servers in an NCCL group, of which this process is the first; return vLLM's trainer."""
        from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        size = 1 + sum(client.workers)
        info = NCCLTrainerInitInfo(_own_address(self._servers[0].url), port, size, rank=0)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=source)


class Source:
    """The weights of a push, as vLLM's trainer reads them."""

    def __init__(self, model: Any, dtype: torch.dtype | None, device: str) -> None:
        self._model, self._dtype, self._device = model, dtype, device
        self._weights = streamed(model, dtype)

    def metadata(self) -> list[Outline]:
        """Name, dtype and shape of each, in their order."""
        return outlines(self._model, self._dtype)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield them, once, on ``device``."""
        for name, value in self._weights:
            yield name, value.to(self._device)

    def exhaust(self) -> None:
        """Iterate to the end, as every process must."""
        deque(self._weights, maxlen=0)


class Client:
    """All servers of a job as vLLM's trainer sees them: as one."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.name = ""
        """What the servers call the weights of the next update."""
        self.updates = ExitStack()
        """Ends the updates that have begun, well or badly."""
        self._servers = servers
        self.workers = on_each(servers, Server.workers)
        """Number of workers of each."""

    def init_weight_transfer_engine(self, init_info: Mapping[str, Any]) -> None:
        """Have all workers join the group; each server's ranks begin where those of the last one end."""
        before = dict(zip(self._servers, accumulate(self.workers, initial=0), strict=False))
        first = init_info["rank_offset"]
        on_each(self._servers, lambda each: each.join({**init_info, "rank_offset": first + before[each]}))

    def start_weight_update(self) -> None:
        """Begin an update of each server."""
        for server in self._servers:
            self.updates.enter_context(server.updating(self.name))

    def update_weights(self, update_info: Mapping[str, Any]) -> None:
        """Have all workers receive what is broadcast."""
        on_each(self._servers, lambda server: server.receive(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:  # noqa: ARG002
        """End the updates."""
        self.updates.close()


def _own_address(url: str) -> str:
    """The address of this machine in the network of ``url``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((urlsplit(url).hostname, 9))  # sends nothing
        return str(probe.getsockname()[0])
