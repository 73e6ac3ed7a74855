"""Finished runs: the files they are kept in, and what is read from them."""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeAlias, TypedDict

import numpy as np

from benchmarks.study.arms import ARMS
from benchmarks.study.statistics import MEASURES, Floats
from siri.storage import write_atomic

__all__ = ["Finished", "Row", "Runs", "unpack", "write", "write_csv"]

Row: TypeAlias = Mapping[str, Any]
"""A line of JSON: numbers and words by column."""
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
"""Columns of study.csv."""


class Finished(TypedDict):
    """One finished run, as its JSON file holds it."""

    arm: str
    regime: str
    seed: int
    seconds: float
    evaluations: list[Row]
    """One row for each evaluation and kind of task, ``"all"`` among them."""
    training: list[Row]
    """One row for each iteration."""
    skills: list[Row]
    """The bank at the end."""
    writer: NotRequired[Row]
    """Of a hosted writer: its ``requests``, and the ``tokens`` that it read and wrote."""


class Runs:
    """Finished runs, by (regime, arm, seed), and the names of failed ones."""

    def __init__(self, found: Sequence[Finished], failed: Sequence[str] = ()) -> None:
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

    def counted(self, regime: str, arm: str) -> list[int]:
        """Seeds whose runs counted tokens; those of the first round did not."""
        runs = [(seed, self.of[regime, arm, seed]) for seed in self.seeds(regime, arm)]
        return [seed for seed, run in runs if run["training"] and "tokens/sampled" in run["training"][0]]

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

    def episodes(self, regime: str, arm: str, seed: int, side: str) -> Floats:
        """Of the last evaluation, [N, 3]: tokens, tokens with a cache of prefixes, won; or [0, 3]."""
        rows = [row for row in self.of[regime, arm, seed]["evaluations"] if f"{side}_episodes" in row]
        return np.array(rows[-1][f"{side}_episodes"] if rows else [], float).reshape(-1, 3)

    def trained(self, regime: str, arm: str, seed: int, column: str) -> list[Row]:
        """Training rows that have a column; those of ``int/`` say something in phase 2 alone."""
        rows = [r for r in self.of[regime, arm, seed]["training"] if column in r]
        return [r for r in rows if not column.startswith("int/") or r["phase"] == "internalization"]

    def ends(self, regime: str, arm: str, seed: int, column: str) -> tuple[float, float] | None:
        """Means of a column of the training rows over the first and the last third of those that have it."""
        found = [row[column] for row in self.trained(regime, arm, seed, column)]
        third = max(1, len(found) // 3)
        return (float(np.mean(found[:third])), float(np.mean(found[-third:]))) if len(found) > 1 else None

    def read_by_teacher(self, regime: str, arm: str, seed: int) -> float | None:
        """Tokens that a teacher read; None where there was none."""
        rows = self.trained(regime, arm, seed, "teacher/tokens")
        return float(sum(row["teacher/tokens"] for row in rows)) if rows else None

    def taught(self, regime: str, arm: str, seed: int) -> float | None:
        """Tokens of lessons, replayed ones included: those in the loss that no rollout sampled; None where
        they were not counted.
        """
        if seed not in self.counted(regime, arm):
            return None
        rows = self.of[regime, arm, seed]["training"]
        return float(sum(row["learn/tokens"] - row["tokens/sampled"] for row in rows))

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


def write(path: Path, run: Finished) -> None:
    """Keep one run as ``path``: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(run))


def unpack(archive: Path, runs: Path) -> int:
    """Put the runs of a committed archive where finished runs lie; return how many were missing there."""
    found = {
        runs / regime / arm / f"{seed}.json": run
        for (regime, arm, seed), run in Runs.unpack(archive).of.items()
    }
    missing = {path: run for path, run in found.items() if not path.exists()}
    for path, run in missing.items():
        write(path, run)
    return len(missing)
