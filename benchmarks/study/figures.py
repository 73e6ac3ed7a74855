"""The study's figures: learning curves, paired differences, arms over time, prompt gap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from benchmarks.study.arms import FAMILY, PAIRS
from benchmarks.study.finished import Runs
from benchmarks.study.statistics import Floats, bootstrap, student

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["STYLE", "figures"]

_GRID = 50
_COLOURS = {
    "siri_adaptive": "#d1495b",
    "siri": "#00796b",
    "gigpo": "#3b6fb6",
    "grpo": "#c77c11",
    "self_imitation": "#8e44ad",
    "skill_arm": "#b8433a",
    "oracle": "#5f6b76",
    "openai": "#a8871f",
    "openai_smollm2": "#b05c9c",
}
"""Arms that are told apart in every figure; the others are SIRI with one part changed, or other methods."""
_REST = "#a9b0b6"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "siri",  # fixed ids: equal runs give equal files
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.transparent": True,
}


def figures(runs: Runs, out: Path) -> list[str]:
    """Draw everything that the finished runs allow; names of the files."""
    names = []
    for regime in sorted({regime for regime, _, _ in runs.of}):
        for name, draw in (
            ("curves", _curves),
            ("differences", _differences),
            ("arms", _arms),
            ("gap", _gap),
            ("family", _family),
            ("writers", _writers),
            ("tokens", _tokens),
        ):
            with matplotlib.rc_context(STYLE):
                figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
                if draw(runs, regime, axes):
                    axes.set_title(f"{axes.get_title(loc='left')} ({regime})")
                    names.append(f"{name}-{regime}.svg")
                    figure.savefig(out / names[-1], metadata={"Date": None})
                plt.close(figure)
    return names


def _band(axes: Axes, x: Floats, lines: Floats, arm: str) -> None:
    """Mean over seeds and its standard error, where half of the seeds are known; ``lines`` [S, X]."""
    known = (~np.isnan(lines)).sum(0)
    enough = known >= (len(lines) + 1) // 2
    x, lines, known = x[enough], lines[:, enough], known[enough]
    mean = np.nanmean(lines, 0)
    colour, width = _COLOURS[arm], 2.6 if arm in ("siri", "siri_adaptive") else 1.5
    axes.plot(x, mean, label=f"{arm} ({len(lines)} seeds)", color=colour, linewidth=width)
    if len(lines) > 1:
        error = np.nanstd(lines, 0) / np.sqrt(np.maximum(known - 1, 1))
        axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)


def _resampled(runs: Runs, regime: str, arm: str, seeds: Sequence[int]) -> tuple[Floats, Floats]:
    curves = [runs.curve(regime, arm, seed) for seed in seeds]
    x = np.linspace(0, min(steps[-1] for steps, _ in curves), _GRID)
    return x, np.stack([np.interp(x, steps, success) for steps, success in curves])


def _curves(runs: Runs, regime: str, axes: Axes) -> bool:
    rest = [arm for arm in runs.arms(regime) if arm not in _COLOURS]
    for place, arm in enumerate(rest):
        x, lines = _resampled(runs, regime, arm, runs.seeds(regime, arm))
        label = None if place else f"other arms ({len(rest)})"
        axes.plot(x, lines.mean(0), color=_REST, linewidth=0.9, label=label)
    for arm in (arm for arm in _COLOURS if arm in runs.arms(regime)):
        _band(axes, *_resampled(runs, regime, arm, runs.seeds(regime, arm)), arm)
    axes.set(title="plain success on valid_unseen", xlabel="environment steps", ylabel="success")
    axes.legend()
    return bool(runs.arms(regime))


def _differences(runs: Runs, regime: str, axes: Axes) -> bool:
    pairs = [p for p in PAIRS if p[0] not in FAMILY and len(runs.seeds(regime, *p)) > 1]
    for place, (first, second) in enumerate(reversed(pairs)):
        seeds = runs.seeds(regime, first, second)
        a, b = (runs.measured("last five", regime, arm, seeds) for arm in (first, second))
        low, high = bootstrap(a - b)
        colour = _COLOURS["siri"] if low > 0 else _COLOURS["skill_arm"] if high < 0 else _REST
        axes.plot([low, high], [place, place], "-", color=colour)
        axes.plot((a - b).mean(), place, "o", color=colour)
    axes.set_yticks(range(len(pairs)), [f"{a} − {b}" for a, b in reversed(pairs)])
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set(title="paired differences, last five evaluations, 95 %", xlabel="plain success")
    return bool(pairs)


def _over_time(runs: Runs, regime: str, axes: Axes, arms: Sequence[str], column: str) -> bool:
    drawn = False
    for arm in arms:
        lines = []
        for seed in runs.seeds(regime, arm):
            rows = runs.trained(regime, arm, seed, column)
            if len(rows) > 1:
                lines.append(([r["env/total_steps"] for r in rows], [r[column] for r in rows]))
        if lines:
            x = np.linspace(min(s[0] for s, _ in lines), max(s[-1] for s, _ in lines), _GRID)
            inside = [np.interp(x, s, v, left=np.nan, right=np.nan) for s, v in lines]
            _band(axes, x, np.stack(inside), arm)
            drawn = True
    axes.legend()
    return drawn


def _arms(runs: Runs, regime: str, axes: Axes) -> bool:
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(title="skill arm minus plain arm, training", xlabel="environment steps", ylabel="Δ")
    arms = [arm for arm in ("skill_arm", "siri", "oracle", "openai") if runs.seeds(regime, arm)]
    return _over_time(runs, regime, axes, arms, "arm/delta")


def _gap(runs: Runs, regime: str, axes: Axes) -> bool:
    axes.set(title="prompt gap", xlabel="environment steps", ylabel="nats per token")
    arms = [arm for arm in ("skill_arm", "siri", "oracle") if runs.seeds(regime, arm)]
    return _over_time(runs, regime, axes, arms, "int/prompt_gap")


def _family(runs: Runs, regime: str, axes: Axes) -> bool:
    """Levels of the methods with a teacher or with skills in the prompt, the best on top."""
    there = [arm for arm in FAMILY if runs.seeds(regime, arm)]
    arms = [arm for arm in ("gigpo", "oracle", "siri", "siri_adaptive") if runs.seeds(regime, arm)]
    found = {arm: runs.measured("last five", regime, arm, runs.seeds(regime, arm)) for arm in [*arms, *there]}
    names = sorted(found, key=lambda arm: found[arm].mean())
    for place, arm in enumerate(names):
        colour = _COLOURS.get(arm, _REST)
        if len(found[arm]) > 1:
            axes.plot(student(found[arm]), [place, place], "-", color=colour)
        axes.plot(found[arm], [place] * len(found[arm]), "|", color=colour)
        axes.plot(found[arm].mean(), place, "o", color=colour)
    axes.set_yticks(range(len(names)), [f"{arm} ({len(found[arm])})" for arm in names])
    axes.set(title="plain success, last five evaluations, 95 % by t", xlabel="plain success")
    return bool(there)


def _writers(runs: Runs, regime: str, axes: Axes) -> bool:
    """Curves of the arms that differ in who writes the skills, in the seeds that all of them have."""
    arms = ("oracle", "siri", "openai", "openai_smollm2", "gigpo")
    seeds = runs.seeds(regime, *arms)
    if not seeds:
        return False
    for arm in arms:
        _band(axes, *_resampled(runs, regime, arm, seeds), arm)
    axes.set(title="plain success by writer of the skills", xlabel="environment steps", ylabel="success")
    axes.legend()
    return True


def _tokens(runs: Runs, regime: str, axes: Axes) -> bool:
    """Share of the last evaluation's episodes that were won within a budget of tokens, mean over seeds."""
    drawn = False
    for arm in ("siri_adaptive", "siri", "skill_arm"):
        for side, style in (("plain", "-"), ("skill", "--")):
            found = [runs.episodes(regime, arm, seed, side) for seed in runs.seeds(regime, arm)]
            known = [episodes for episodes in found if len(episodes)]
            if known:
                budgets = np.linspace(0, max(each[:, 1].max() for each in known), 4 * _GRID)
                lines = [((each[:, 1:2] <= budgets) & (each[:, 2:] == 1)).mean(0) for each in known]
                said = "with skills in the prompt" if side == "skill" else "plain"
                label = f"{arm}, {said} ({len(known)} seeds)"
                axes.plot(budgets, np.mean(lines, 0), style, color=_COLOURS[arm], label=label)
                drawn = True
    axes.set(
        title="episodes won within a budget of tokens",
        xlabel="tokens read and written in an episode, with a cache of prefixes",
        ylabel="share",
    )
    if drawn:
        axes.legend()
    return drawn
