"""How much memory there is where a model computes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["KEYS_AND_VALUES", "device_memory"]

KEYS_AND_VALUES = 0.4
"""Most of a device's memory that keys and values take."""
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may use."""


def device_memory(device: torch.device | str) -> int | None:
    """Bytes of the device: of a GPU its own, of a CPU the machine's or the container's; None: nobody says."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type != "cpu":
        return None
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        found = []
    for path in map(Path, _LIMITS):
        try:
            found.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min(found, default=None)
