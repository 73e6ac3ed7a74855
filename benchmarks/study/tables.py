"""The study's Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.study.arms import ARMS, PAIRS
from benchmarks.study.finished import Runs
from benchmarks.study.regimes import REGIMES
from benchmarks.study.statistics import MEASURES, Floats, bootstrap, iqm, student
from siri.skills import PROVEN
from siri.types import SkillStatus

__all__ = ["level", "signed", "tables", "thousands"]


def signed(values: Floats) -> str:
    """Mean difference and its interval."""
    if len(values) < 2:
        return f"{values.mean():+.3f}" if len(values) else "–"
    low, high = bootstrap(values)
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def level(values: Floats) -> str:
    """Mean level and its interval by Student's t."""
    if len(values) < 2:
        return f"{values.mean():.3f}"
    low, high = student(values)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def tables(runs: Runs) -> str:
    """The Markdown report."""
    lines = ["# The study's figures", "", f"{len(runs.of)} finished runs, {len(runs.failed)} failed.", ""]
    lines += [f"- failed: {name}" for name in runs.failed]
    for regime in REGIMES:
        arms = runs.arms(regime)
        if not arms:
            continue
        lines += [f"## Regime `{regime}`", "", f"Base: {REGIMES[regime].summary}.", ""]
        lines += _levels(runs, regime, arms)
        for name in MEASURES:
            lines += _differences(runs, regime, arms, name)
        lines += _costs(runs, regime, arms)
        lines += _mechanism(runs, regime)
    return "\n".join(lines) + "\n"


def _levels(runs: Runs, regime: str, arms: Sequence[str]) -> list[str]:
    head = [
        "arm",
        "seeds",
        "area",
        "last five",
        "IQM of kinds, last five",
        "last, skills shown",
        "real games",
        "last task score",
    ]
    lines = [
        "Plain success, mean over seeds [95 % interval by Student's t].",
        "",
        _row(head),
        _row(["---"] * len(head)),
    ]
    for arm in arms:
        seeds = runs.seeds(regime, arm)
        cells = [f"`{arm}`: {ARMS[arm].summary}", str(len(seeds))]
        cells += [level(runs.measured(name, regime, arm, seeds)) for name in MEASURES]
        by_kind = np.stack(
            [runs.measured("last five", regime, arm, seeds, kind) for kind in runs.kinds(regime)], 1
        )
        value, (low, high) = iqm(by_kind)
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
        for benchmark, column, form in (
            ("generated", "skill_success", ".3f"),
            ("real", "plain_success", ".3f"),
            ("generated", "plain_task_score", ".1f"),
        ):
            found = [runs.last(regime, arm, seed, benchmark, column) for seed in seeds]
            known = [value for value in found if value is not None]
            cells.append(f"{np.mean(known):{form}} ({len(known)})" if known else "–")
        lines.append(_row(cells))
    return [*lines, ""]


def _differences(runs: Runs, regime: str, arms: Sequence[str], name: str) -> list[str]:
    head = ["difference", "pairs", "overall", "overall, by Student's t", *runs.kinds(regime)]
    title = f"Paired differences of plain success, {name}: mean [95 % bootstrap interval over seeds]."
    lines = [title, "", _row(head), _row(["---"] * len(head))]
    for first, second in PAIRS:
        if first not in arms or second not in arms:
            continue
        seeds = runs.seeds(regime, first, second)
        cells = [f"{first} − {second}", str(len(seeds))]
        for kind in ("all", *runs.kinds(regime)):
            a, b = (runs.measured(name, regime, arm, seeds, kind) for arm in (first, second))
            cells.append(signed(a - b))
            if kind == "all":
                cells.append("[{:+.3f}, {:+.3f}]".format(*student(a - b)) if len(seeds) > 1 else "–")
        lines.append(_row(cells))
    return [*lines, ""]


