"""Questions and expectations of the study, each a difference or a level, and what the runs say of it.

A difference is *established* where both 95 % intervals, the bootstrap's over seeds and Student's t, exclude
the bound: of so few seeds a bootstrap is too narrow, and t assumes normal values. Fewer than three seeds
establish nothing: of two with one sign the bootstrap always excludes 0, and two that happen to be close make
the interval by t as narrow as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from benchmarks.study.finished import Runs
from benchmarks.study.regimes import ALFWORLD
from benchmarks.study.statistics import FEWEST, MEASURES, Floats, bootstrap, student

__all__ = ["EXPECTATIONS", "QUESTIONS", "Difference", "Level", "Verdict", "paired"]

Verdict = Literal["held", "refuted", "not decided", "not run"]


@dataclass(frozen=True)
class Difference:
    """``first`` minus ``second``, paired by seed, is above ``bound``; with ``near``, within ± ``bound``."""

    first: str
    second: str
    regime: str = "rare"
    bound: float = 0.0
    near: bool = False
    measure: str = "last five"
    """A measure of curves, or "last, skills shown": that of ``first`` minus the last plain of ``second``."""

    @property
    def name(self) -> str:
        """What is subtracted from what."""
        if self.measure == "last, skills shown":
            return f"`{self.first}` with skills shown − `{self.second}`, last evaluation"
        return f"`{self.first}` − `{self.second}`"

    def values(self, runs: Runs) -> Floats:
        """One of each seed that both have, [S]."""
        return paired(runs, self.regime, self.first, self.second, self.measure)

    def verdict(self, runs: Runs) -> Verdict:
        """What the runs say."""
        values = self.values(runs)
        if len(values) < FEWEST:
            return "not decided" if len(values) else "not run"
        lows, highs = zip(bootstrap(values), student(values), strict=True)
        if self.near:
            inside = min(lows) >= -self.bound and max(highs) <= self.bound
            outside = min(lows) > self.bound or max(highs) < -self.bound
        else:
            inside, outside = min(lows) > self.bound, max(highs) < self.bound
        return "held" if inside else "refuted" if outside else "not decided"


@dataclass(frozen=True)
class Level:
    """The mean level of an arm is in [low, high]. Refuted where its interval by t lies outside."""

    arm: str
    low: float
    high: float
    regime: str = "rare"

    @property
    def name(self) -> str:
        """Whose level."""
        return f"`{self.arm}`"

    def values(self, runs: Runs) -> Floats:
        """One of each seed, [S]."""
        return runs.measured("last five", self.regime, self.arm, runs.seeds(self.regime, self.arm))

    def verdict(self, runs: Runs) -> Verdict:
        """What the runs say."""
        values = self.values(runs)
        if len(values) < FEWEST:
            return "not decided" if len(values) else "not run"
        low, high = student(values)
        if low > self.high or high < self.low:
            return "refuted"
        return "held" if self.low <= values.mean() <= self.high else "not decided"


def paired(runs: Runs, regime: str, first: str, second: str, measure: str = "last five") -> Floats:
    """``first`` minus ``second``, one value of each seed that both have, [S]."""
    seeds = runs.seeds(regime, first, second)
    if measure in MEASURES:
        return runs.measured(measure, regime, first, seeds) - runs.measured(measure, regime, second, seeds)
    shown = [runs.last(regime, first, seed, "generated", "skill_success") for seed in seeds]
    plain = [runs.last(regime, second, seed, "generated", "plain_success") for seed in seeds]
    both = [(a, b) for a, b in zip(shown, plain, strict=True) if a is not None and b is not None]
    return np.array([a - b for a, b in both])


QUESTIONS: tuple[tuple[str, Difference], ...] = (
    ("Does SIRI beat GiGPO where success is rare?", Difference("siri", "gigpo")),
    ("… on the shipped base?", Difference("siri", "gigpo", "default")),
    ("… in the shop?", Difference("siri", "gigpo", "shop")),
    ("Do skill rollouts help by themselves?", Difference("skill_arm", "gigpo")),
    ("Does distilling them help?", Difference("siri", "skill_arm")),
    ("… without replay?", Difference("no_replay", "gigpo")),
    ("Is SIRI better than replay of one's own wins?", Difference("siri", "self_imitation")),
    ("… on the shipped base?", Difference("siri", "self_imitation", "default")),
    ("… in the shop?", Difference("siri", "self_imitation", "shop")),
    ("Does it pay to wait for the proof of a skill?", Difference("siri", "no_validation")),
    ("Do weights of the advantage matter?", Difference("siri", "no_weights")),
    ("Are all tokens better than those of the action?", Difference("siri", "action_span")),
    ("Are SIRI's own skills better than right ones?", Difference("siri", "oracle")),
    ("… than those that another model writes (SmolLM2)?", Difference("siri", "openai_smollm2")),
    ("Is `siri_adaptive` better than SIRI where success is rare?", Difference("siri_adaptive", "siri")),
    ("… on the shipped base?", Difference("siri_adaptive", "siri", "default")),
    ("… in the shop?", Difference("siri_adaptive", "siri", "shop")),
    ("… than replay of one's own wins?", Difference("siri_adaptive", "self_imitation")),
    ("… on the shipped base?", Difference("siri_adaptive", "self_imitation", "default")),
    ("… in the shop?", Difference("siri_adaptive", "self_imitation", "shop")),
    (
        "Is `siri_both` (arm `full_length`), the default run's recipe, better than SIRI?",
        Difference("full_length", "siri"),
    ),
    ("… on the shipped base?", Difference("full_length", "siri", "default")),
    ("… in the shop?", Difference("full_length", "siri", "shop")),
    ("Is `siri_adaptive`, with its horizon, better still?", Difference("siri_adaptive", "full_length")),
    ("… on the shipped base?", Difference("siri_adaptive", "full_length", "default")),
    (
        "Are skills that stay in the prompt better than skills distilled (`siri_adaptive`)?",
        Difference("skill_arm", "siri_adaptive", measure="last, skills shown"),
    ),
    (
        "… on the shipped base?",
        Difference("skill_arm", "siri_adaptive", "default", measure="last, skills shown"),
    ),
    ("Is SIRI ahead of GiGPO in 100,000 steps?", Difference("siri", "gigpo", "long")),
    ("… is `siri_adaptive` ahead of SIRI?", Difference("siri_adaptive", "siri", "long")),
    ("… is `siri_both` (arm `full_length`)?", Difference("full_length", "siri", "long")),
    ("… and ahead of GiGPO?", Difference("full_length", "gigpo", "long")),
    ("Is `siri_adaptive` ahead of SIRI in BabyAI?", Difference("siri_adaptive", "siri", "babyai")),
    ("… in TextCraft?", Difference("siri_adaptive", "siri", "textcraft")),
    ("… in the tool world?", Difference("siri_adaptive", "siri", "tools")),
    (
        "Does a teacher with right words help, as published? (SDAR, over GRPO by turns)",
        Difference("sdar", "grpo_turns"),
    ),
    ("… with its term at weight .1? (Skill-SD)", Difference("skill_sd_0.1", "grpo_turns")),
    ("… on the shipped base?", Difference("skill_sd_0.1", "grpo_turns", "default")),
    ("Are right words better than those for another kind?", Difference("skill_sd_0.1", "skill_sd_0.1_wrong")),
    ("Is Skill-SD at .1 better than SIRI with the same words?", Difference("skill_sd_0.1", "oracle")),
    (
        "Does Skill-SD at .1 help with the run's own proven skills as the words?",
        Difference("skill_sd_0.1_bank", "grpo_turns"),
    ),
    ("Does it help at weight 1?", Difference("skill_sd_1", "grpo_turns")),
    (
        "Does it matter which tokens a teacher credits? (RLSD)",
        Difference("rlsd", "rlsd_shuffled"),
    ),
)
"""Answered by the first table of docs/results.md, by the last five where a name does not say otherwise."""


def _everywhere(*differences: Difference) -> tuple[Difference, ...]:
    """Where an expectation names no regime: in both of ALFWorld."""
    return tuple(replace(difference, regime=regime) for regime in ALFWORLD for difference in differences)


_MODULATORS, _AS_PUBLISHED = ("rlsd", "agent_opsd", "grsd"), ("skill_sd", "opid")
EXPECTATIONS: tuple[tuple[str, tuple[Difference | Level, ...]], ...] = (
    (
        "Methods that scale advantages end within .01 of their base",
        _everywhere(*(Difference(name, "grpo_turns", bound=0.01, near=True) for name in _MODULATORS)),
    ),
    (
        "… and below SIRI with the same words",
        _everywhere(*(Difference("oracle", name) for name in _MODULATORS)),
    ),
    (
        "Reverse divergence at its published weight has no effect (within .01)",
        _everywhere(*(Difference(name, "grpo_turns", bound=0.01, near=True) for name in _AS_PUBLISHED)),
    ),
    (
        "At weight .1 to 1 it teaches where every rollout fails, and may reach .50 to .60",
        (Level("skill_sd_0.1", 0.5, 0.6), Level("skill_sd_1", 0.5, 0.6)),
    ),
    (
        "… which passes SIRI",
        (Difference("skill_sd_0.1", "siri"), Difference("skill_sd_1", "siri")),
    ),
    (
        "… and in the shop falls below GiGPO",
        (Difference("gigpo", "skill_sd_0.1", "shop"), Difference("gigpo", "skill_sd_1", "shop")),
    ),
    (
        "SDAR is the reverse divergence at weight .0125 (within .01)",
        _everywhere(Difference("sdar", "skill_sd_0.0125", bound=0.01, near=True)),
    ),
    (
        "UCOB lies between SIRI without replay and SIRI",
        _everywhere(Difference("ucob", "no_replay"), Difference("siri", "ucob")),
    ),
    ("… and in the shop near GiGPO (within .02)", (Difference("ucob", "gigpo", "shop", 0.02, near=True),)),
    (
        "Lessons under the plain prompt from wins of both arms: .55 to .60 in `rare`, .51 to .54 in "
        "`default`, at least .19 in the shop",
        (
            Level("full_length", 0.55, 0.6),
            Level("full_length", 0.51, 0.54, "default"),
            Level("full_length", 0.19, 1.0, "shop"),
        ),
    ),
    (
        "SKILL0 ends between GiGPO and SIRI",
        _everywhere(Difference("skill0", "gigpo"), Difference("oracle", "skill0")),
    ),
    (
        "Where skills may stay in the prompt, D2Skill and SkillRL are above SIRI's plain prompt (`default`)",
        tuple(
            Difference(name, "siri", "default", measure="last, skills shown")
            for name in ("d2skill", "skillrl")
        ),
    ),
    (
        "… and not above GiGPO without them",
        tuple(
            Difference("gigpo", name, regime)
            for regime in ("rare", "default")
            for name in ("d2skill", "skillrl")
        ),
    ),
)
"""Of the family, before its first run here. The first is the expectation, then what decides it."""
