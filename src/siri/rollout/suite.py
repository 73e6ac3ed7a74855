"""All that belongs to one benchmark, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from siri.errors import ConfigError
from siri.protocols import Environment, Expert, Prompter
from siri.types import Task

__all__ = ["Suite", "in_processes"]


@dataclass(frozen=True)
class Suite:
    """A benchmark: how to make an environment, the tasks of each split, and how to prompt."""

    name: str
    make_env: Callable[[], Environment]
    tasks: Mapping[str, Sequence[Task]]
    """Tasks by split; ``"train"`` and any number of validation splits, each in a fixed order."""
    prompter: Prompter
    max_return: float = 10.0
    """Largest return of an episode; spreads of returns below a thousandth of it are noise."""
    max_steps: int | None = None
    """Steps after which siri ends an episode; None leaves that to the environment."""
    expert: Expert | None = None
    """Shows how tasks are solved; None where the benchmark has nobody who can."""

    def split(self, name: str) -> Sequence[Task]:
        """The tasks of one split.

        Raises:
            ConfigError: there is no such split, or it is empty.
        """
        found = self.tasks.get(name, ())
        if not found:
            raise ConfigError(
                f"got split {name!r}, expected one of {sorted(self.tasks)} that has tasks; fix: choose one"
            )
        return found


def in_processes(suite: Suite, *, timeout: float = 120.0) -> Suite:
    """``suite`` with each environment in a process of its own; ``timeout`` is that of one reset or step."""
    from siri.rollout.workers import ProcessEnvironment

    return replace(suite, make_env=lambda: ProcessEnvironment(suite.make_env, timeout=timeout))
