"""Where the time of a run goes, and where its metrics are sent beside metrics.jsonl."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from siri.errors import ConfigError, MissingExtra

__all__ = ["Clock", "Trackers", "check_trackers", "peak_memory"]

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


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


def peak_memory() -> float:
    """Largest memory of this process so far, MiB: of the GPU where torch uses one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that ``Trackers`` could not make, before anything is written.

    Raises:
        ConfigError: a name that is not known.
        MissingExtra: its package is not installed.
    """
    for name in names:
        if name not in _PACKAGES:
            raise ConfigError(f"got tracker {name!r}, expected one of {sorted(_PACKAGES)}; fix: choose one")
        if find_spec(_PACKAGES[name]) is None:
            raise MissingExtra(_PACKAGES[name], name if name == "wandb" else "tracking")


class Trackers:
    """Metrics to TensorBoard or Weights & Biases, through accelerate's trackers.

    Weights & Biases runs offline unless ``WANDB_MODE`` says otherwise.

    Args:
        names: ``"tensorboard"``, ``"wandb"``.
        folder: the run directory; they write below ``folder/trackers``.
        config: stored with the run.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self._trackers: list[Any] = []
        check_trackers(names)
        for name in names:
            self._trackers.append(_tracker(name, folder / "trackers"))
        for tracker in self._trackers:
            tracker.store_init_configuration(_flat(config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send the metrics of one iteration."""
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Write what is still in memory."""
        for tracker in self._trackers:
            tracker.finish()


def _tracker(name: str, folder: Path) -> Any:
    from accelerate import tracking  # type: ignore[import-untyped]

    if name == "tensorboard":
        made = tracking.TensorBoardTracker("siri", logging_dir=str(folder))
    else:
        os.environ.setdefault("WANDB_MODE", "offline")
        folder.mkdir(parents=True, exist_ok=True)
        made = tracking.WandBTracker("siri")
    start = getattr(made, "start", None)
    if start is not None:
        start()
    return made


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``section.key``; what is no number or word becomes one."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return found
