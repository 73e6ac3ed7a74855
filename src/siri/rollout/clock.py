"""Where the time of an iteration goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Seconds by part of an iteration, and what was done in them."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._counts: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the body's seconds towards ``name``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - began

    def count(self, name: str, number: int) -> None:
        """Count what was done."""
        self._counts[name] += number

    def take(self) -> dict[str, float]:
        """The seconds so far (``generate``, ``env``, …), ``tokens_per_second`` and ``env_steps_per_second``.

        Rates are over the part that does the work: sampled tokens over ``generate``, steps over ``env``.
        """
        found = dict(sorted(self._seconds.items()))
        for rate, what, part in (
            ("tokens_per_second", "tokens", "generate"),
            ("env_steps_per_second", "env_steps", "env"),
        ):
            if found.get(part):
                found[rate] = self._counts[what] / found[part]
        self._seconds.clear()
        self._counts.clear()
        return {name: round(value, 3) for name, value in found.items()}
