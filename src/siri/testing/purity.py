"""Things that a pure part leaves alone: the global random number generators."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from siri.errors import ContractBroken

__all__ = ["untouched_generators"]


@contextmanager
def untouched_generators(subject: str) -> Iterator[None]:
    """Raise ``ContractBroken`` when the block moves a global generator of random, numpy or torch."""
    before = _states()
    yield
    after = _states()
    for name, state in before.items():
        if after[name] != state:
            raise ContractBroken(
                "no_global_rng",
                subject,
                f"the global generator of {name} has moved",
                "the state of random, numpy and torch stays as it was; fix: use a generator of your own, "
                "seeded from what the call was given",
            )


def _states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate()}
    if numpy := sys.modules.get("numpy"):
        kind, keys, *rest = numpy.random.get_state()
        states["numpy"] = (kind, keys.tobytes(), *rest)
    if torch := sys.modules.get("torch"):
        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states
