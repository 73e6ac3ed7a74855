"""The seams of siri. Each docstring is the contract; ``siri.testing`` checks it.

Implementations need no base class. Everything is synchronous and single-threaded unless a docstring
says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from siri.types import (
    Completion,
    Info,
    Message,
    Request,
    Sampling,
    Skill,
    SkillStatus,
    Task,
    Trajectory,
    Turn,
)

if TYPE_CHECKING:
    from siri.algos.objectives import Loss, TokenBatch, TokenScores

__all__ = ["Environment", "Objective", "Policy", "Prompter", "SkillMiner", "Validator"]


@runtime_checkable
class Environment(Protocol):
    """A text world: gymnasium's contract, text in and text out.

    Lifecycle: ``reset`` before the first ``step`` and after every episode; one instance plays any
    number of episodes, one at a time. ``options={"task": task}`` chooses the task.
    Determinism: equal (task, seed, actions) give equal results.
    Errors: an inadmissible action is no error: the observation says so and ``info["valid"]`` is False.
    A broken world raises ``EnvironmentFault``.
    """

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, Info]:
        """Start an episode; return the first observation and its info."""
        ...

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Return (observation, reward, terminated, truncated, info)."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Something that continues conversations.

    Returns one completion per request, in order. Equal (weights, messages, sampling, request seed) give
    equal completions, whatever else is in the batch (up to floating-point ties).
    Errors: ``PolicyFault``. A prompt that does not fit returns ``finished=False`` and no token ids.
    """

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """Generate one completion for each request."""
        ...


@runtime_checkable
class Prompter(Protocol):
    """Turns an episode so far into chat messages, and a completion into an action. Pure.

    With skills, the messages differ from the plain ones by one inserted block only: deleting
    ``block(skills)`` from them gives the plain messages byte for byte.
    """

    def messages(
        self,
        task: Task,
        turns: Sequence[Turn],
        observation: str,
        admissible: Sequence[str],
        skills: Sequence[Skill] = (),
    ) -> list[Message]:
        """The conversation that asks for the next action."""
        ...

    def block(self, skills: Sequence[Skill]) -> str:
        """The exact text that ``skills`` add to the plain prompt; ``""`` without skills."""
        ...

    def parse(self, text: str) -> tuple[str, bool, tuple[int, int]]:
        """(action, well-formed?, character span of the action within ``text``)."""
        ...


@runtime_checkable
class SkillMiner(Protocol):
    """Writes skills from successful episodes.

    Input: successful, plain-arm, train-split trajectories of any kinds; anything else is refused with
    ``SplitError``. Output: new skills, possibly none. An outage is a ``MinerFault``, never an empty list.
    The trajectories are not mutated.
    """

    def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:
        """Summarise the trajectories into skills."""
        ...


@runtime_checkable
class Validator(Protocol):
    """Decides which skills help, from paired rollouts.

    ``observe`` is told the outcomes of one group: plain arm and skill arm of the same task and seeds.
    It keeps its own statistics and returns the skill's status after this observation. RETIRED is final.
    """

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        """Record one group and return the skill's status."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A training loss. Pure and differentiable in ``scores``; mutates nothing.

    Aggregation is global: sums are divided by the batch's own normalisers, so that the value does not
    depend on how the batch is split into micro-batches or over processes.
    """

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        """Return the loss of ``batch`` under ``scores``."""
        ...
