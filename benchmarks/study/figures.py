"""The study's figures: learning curves, paired differences, arms over time, prompt gap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

from benchmarks.study.arms import PAIRS
from benchmarks.study.finished import Runs
from benchmarks.study.statistics import Floats, bootstrap

matplotlib.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["figures"]

_GRID = 50


def figures(runs: Runs, out: Path) -> list[str]:
    """Draw everything that the finished runs allow; names of the files."""
    names = []
    for regime in sorted({regime for regime, _, _ in runs.of}):
        for name, draw in (
            ("curves", _curves),
            ("differences", _differences),
            ("arms", _arms),
            ("gap", _gap),
        ):
            figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
            # more arms than colours: the second round is dashed
            axes.set_prop_cycle(cycler(linestyle=["-", "--"]) * plt.rcParams["axes.prop_cycle"])
            if draw(runs, regime, axes):
                axes.set_title(f"{axes.get_title()} ({regime})")
                names.append(f"{name}-{regime}.svg")
                # no date and fixed ids: equal runs give equal files
                with matplotlib.rc_context({"svg.hashsalt": "siri"}):
                    figure.savefig(out / names[-1], metadata={"Date": None})
            plt.close(figure)
    return names


def _band(axes: Axes, x: Floats, lines: Floats, label: str) -> None:
    """Mean over seeds and its standard error; ``lines`` [S, X]."""
    mean = np.nanmean(lines, 0)
    (drawn,) = axes.plot(x, mean, label=f"{label} ({len(lines)})")
    if len(lines) > 1:
        known = (~np.isnan(lines)).sum(0)
        error = np.nanstd(lines, 0) / np.sqrt(np.maximum(known - 1, 1))
        axes.fill_between(x, mean - error, mean + error, color=drawn.get_color(), alpha=0.2, linewidth=0)


def _resampled(runs: Runs, regime: str, arm: str, seeds: Sequence[int]) -> tuple[Floats, Floats]:
    curves = [runs.curve(regime, arm, seed) for seed in seeds]
    x = np.linspace(0, min(steps[-1] for steps, _ in curves), _GRID)
    return x, np.stack([np.interp(x, steps, success) for steps, success in curves])


def _curves(runs: Runs, regime: str, axes: Axes) -> bool:
    for arm in runs.arms(regime):
        _band(axes, *_resampled(runs, regime, arm, runs.seeds(regime, arm)), arm)
    axes.set(title="plain success on valid_unseen", xlabel="environment steps", ylabel="success")
    axes.legend(fontsize=8)
    return bool(runs.arms(regime))


def _differences(runs: Runs, regime: str, axes: Axes) -> bool:
    arms = runs.arms(regime)
    pairs = [p for p in PAIRS if p[0] in arms and p[1] in arms and len(runs.seeds(regime, *p)) > 1]
    for place, (first, second) in enumerate(reversed(pairs)):
        seeds = runs.seeds(regime, first, second)
        a, b = (runs.measured("last five", regime, arm, seeds) for arm in (first, second))
        axes.plot(bootstrap(a - b), [place, place], "-", color="tab:blue")
        axes.plot((a - b).mean(), place, "o", color="tab:blue")
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
    axes.legend(fontsize=8)
    return drawn


def _arms(runs: Runs, regime: str, axes: Axes) -> bool:
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(title="skill arm minus plain arm, training", xlabel="environment steps", ylabel="Δ")
    arms = [arm for arm in ("skill_arm", "siri", "oracle", "openai") if runs.seeds(regime, arm)]
    return _over_time(runs, regime, axes, arms, "arm/delta")


def _gap(runs: Runs, regime: str, axes: Axes) -> bool:
    axes.set(title="int/prompt_gap", xlabel="environment steps", ylabel="nats per token")
    arms = [arm for arm in ("skill_arm", "siri", "no_weights", "oracle") if runs.seeds(regime, arm)]
    return _over_time(runs, regime, axes, arms, "int/prompt_gap")
