"""Plans of groups, episodes while they are played, and the records of finished ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from siri.errors import ConfigError
from siri.protocols import Seat
from siri.types import Arm, Group, Info, Skill, StopReason, Task, Trajectory, Turn

__all__ = ["Episode", "GroupPlan", "Played", "assembled", "episodes", "finished"]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What to play for one task: ``plain`` rollouts without skills, and ``skilled`` ones with ``skills``."""

    task: Task
    plain: int
    skilled: int = 0
    skills: tuple[Skill, ...] = ()
    seed: int = 0
    turns: int | None = None
    """Turns after which its episodes end, if that is sooner than they would."""


@dataclass(slots=True)
class Episode:
    """An episode while it is played."""

    group: int
    number: int
    """Number of the rollout within its arm; rollouts with equal numbers have equal seeds in both arms."""
    arm: Arm
    plan: GroupPlan
    session: str
    seat: Seat | None = None
    """The environment that plays it; None before its start, and after a fault."""
    observation: str = ""
    info: Info | None = None
    turns: list[Turn] = field(default_factory=list)
    hidden: int = 0
    """Number of turns after the first that prompts no longer show."""
    pending: Callable[[], Any] | None = None
    """Waits for the environment's result; None while no call is pending."""
    stop: StopReason | None = None

    @property
    def skills(self) -> tuple[Skill, ...]:
        """The skills that its prompts show."""
        return self.plan.skills if self.arm == "skill" else ()

    @property
    def shown(self) -> list[Turn]:
        """The turns that prompts show. The first turn always stays, because it often states the task."""
        return self.turns[:1] + self.turns[1 + self.hidden :]


def episodes(plans: Sequence[GroupPlan]) -> Iterator[Episode]:
    """Yield the episodes of ``plans``, group after group, the plain arm first."""
    seen: Counter[tuple[int, str]] = Counter()
    for group, plan in enumerate(plans):
        seen[plan.seed, plan.task.id] += 1
        again = seen[plan.seed, plan.task.id]
        # a name that does not depend on which process plays the group
        name = f"{plan.seed}/{plan.task.id}" + (f"/{again}" if again > 1 else "")
        if plan.skilled and not plan.skills:
            raise ConfigError(
                f"got {plan.skilled} skill rollouts of {plan.task.id[:60]!r} without a skill, expected one "
                "at least; fix: GroupPlan(skills=...)"
            )
        arms: tuple[tuple[Arm, int], ...] = (("plain", plan.plain), ("skill", plan.skilled))
        for arm, count in arms:
            for number in range(count):
                yield Episode(group, number, arm, plan, f"{name}/{arm}/{number}")


@dataclass(frozen=True, slots=True)
class Played:
    """A finished episode, and its place among the plans."""

    group: int
    arm: Arm
    number: int
    trajectory: Trajectory


def finished(episodes: Iterable[Episode]) -> list[Played]:
    """Take the trajectories of episodes, without those that a fault ended: their outcome is unknown."""
    faults = (StopReason.ENVIRONMENT_FAULT, StopReason.PART_FAULT)
    return [Played(e.group, e.arm, e.number, _trajectory(e)) for e in episodes if e.stop not in faults]


def assembled(plans: Sequence[GroupPlan], played: Iterable[Played]) -> list[Group]:
    """Make the groups of ``plans``, in order, whichever process played an episode and whenever it ended."""
    members: list[list[Played]] = [[] for _ in plans]
    for each in sorted(played, key=lambda each: (each.arm, each.number)):
        members[each.group].append(each)
    return [
        Group(plan.task, tuple(each.trajectory for each in found), _skills(plan))
        for plan, found in zip(plans, members, strict=True)
    ]


def _skills(plan: GroupPlan) -> tuple[str, ...]:
    return tuple(skill.id for skill in plan.skills) if plan.skilled else ()


def _trajectory(episode: Episode) -> Trajectory:
    return Trajectory(
        id=episode.session,
        task=episode.plan.task,
        arm=episode.arm,
        skills=_skills(episode.plan) if episode.arm == "skill" else (),
        turns=tuple(episode.turns),
        success=episode.stop is StopReason.SUCCESS,
        stop=episode.stop or StopReason.FAILURE,
        final_observation=episode.observation,
        seed=episode.plan.seed,
        score=None if episode.info is None else episode.info.get("score"),
    )
