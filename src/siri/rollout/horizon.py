"""How many turns a training episode may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from siri.errors import ConfigError
from siri.types import Group, Task

__all__ = ["Horizon", "WonHorizon"]


class Horizon(Protocol):
    """Limits the episodes of training, never those of an evaluation. Deterministic in what it was shown."""

    def turns(self, task: Task) -> int | None:
        """Return how many turns an episode of ``task`` may take; None leaves that to the suite."""
        ...

    def observe(self, groups: Sequence[Group]) -> None:
        """See the groups of an iteration, which are the same in every process."""
        ...


class WonHorizon:
    """Ends an episode that takes much longer than wins of its kind do.

    The limit is ``slack`` times the median number of turns of the kind's last ``recent`` wins, of both arms.
    A kind with fewer than ``least`` wins has no limit, so that a first win may take as long as it needs.

    A win after a detour teaches the detour, and with the steps that this saves more tasks are played. It
    follows from siri's study (docs/results.md). Only wins within the limit are seen, so the limit tends to
    shrink during training. No variant that prevents this did better in 30,000 steps of the study; in runs of
    50,000 and more, no limit at all did.

    Args:
        slack: at least 1.
        recent: how many wins of a kind count.
        least: wins that a kind must have before it is limited.
    """

    def __init__(self, slack: float = 1.25, *, recent: int = 32, least: int = 4) -> None:
        if not (math.isfinite(slack) and slack >= 1) or not 1 <= least <= recent:
            raise ConfigError(
                f"got slack={slack}, recent={recent}, least={least}; expected slack >= 1 and "
                "1 <= least <= recent; fix: the one outside"
            )
        self.slack, self.recent, self.least = slack, recent, least
        self.won: dict[str, list[int]] = {}
        """Turns of the last wins, by kind, the oldest first."""

    def turns(self, task: Task) -> int | None:
        """Return the limit of the task's kind."""
        won = self.won.get(task.kind, [])
        return None if len(won) < self.least else math.ceil(self.slack * median(won))

    def observe(self, groups: Sequence[Group]) -> None:
        """Note how long the wins took."""
        for group in groups:
            won = [len(t.turns) for t in group.trajectories if t.success]
            if won:
                self.won[group.task.kind] = [*self.won.get(group.task.kind, []), *won][-self.recent :]

    def state_dict(self) -> Mapping[str, Any]:
        """Return the turns of the last wins."""
        return {"won": {kind: list(turns) for kind, turns in self.won.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.won = {kind: list(turns) for kind, turns in state["won"].items()}