def _costs(runs: Runs, regime: str, arms: Sequence[str]) -> list[str]:
    """What a run and an episode cost, of the arms whose runs counted it."""
    counted = {arm: runs.counted(regime, arm) for arm in arms}
    if not any(counted.values()):
        return []
    title = (
        "Costs, means over the seeds that counted them. Of a run: thousands of tokens that a teacher read, "
        "or that were taught, share of groups with one return, Σ|A′ − A| / Σ|A| of a credit rule, "
        "minutes. Of an episode at the end: tokens read / read with a cache of prefixes / written."
    )
    head = ["arm", "seeds", "success, plain", "with skills", "teacher", "taught", "flat", "change of A"]
    head += ["minutes", "tokens, plain", "with skills"]
    lines = [title, "", _row(head), _row(["---"] * len(head))]
    for arm in (arm for arm in arms if counted[arm]):
        seeds = counted[arm]
        found = [runs.last(regime, arm, seed, "generated", "plain_success") for seed in seeds]
        shown = [runs.last(regime, arm, seed, "generated", "skill_success") for seed in seeds]
        cells = [f"`{arm}`", str(len(seeds)), _mean(found, ".3f"), _mean(shown, ".3f")]
        rows = [runs.of[regime, arm, seed]["training"] for seed in seeds]
        for spent in (runs.read_by_teacher, runs.taught):
            cells.append(thousands([spent(regime, arm, seed) for seed in seeds]))
        for column, form in (("env/flat_groups", ".2f"), ("credit/change", ".4f")):
            cells.append(_mean([row[column] for each in rows for row in each if column in row], form))
        cells.append(_mean([runs.of[regime, arm, seed]["seconds"] / 60 for seed in seeds], ".1f"))
        for side in ("plain", "skill"):
            parts = [
                [runs.last(regime, arm, seed, "generated", f"{side}_tokens_{what}") for seed in seeds]
                for what in ("read", "new", "written")
            ]
            cells.append(" / ".join(_mean(part, ",.0f") for part in parts))
        lines.append(_row(cells))
    return [*lines, ""]


def thousands(values: Sequence[float | None]) -> str:
    """Mean of what was counted, in thousands."""
    return _mean([value / 1000 for value in values if value is not None], ",.0f")


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{form}}" if known else "–"


def _mechanism(runs: Runs, regime: str) -> list[str]:
    """What distillation does to the distance between the two prompts, kind by kind."""
    arms = [arm for arm in ("siri", "skill_arm") if runs.seeds(regime, arm, "gigpo")]
    if not arms:
        return []
    title = (
        "Mechanism, means of the first → the last third: Δ is skill minus plain success in training groups "
        "with both arms, from the first skill on; the gap is `int/prompt_gap` in phase 2, in nats per token."
    )
    head = ["arm", "what", "overall", *runs.kinds(regime)]
    lines = [title, "", _row(head), _row(["---"] * len(head))]
    for arm in arms:
        seeds = runs.seeds(regime, arm, "gigpo")
        deltas = [f"delta/{kind}" for kind in runs.kinds(regime)]
        for what, columns in (("Δ", ["arm/delta", *deltas]), ("gap", ["int/prompt_gap"])):
            cells = [arm, what]
            for column in columns:
                ends = [runs.ends(regime, arm, seed, column) for seed in seeds]
                known = np.array([end for end in ends if end is not None])
                cells.append("{:.3f} → {:.3f}".format(*known.mean(0)) if len(known) else "–")
            lines.append(_row(cells + ["–"] * (len(head) - len(cells))))
        cells = [arm, "seeds with a proven skill"]
        proven = [
            {s["kind"] for s in runs.of[regime, arm, seed]["skills"] if SkillStatus(s["status"]) in PROVEN}
            for seed in seeds
        ]
        cells.append(str(sum(map(bool, proven))))
        lines.append(
            _row([*cells, *(str(sum(kind in found for found in proven)) for kind in runs.kinds(regime))])
        )
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
