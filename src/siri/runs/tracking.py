"""Where the metrics of a run are sent besides metrics.jsonl."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from siri.errors import ConfigError, MissingExtra

__all__ = ["Trackers", "check_trackers"]

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


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
