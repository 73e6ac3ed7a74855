"""How new weights reach vLLM servers: as a checkpoint, or as tensors in shared memory."""

from __future__ import annotations

import json
import os
import shutil
import time
import weakref
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from siri.errors import PolicyFault
from siri.models.weights import is_spread, streamed
from siri.policies.buckets import written
from siri.policies.shared_memory import discard
from siri.policies.vllm_http import Server
from siri.processes import Processes

__all__ = ["Checkpoints", "Exchange", "Tensors"]

_BUCKET = 1 << 30
"""Most bytes of weights in one file, unless one tensor is larger."""
_CONTENTS = "contents.json"


class Exchange(ABC):
    """How the weights of a job come to its servers, and to those that lost them.

    Args:
        run: a name that no other run has. A server outlives its trainers, whose versions all start at 0.
        folder: a folder of this job's own, which all its processes see; it is removed at the end.
        lock: a file descriptor of the first process, which is closed then.
    """

    kind: ClassVar[str]
    """Its name, for readers."""

    def __init__(self, run: str, folder: Path, lock: int | None = None) -> None:
        self.folder = folder
        self.version = -1
        """Of the weights that were pushed last."""
        self._run = run
        mine = folder if Processes.current().first else None
        self._finalizer = weakref.finalize(self, discard, mine, lock)

    def named(self, version: int) -> str:
        """What servers call the weights of a version."""
        return f"siri-{self._run}-{version}"

    @abstractmethod
    def push(self, model: Any, version: int, *, dtype: torch.dtype | None) -> None:
        """Send the weights of ``model`` to all servers, or make ready what ``give`` gives. A collective.

        Args:
            model: the model in training, whole, sharded or with weights in its files.
            version: of its weights; what is held already is not read from the model again.
            dtype: dtype of what is pushed; None means the model's.

        Raises:
            PolicyFault: there is no room, or a server did not take them.
        """

    @abstractmethod
    def holds(self, version: int) -> bool:
        """Whether any process alone can give a server the weights of this version."""

    @abstractmethod
    def give(self, server: Server) -> None:
        """Give one server the newest weights, alone.

        Raises:
            EngineAway: the server is away.
            PolicyFault: it could not take them, or they cannot be given alone.
        """

    @contextmanager
    def turn(self, server: Server, *, until: float, leaving: Event) -> Iterator[None]:
        """Keep other processes and threads from giving weights to a server.

        Args:
            server: the server.
            until: when to give up, by ``time.monotonic``.
            leaving: set when this process leaves.

        Raises:
            PolicyFault: others took too long.
        """
        lock = FileLock(self.folder / f".{zlib.crc32(server.url.encode()):08x}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.5, poll_interval=0.05)
            except Timeout:
                if time.monotonic() > until or leaving.is_set():
                    raise PolicyFault(
                        f"got no turn to restore the weights of {server.url[:80]}, expected one while siri "
                        "waits for the server; fix: see its log"
                    ) from None
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        """Remove the folder."""
        self._finalizer()


class Kept(Exchange):
    """Keeps the newest weights in its folder, where all processes and all servers see them."""

    hint: ClassVar[str]
    """What to do if the folder is full."""
    overwrites: ClassVar[bool]
    """Whether the files of the old weights are written over, and not removed when new ones are written."""

    @property
    def newest(self) -> Path:
        """The weights that were pushed last."""
        return self.folder / str(self.version)

    def holds(self, version: int) -> bool:
        """Whether these are the weights that were pushed last."""
        return self.version == version and self.newest.is_dir()

    def push(self, model: Any, version: int, *, dtype: torch.dtype | None) -> None:
        """Write the weights into the folder."""
        processes = Processes.current()
        known = processes.on_first(lambda: self.holds(version))
        fault = None if known else self._write(model, version, dtype)

        def check() -> None:
            if fault is not None:
                raise PolicyFault(fault)

        processes.on_first(check)
        self.version = version
        if processes.first:
            self._drop_old()

    def _write(self, model: Any, version: int, dtype: torch.dtype | None) -> str | None:
        """Write the current weights; return why that failed, or None. A collective if they are sharded."""
        first = Processes.current().first
        weights = streamed(model, dtype) if first or is_spread(model) else iter(())
        target = self.folder / str(version)
        try:
            if first:
                fresh = target.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                if self.overwrites and self.newest.is_dir():
                    os.replace(self.newest, fresh)
                else:
                    fresh.mkdir()
                self._fill(fresh, model, weights)
                os.replace(fresh, target)
        except (OSError, SafetensorError) as error:
            return (
                f"got {getattr(error, 'strerror', None) or error} while writing weights for the server to "
                f"{str(target)[-100:]}, expected room and permission; fix: {self.hint}"
            )
        finally:
            deque(weights, maxlen=0)  # iterate to the end, as every process must
        return None

    def _drop_old(self) -> None:
        for stale in self.folder.iterdir():
            if stale.is_dir() and stale != self.newest:
                shutil.rmtree(stale, ignore_errors=True)

    @abstractmethod
    def _fill(self, folder: Path, model: Any, weights: Iterator[tuple[str, Tensor]]) -> None:
        """Write weights into a folder, which is empty or holds older ones of the same names."""


class Checkpoints(Kept):
    """Writes a checkpoint, which the servers reload in place. For all servers that see the folder."""

    kind = "checkpoint"
    hint = "free the disk, or another TMPDIR"
    overwrites = False

    def give(self, server: Server) -> None:
        """Have a server reload the newest checkpoint."""
        server.load(self.newest, self.named(self.version))

    def _fill(self, folder: Path, model: Any, weights: Iterator[tuple[str, Tensor]]) -> None:
        for number, bucket in enumerate(_buckets(weights)):
            save_file(bucket, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
        model.config.save_pretrained(folder)


class Tensors(Kept):
    """Writes tensors into shared memory, which the servers map. For processes and servers of one machine."""

    kind = "tensors"
    hint = "more shared memory, or rollout.transfer=checkpoint"
    overwrites = True

    def give(self, server: Server) -> None:
        """Name the newest files to a server, one after the other."""
        contents = json.loads((self.newest / _CONTENTS).read_text(encoding="utf-8"))
        with server.updating(self.named(self.version)):
            for part in contents:
                server.receive({"path": str(self.newest / part["file"]), "tensors": part["tensors"]})

    def _fill(self, folder: Path, model: Any, weights: Iterator[tuple[str, Tensor]]) -> None:  # noqa: ARG002
        contents = list(written(weights, folder, most=_BUCKET))
        (folder / _CONTENTS).write_text(json.dumps(contents), encoding="utf-8")


def _buckets(weights: Iterator[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield weights on the CPU, in portions of one file each."""
    bucket: dict[str, Tensor] = {}
    for name, value in weights:
        if bucket and sum(v.nbytes for v in bucket.values()) + value.nbytes > _BUCKET:
            yield bucket
            bucket = {}
        bucket[name] = value.cpu().contiguous().clone()
    yield bucket
