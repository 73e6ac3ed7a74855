"""How far a long part has come, for whoever displays it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from siri.protocols import Progress

__all__ = ["Silent", "during"]


class Silent:
    """Shows nothing; implements ``siri.protocols.Progress``."""

    def begin(self, part: str, total: int) -> None:
        """Nothing."""

    def advance(self, part: str, n: int = 1, **figures: float) -> None:
        """Nothing."""

    def end(self, part: str) -> None:
        """Nothing."""


@contextmanager
def during(progress: Progress, name: str, total: int) -> Iterator[None]:
    """Begin a part, and end it whatever happens in the body."""
    progress.begin(name, total)
    try:
        yield
    finally:
        progress.end(name)
