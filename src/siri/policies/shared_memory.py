"""Folders in shared memory that do not outlive their process, even if it is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["MEMORY", "claimed", "discard", "free_bytes"]

MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""
_PREFIX = "siri-tensors-"
"""Of folders that are locked while their processes live; all others are left alone."""


def free_bytes() -> int:
    """Free shared memory in bytes; 0 where there is none."""
    return shutil.disk_usage(MEMORY).free if MEMORY.is_dir() else 0


def claimed() -> tuple[Path, int]:
    """Make a folder in shared memory; return it with the file descriptor that keeps it.

    Folders of processes that were killed are removed first; until then they take memory.

    Raises:
        OSError: there is no shared memory, or no permission.
    """
    for folder in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # its process lives, or is another user's
            discard(folder, _locked(folder))
    # under its own name only once it is locked
    hidden = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=MEMORY))
    lock = _locked(hidden)
    return hidden.rename(hidden.with_name(hidden.name[1:])), lock


def discard(folder: Path | None, lock: int | None = None) -> None:
    """Remove a folder, and close the descriptor that kept it; either may be missing."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _locked(folder: Path) -> int:
    """Lock a folder until the descriptor is closed, or the process ends."""
    import fcntl

    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
