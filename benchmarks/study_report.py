"""The study's tables and figures, from its finished runs.

Intervals: paired by seed, 10,000 bootstrap resamples of the seeds (fixed generator), and by Student's t,
as a percentile bootstrap of 4 or 8 values is too narrow; interquartile means with stratified resampling as in
Agarwal et al. 2021 (arXiv 2108.13264), strata being the kinds of task.
"""

from __future__ import annotations

import csv
import json
import lzma
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, trim_mean
from study_arms import ARMS, REGIMES

from siri.skills import PROVEN
from siri.types import SkillStatus

Floats = NDArray[np.float64]
Row = Mapping[str, Any]
COLUMNS = (
    "arm",
    "seed",
    "regime",
    "iteration",
    "env_steps",
    "benchmark",
    "split",
    "kind",
    "plain_success",
    "skill_success",
    "plain_task_score",
    "n",
)
PAIRS = (
    ("siri", "gigpo"),
    ("siri", "skill_arm"),
    ("skill_arm", "gigpo"),
    ("grpo", "gigpo"),
    *((arm, "siri") for arm in ARMS if arm not in ("siri", "gigpo", "skill_arm", "grpo")),
)
"""Differences that the tables state, first minus second."""


def area(steps: Sequence[float], success: Sequence[float]) -> float:
    """Mean height of the curve: area under plain success divided by the range of environment steps."""
    x, y = np.asarray(steps, float), np.asarray(success, float)
    return float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1])) / 2 / (x[-1] - x[0]))


def last_five(steps: Sequence[float], success: Sequence[float]) -> float:
    """Mean of the last five evaluations."""
    del steps
    return float(np.mean(success[-5:]))


MEASURES: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "area": area,
    "last five": last_five,
}
"""Fixed before any reported run."""


