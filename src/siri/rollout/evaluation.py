"""Measuring a policy: every task of a split once, in a fixed order, with fixed seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siri.processes import Processes
from siri.protocols import Policy
from siri.rollout.faults import DropEpisode
from siri.rollout.play import GroupPlan, Rollout
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.skills.stats import wilson
from siri.types import Sampling, Skill, Task

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Successes on one split."""

    successes: int
    n: int
    env_steps: int
    by_kind: Mapping[str, tuple[int, int]]
    """(successes, n) of each kind."""
    faults: int = 0
    """Episodes whose environment broke; they count as failures, so that every task counts once."""
    task_score: float | None = None
    """100 · mean of the task scores, where the benchmark has them (WebShop); no purchase counts 0."""

    @property
    def rate(self) -> float:
        """Success rate in [0, 1]."""
        return self.successes / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the rate."""
        return wilson(self.successes, self.n)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        kinds = {k: {"success": s / n, "n": n} for k, (s, n) in sorted(self.by_kind.items())}
        found = {"success": self.rate, "n": self.n, "interval": list(self.interval), "by_kind": kinds}
        return found if self.task_score is None else {**found, "task_score": self.task_score}


def evaluate(
    suite: Suite,
    policy: Policy,
    *,
    split: str,
    sampling: Sampling,
    seed: int = 0,
    slots: int = 128,
    skills: Callable[[Task], Sequence[Skill]] | None = None,
) -> Evaluation:
    """Play every task of ``split`` once; with ``skills``, under the skill prompt where it returns any.

    Deterministic in (weights, split, sampling, seed): ``siri eval`` repeats what a run reported.
    """
    plans = []
    for task in suite.split(split):
        shown = tuple(skills(task)) if skills is not None else ()
        task_seed = derive_seed("evaluate", seed, task.id)
        plans.append(GroupPlan(task, plain=not shown, skilled=bool(shown), skills=shown, seed=task_seed))
    faults = DropEpisode()
    rollout = Rollout(
        suite.make_env,
        suite.prompter,
        policy,
        sampling=sampling,
        slots=slots,
        on_fault=faults,
        keep_tokens=False,
    )
    processes = Processes.current()
    groups = processes.gather(rollout.play(processes.share(plans)))
    lost = sum(processes.gather([faults.dropped]))
    episodes = [t for group in groups for t in group.trajectories]
    total, won = Counter(p.task.kind for p in plans), Counter(t.task.kind for t in episodes if t.success)
    scores = [t.score for t in episodes if t.score is not None]
    return Evaluation(
        successes=sum(won.values()),
        n=len(plans),
        env_steps=sum(len(t.turns) for t in episodes),
        by_kind={kind: (won[kind], n) for kind, n in total.items()},
        faults=lost,
        task_score=100 * sum(scores) / len(plans) if scores else None,
    )
