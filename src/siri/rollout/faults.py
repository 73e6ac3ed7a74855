"""What happens when an environment breaks: the run stops, or the episode is dropped and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from siri.errors import EnvironmentFault, EnvironmentTimeout, SiriError
from siri.types import Task

__all__ = ["DropEpisode", "FailFast", "FaultPolicy", "call"]


class FaultPolicy(Protocol):
    """Told of every environment that broke: raises, or lets the rollout go on without the episode.

    May also have ``played(episodes, lost)``, called at the end of every play.
    """

    def __call__(self, fault: EnvironmentFault, task: Task) -> None:
        """Raise, or return to drop the episode."""
        ...


class FailFast:
    """An environment's fault ends the rollout."""

    def __call__(self, fault: EnvironmentFault, task: Task) -> None:
        """Raise ``fault``, naming the task."""
        raise type(fault)(f"task {task.id!r}: {fault}") from fault


@dataclass
class DropEpisode:
    """An environment's fault costs its episode and nothing else; the counts are kept.

    Args:
        patience: plays in a row without one whole episode after which the environment counts as broken.
    """

    patience: int = 3
    dropped: int = 0
    timeouts: int = 0
    """How many of ``dropped`` did not answer in time."""
    reasons: list[str] = field(default_factory=list)
    """What the faults since the last ``take_reasons`` said."""
    _barren: int = 0

    def __call__(self, fault: EnvironmentFault, task: Task) -> None:
        """Count it and go on."""
        self.dropped += 1
        self.timeouts += isinstance(fault, EnvironmentTimeout)
        self.reasons.append(f"task {task.id!r}: {fault}")

    def take_reasons(self) -> list[str]:
        """The reasons so far, which are then forgotten."""
        found, self.reasons = self.reasons, []
        return found

    def played(self, episodes: int, lost: int) -> None:
        """Told how many episodes were begun and lost.

        Raises:
            EnvironmentFault: ``patience`` plays in a row lost every episode.
        """
        self._barren = self._barren + 1 if episodes and lost == episodes else 0
        if self._barren >= self.patience:
            last = self.reasons[-1] if self.reasons else "no reason"
            raise EnvironmentFault(
                f"got no whole episode in {self._barren} rollouts in a row, expected some; fix: the "
                f"environment. Last: {last}"
            )


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call into an environment; any error of its own becomes an ``EnvironmentFault``."""
    try:
        return function(*arguments, **named)
    except SiriError:
        raise
    # somebody else's world: whatever it raises is the environment's fault
    except Exception as error:
        raise EnvironmentFault(f"{type(error).__name__}: {error}") from error