def bootstrap(values: Floats, *, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean over seeds, [S]."""
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def student(values: Floats) -> tuple[float, float]:
    """95 % interval of the mean by Student's t, for values [S] with S ≥ 2."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def iqm(scores: Floats, *, resamples: int = 2_000, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Interquartile mean over all runs and kinds, with a 95 % stratified bootstrap interval.

    Args:
        scores: [S, K], seeds × kinds; seeds are resampled within each kind.
        resamples: bootstrap samples.
        seed: of the private generator.
    """
    rng = np.random.default_rng(seed)
    seeds, kinds = scores.shape
    picks = rng.integers(0, seeds, (resamples, seeds, kinds))
    drawn = np.take_along_axis(np.broadcast_to(scores, (resamples, seeds, kinds)), picks, axis=1)
    means = trim_mean(drawn.reshape(resamples, -1), 0.25, axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(trim_mean(scores, 0.25, axis=None)), (float(low), float(high))


class Runs:
    """Finished runs, by (regime, arm, seed), and the names of failed ones."""

    def __init__(self, found: Sequence[Mapping[str, Any]], failed: Sequence[str] = ()) -> None:
        self.of = {(run["regime"], run["arm"], run["seed"]): run for run in found}
        self.failed = failed

    @classmethod
    def read(cls, folder: Path) -> Runs:
        """One JSON file each."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*/*.json"))]
        return cls(found, sorted(str(path.relative_to(folder)) for path in folder.glob("*/*/*.failed")))

    @classmethod
    def unpack(cls, archive: Path) -> Runs:
        """One line each, as ``pack`` writes them; none without the file."""
        if not archive.exists():
            return cls(())
        with lzma.open(archive, "rt", encoding="utf-8") as file:
            return cls([json.loads(line) for line in file])

    def pack(self, archive: Path) -> None:
        """The runs themselves; equal runs give equal bytes."""
        with lzma.open(archive, "wt", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(self.of[key], sort_keys=True) + "\n" for key in sorted(self.of))

    def seeds(self, regime: str, *arms: str) -> list[int]:
        """Seeds that every one of ``arms`` has finished."""
        sets = [{s for r, a, s in self.of if (r, a) == (regime, arm)} for arm in arms]
        return sorted(set.intersection(*sets))

    def arms(self, regime: str) -> list[str]:
        """Arms with a finished run, in the order of their declaration."""
        return [arm for arm in ARMS if self.seeds(regime, arm)]

    def curve(self, regime: str, arm: str, seed: int, kind: str = "all") -> tuple[list[float], list[float]]:
        """(environment steps, plain success) of the generated valid_unseen."""
        rows = [
            row
            for row in self.of[regime, arm, seed]["evaluations"]
            if row["benchmark"] == "generated" and row["kind"] == kind
        ]
        return [row["env_steps"] for row in rows], [row["plain_success"] for row in rows]

    def measured(self, name: str, regime: str, arm: str, seeds: Sequence[int], kind: str = "all") -> Floats:
        """One measure of each seed, [S]."""
        return np.array([MEASURES[name](*self.curve(regime, arm, seed, kind)) for seed in seeds])

    def last(self, regime: str, arm: str, seed: int, benchmark: str, column: str) -> float | None:
        """A column of the last evaluation over all kinds."""
        rows = [
            row
            for row in self.of[regime, arm, seed]["evaluations"]
            if row["benchmark"] == benchmark and row["kind"] == "all"
        ]
        return rows[-1].get(column) if rows else None

    def trained(self, regime: str, arm: str, seed: int, column: str) -> list[Row]:
        """Training rows that have a column; those of ``int/`` say something in phase 2 alone."""
        rows: list[Row] = [r for r in self.of[regime, arm, seed]["training"] if column in r]
        return [r for r in rows if not column.startswith("int/") or r["phase"] == "internalization"]

    def ends(self, regime: str, arm: str, seed: int, column: str) -> tuple[float, float] | None:
        """Means of a column of the training rows over the first and the last third of those that have it."""
        found = [row[column] for row in self.trained(regime, arm, seed, column)]
        third = max(1, len(found) // 3)
        return (float(np.mean(found[:third])), float(np.mean(found[-third:]))) if len(found) > 1 else None

    def kinds(self, regime: str) -> list[str]:
        """Kinds of task that were measured there."""
        found = [run["evaluations"] for (where, _, _), run in self.of.items() if where == regime]
        return sorted({row["kind"] for rows in found for row in rows} - {"all"})


def write_csv(runs: Runs, path: Path) -> None:
    """Every evaluation of every run, one row a kind."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for key in sorted(runs.of):
            writer.writerows(runs.of[key]["evaluations"])


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


def compare(found: Sequence[Mapping[str, Any]], others: Runs) -> int:
    """Set runs of one arm and regime beside the committed ones; 0 if they are of their kind.

    That is: each measure's mean over the m runs lies in the 95 % prediction interval of m more runs,
    mean ± t · s · √(1/m + 1/n), from the n committed runs of other seeds, and of all if there is no other.
    """
    own = Runs(found)
    [(regime, arm)] = {(regime, arm) for regime, arm, _ in own.of}
    fresh, known = own.seeds(regime, arm), others.seeds(regime, arm)
    beside = [seed for seed in known if seed not in fresh]
    beside = beside if len(beside) > 2 else known
    apart = 0
    for name in MEASURES:
        values = own.measured(name, regime, arm, fresh)
        for seed, value in zip(fresh, values, strict=True):
            [old] = others.measured(name, regime, arm, [seed]) if seed in known else [None]
            print(f"{name}, seed {seed}: {value:.3f} ({'not' if old is None else f'{old:.3f}'} in the table)")
        levels = others.measured(name, regime, arm, beside)
        spread = levels.std(ddof=1) * np.sqrt(1 / len(values) + 1 / len(levels))
        half = t.ppf(0.975, len(levels) - 1) * spread
        low, high = levels.mean() - half, levels.mean() + half
        inside = low <= values.mean() <= high
        print(
            f"{name}: {values.mean():.3f}; of {arm} in {regime}, {len(levels)} committed runs expect "
            f"[{low:.3f}, {high:.3f}] of {len(values)} more: {'inside' if inside else 'OUTSIDE'}"
        )
        apart += not inside
    return 1 if apart else 0


def report(folder: Path, out: Path, pictures: Path | None = None) -> None:
    """Write study.csv, study.md and the runs to ``out``, the figures to ``pictures`` or there too."""
    from study_figures import figures

    runs = Runs.read(folder)
    if not runs.of:
        raise SystemExit(f"got no finished run under {folder}, expected some; fix: study.py run")
    pictures = pictures or out
    for place in (out, pictures):
        place.mkdir(parents=True, exist_ok=True)
    write_csv(runs, out / "study.csv")
    runs.pack(out / "runs.jsonl.xz")
    text = tables(runs)
    names = figures(runs, pictures)
    where = Path(os.path.relpath(pictures, out))
    links = (f"![{name}]({(where / name).as_posix()})" for name in names)
    text += "\n".join(["## Figures", "", *links]) + "\n"
    (out / "study.md").write_text(text, encoding="utf-8")
    print(f"wrote {out}/study.csv, study.md and {len(names)} figures")
