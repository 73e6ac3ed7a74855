"""SIRI without phases: every win that is better than its group teaches the plain policy.

Not published; it follows from this repository's study (docs/results.md). Deviations from `siri`: there are
no phases and λ does not ramp up. Plain wins are lessons too, so that kinds without a skill are not crowded
out. A skill is used while it is being proved: each group draws which skill of its kind to show, or none, from
the effects so far, and its wins teach at once. Skills are mined in every iteration, for kinds with fewer than
two. Whole completions are taught: `internalization.scope`, `level` and `warmup` are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from siri.config import RunConfig
from siri.curriculum.hooks import Hooks
from siri.recipes.method import Method, Parts, Words
from siri.recipes.shown import AT_ONCE
from siri.skills import EffectSampling
from siri.training.experience import Experience
from siri.training.lessons import Lesson


def lessons(x: Experience, *, most: float = 2.0) -> Iterator[Lesson]:
    """Yield (i, i, plain), w = clip(A, 0, most), for each turn of a win that is better than its group.

    A win with a skill is compared with the plain arm, a plain win with the whole group.
    """
    for group, trajectory, start in x.turns.walk(x.groups):
        rivals = group.arm("plain") if trajectory.arm == "skill" else group.trajectories
        if trajectory.success and not (rivals and all(t.success for t in rivals)):
            for number, turn in enumerate(trajectory.turns, start):
                if turn.completion_ids:
                    yield Lesson(number, number, "plain", min(max(float(x.base[number]), 0.0), most))


def make(config: RunConfig, words: Words) -> Parts:  # noqa: ARG001
    """Make the lessons, taught in every iteration, and the retriever that draws."""
    i = config.internalization
    teach = Hooks(teach=lambda x: list(lessons(x, most=i.max_weight)), schedule=lambda _: i.peak)
    return Parts(hooks=teach, retriever=EffectSampling())


SIRI_BOTH = Method(
    "siri_both",
    "this repository (docs/results.md)",
    "SIRI without phases: wins of both arms are distilled at once, and each group draws the skill it tries",
    make,
    settings={
        **AT_ONCE,
        "mining": {"every": 1, "max_skills": 1, "capacity": 2},
        "internalization": {"peak": 3.0, "replay": 8},
    },
    text="skills",
)
