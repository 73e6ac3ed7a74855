"""When a run goes from one phase to the next: pure, so that it can be read, and proved, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from siri.config import RunConfig
from siri.counting import counted
from siri.errors import LearningFault

__all__ = ["PATIENCE", "Phase", "Schedule", "State", "refuse_barren", "remaining", "strike", "transition"]


class Phase(Enum):
    """Where a run is."""

    WARMUP = "warmup"
    MINING = "mining"
    INTERNALIZATION = "internalization"
    DONE = "done"


@dataclass
class State:
    """What a run is besides weights, optimizer, bank and validator."""

    index: int = 0
    """Iterations that were carried out."""
    phase: Phase = Phase.WARMUP
    since: int = 0
    """Iteration in which the phase began."""
    successes: int = 0
    """Plain successes so far."""
    env_steps: int = 0
    failed_minings: int = 0
    """Minings in a row that ended in a fault."""
    idle: int = 0
    """Iterations in a row without a played step."""
    skipped: int = 0
    """Iterations in a row whose optimizer steps were all skipped."""
    trouble: str = ""
    """Why, of the last of them."""


PATIENCE = 3
"""Iterations in a row of which nothing is left, after which a run stops."""


def strike(state: State, metrics: Mapping[str, float], *, trouble: str) -> None:
    """Count an iteration without a played step, or with nothing but skipped optimizer steps.

    Args:
        state: is changed.
        metrics: of the iteration.
        trouble: why optimizer steps were skipped, if some were.
    """
    steps, skipped = metrics.get("learn/steps", 0.0), metrics.get("learn/skipped", 0.0)
    played = metrics["env/steps"] > 0
    state.idle = 0 if played else state.idle + 1
    # an iteration that learned nothing for want of rows says nothing of the steps before it
    if steps:
        state.skipped = state.skipped + 1 if skipped == steps else 0
    state.trouble = trouble


def refuse_barren(state: State) -> None:
    """Pass a run of whose last iterations something is left.

    Raises:
        LearningFault: ``PATIENCE`` iterations in a row played no step, or skipped every optimizer step.
    """
    if state.idle >= PATIENCE:
        raise LearningFault(
            f"got {state.idle} iterations in a row without a played step, expected some; fix: the "
            "environment or the policy; the events in metrics.jsonl say what happened"
        )
    if state.skipped >= PATIENCE:
        raise LearningFault(
            f"got {state.skipped} iterations in a row whose optimizer steps were all skipped "
            f"({state.trouble}), expected finite numbers; fix: the objective, or a lower optimizer.lr"
        )


@dataclass(frozen=True, slots=True)
class Schedule:
    """What ends each phase, in iterations unless it says otherwise."""

    successes: int
    """Plain successes that end warm-up."""
    warmup: int
    """Most iterations of warm-up."""
    min_active: int
    """Skills proved to help that end mining, once it had ``min_mining`` iterations."""
    min_mining: int
    mining: int
    """Most iterations of mining."""
    internalization: int
    env_steps: int | None = None
    """Environment steps that end the run, in any phase; None for no such end."""
    mines: bool = True
    """Whether there is a miner. Without one a run stays in warm-up, for as long as all phases would take."""

    @classmethod
    def of(cls, config: RunConfig, *, mines: bool) -> Schedule:
        """The schedule of ``config``."""
        return cls(
            successes=config.warmup.successes,
            warmup=config.warmup.max_iterations,
            min_active=config.mining.min_active,
            min_mining=config.mining.min_iterations,
            mining=config.mining.max_iterations,
            internalization=config.internalization.iterations,
            env_steps=config.max_env_steps,
            mines=mines,
        )


def transition(state: State, counts: Mapping[str, int], schedule: Schedule) -> tuple[Phase, str] | None:
    """The phase that a run enters after an iteration, and why; None when it stays where it is.

    Args:
        state: after the iteration.
        counts: skills of the bank by status.
        schedule: what ends each phase.
    """
    here = state.index - state.since
    if schedule.env_steps is not None and state.env_steps >= schedule.env_steps:
        return Phase.DONE, f"{counted(state.env_steps, 'environment step')} reached"
    if not schedule.mines:
        limit = schedule.warmup + schedule.mining + schedule.internalization
        if schedule.env_steps is None and here >= limit:
            return Phase.DONE, f"{counted(here, 'iteration')} without a miner"
        return None
    active = counts["active"] + counts["internalized"]
    if state.phase is Phase.WARMUP:
        if state.successes >= schedule.successes:
            return Phase.MINING, counted(state.successes, "plain success", "plain successes")
        if here >= schedule.warmup:
            return Phase.MINING, f"{counted(here, 'iteration')}, the most allowed"
    elif state.phase is Phase.MINING:
        if active >= schedule.min_active and here >= schedule.min_mining:
            return (
                Phase.INTERNALIZATION,
                f"{counted(active, 'active skill')} after {counted(here, 'iteration')}",
            )
        if here >= schedule.mining:
            warning = "" if active else "; warning: no skill is active, so L_int is 0"
            return Phase.INTERNALIZATION, f"{counted(here, 'iteration')}, the most allowed{warning}"
    elif state.phase is Phase.INTERNALIZATION and here >= schedule.internalization:
        return Phase.DONE, counted(here, "iteration")
    return None


def remaining(state: State, schedule: Schedule) -> int | None:
    """The most iterations that a run has before it; None where only environment steps end it."""
    if state.phase is Phase.DONE:
        return 0
    lengths = (schedule.warmup, schedule.mining, schedule.internalization)
    here = state.index - state.since
    if not schedule.mines:
        return None if schedule.env_steps is not None else max(1, sum(lengths) - here)
    now = (Phase.WARMUP, Phase.MINING, Phase.INTERNALIZATION).index(state.phase)
    # a phase is left after an iteration, so it has one at least
    return max(1, lengths[now] - here) + sum(max(1, length) for length in lengths[now + 1 :])
