"""The side of a vLLM server in a push through shared memory; its workers import this module.

Start the server with ``--worker-extension-cls siri.policies.vllm_transfer.Workers`` and
``--weight-transfer-config '{"backend": "siri-shm"}'``. What comes over HTTP is JSON: the names of files, and
what they hold. The files are mapped into memory; nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from siri.policies.buckets import SHARED, mapped

__all__ = ["SharedMemory", "Workers"]


@dataclass
class Meeting(WeightTransferInitInfo):  # type: ignore[misc]
    """What a trainer says first."""

    folder: str
    """A folder in its shared memory."""


@dataclass
class Bucket(WeightTransferUpdateInfo):  # type: ignore[misc]
    """What a trainer says of each file."""

    path: str
    tensors: list[list[Any]]
    """Name, dtype, shape and offset of each tensor."""


class SharedMemory(WeightTransferEngine[Meeting, Bucket]):  # type: ignore[misc]
    """Loads weights from the files of a trainer on the same machine."""

    init_info_cls = Meeting
    update_info_cls = Bucket

    def init_transfer_engine(self, init_info: Meeting) -> None:
        """Raise ``OSError`` where the trainer's folder cannot be seen: on another machine."""
        Path(init_info.folder).stat()

    def start_weight_update(self) -> None:
        """Begin an update; end one that broke off, because its layers are half counted."""
        finalize_layerwise_reload(self.model, self.model_config)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Load one file. (vLLM's own method fails without an accelerator.)"""
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Bucket) -> None:
        """Load one file."""
        self.model.load_weights(mapped(Path(update_info.path), update_info.tensors))

    def finish_weight_update(self) -> None:
        """Compute with what was loaded."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Do nothing: nothing is held."""


class Workers:
    """Adds nothing to vLLM's workers; a server that names it imports this module."""


WeightTransferEngineFactory.register_engine(SHARED, SharedMemory)
