"""Choosing how weights reach vLLM servers."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from siri.errors import ConfigError, PolicyFault
from siri.models.weights import outlines
from siri.policies.buckets import SHARED
from siri.policies.exchange import Checkpoints, Exchange, Tensors
from siri.policies.shared_memory import MEMORY, claimed, discard, free_bytes
from siri.policies.vllm_http import Server
from siri.policies.vllm_nccl import NCCL, Broadcast
from siri.processes import Processes

__all__ = ["exchange_for"]

_log = logging.getLogger(__name__)
_PREFIX = "siri-weights-"


def exchange_for(
    servers: Sequence[Server],
    model: Any,
    *,
    transfer: Literal["auto", "tensors", "checkpoint"] = "auto",
    dtype: torch.dtype | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Exchange:
    """Choose how weights reach ``servers``: as tensors if all of them can take those. A collective.

    Args:
        servers: the servers.
        model: the model in training.
        transfer: ``tensors`` or ``checkpoint`` to insist on one of them.
        dtype: dtype of what is pushed; None means the model's.
        folder: where checkpoints are written; None means a temporary folder.

    Raises:
        ConfigError: ``transfer`` is ``tensors``, and that is impossible.
    """
    processes = Processes.current()
    run: str = processes.on_first(lambda: uuid.uuid4().hex[:12])
    if transfer != "checkpoint":
        locks: list[int] = []
        plan = processes.on_first(lambda: _planned(servers, model, dtype, locks))
        if processes.any(plan.folder is not None and not plan.folder.is_dir()):
            plan = replace(plan, refusal="training processes on several machines")
        if plan.refusal is None and plan.folder is not None:
            if processes.first:
                _log.info("weights go to the vLLM servers as tensors, by %s", plan.backend)
            if plan.backend == NCCL:
                return Broadcast(servers, run, plan.folder)
            return Tensors(run, plan.folder, *locks)
        if processes.first:
            discard(plan.folder, *locks)
        if transfer == "tensors":
            raise ConfigError(
                f"got rollout.transfer=tensors and {plan.refusal}, expected servers that take tensors; fix: "
                "start them as docs/how-to/scaling.md says, or rollout.transfer=checkpoint"
            )
        if processes.first:
            # a server that was started with a backend was meant to get tensors
            level = logging.INFO if plan.backend is None else logging.WARNING
            _log.log(level, "weights go to the vLLM servers as checkpoints, because of %s", plan.refusal)
    return Checkpoints(run, Path(processes.on_first(lambda: _temporary(folder))))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the first process found out."""

    backend: str | None
    """The backend of the servers; None without one."""
    folder: Path | None
    """The folder of the job, if one was made."""
    refusal: str | None
    """Why tensors cannot be sent."""


def _planned(servers: Sequence[Server], model: Any, dtype: torch.dtype | None, locks: list[int]) -> _Plan:
    """Find out whether tensors can be sent; a descriptor that keeps the folder is put into ``locks``."""
    backend = servers[0].backend()
    other = next((server for server in servers if server.backend() != backend), None)
    if other is not None:
        return _Plan(backend, None, f"different backends at {servers[0].url[:60]} and {other.url[:60]}")
    if backend == NCCL:
        if not torch.cuda.is_available() or importlib.util.find_spec("vllm") is None:
            return _Plan(backend, None, "the backend nccl without a GPU or vLLM in this process")
        return _Plan(backend, Path(_temporary(None)), None)
    if backend != SHARED:
        kind = "no backend for transfers" if backend is None else f"the backend {backend[:40]}"
        return _Plan(backend, None, f"{kind} at {servers[0].url[:60]}")
    size = sum(weight.nbytes for weight in outlines(model, dtype))
    if size > (free := free_bytes()):
        return _Plan(backend, None, f"{free:,} bytes of shared memory for {size:,} of weights")
    try:
        folder, lock = claimed()
    except OSError as error:
        return _Plan(backend, None, f"no folder in {MEMORY} ({error.strerror})")
    locks.append(lock)
    try:
        blind = next((server for server in servers if not server.meets({"folder": str(folder)})), None)
    except PolicyFault:
        discard(folder, lock)
        raise
    return _Plan(backend, folder, None if blind is None else f"other shared memory at {blind.url[:60]}")


def _temporary(folder: str | os.PathLike[str] | None) -> str:
    return tempfile.mkdtemp(prefix=_PREFIX, dir=folder)
