r"""Is the default run better than it was? `siri run` as it is, and as it was at 8a6f82b, paired by seed.

    git worktree add ../earlier 8a6f82b
    python -m benchmarks.default_run run --earlier ../earlier --seeds 0-7   # two hours of a core; resumable
    python -m benchmarks.default_run report

`siri run --seed N` is what `make run` does. Plain success after the last iteration, on both splits (400
generated games). Runs in benchmarks/results/default_run.json count as finished.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np

from benchmarks.study.__main__ import PICTURES, span
from benchmarks.study.figures import STYLE
from benchmarks.study.page import bare
from benchmarks.study.statistics import Floats, bootstrap, student
from siri.storage import write_atomic

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "default_run.md"
FINISHED = RESULTS.with_suffix(".json")
"""Success, environment steps and minutes of every run."""
SPLITS = ("valid_seen", "valid_unseen")
EARLIER, HORIZON, NOW = NAMES = ("at 8a6f82b", "`siri_adaptive`", "now")
"""Of the runs in ``FINISHED``. The second is not run again. When it was to be the default, it was run with
``--recipe siri_adaptive --set max_env_steps=45000 --set internalization.iterations=24``."""
Rows: TypeAlias = dict[str, Mapping[str, Any]]
"""By name and seed."""


def finished(out: Path) -> Rows:
    """The committed runs, and those in ``out``."""
    rows: Rows = json.loads(FINISHED.read_text(encoding="utf-8")) if FINISHED.exists() else {}
    for name in (EARLIER, NOW):
        for summary in sorted((out / name).glob("*/summary.json")):
            rows.setdefault(f"{name} {summary.parent.name}", measured(summary.parent))
    return dict(sorted(rows.items()))


def measured(folder: Path) -> Mapping[str, Any]:
    """A finished run: success, the mean of the splits; environment steps; minutes."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    took = re.findall(r"([\d.]+) minutes", folder.with_suffix(".log").read_text(encoding="utf-8"))
    final = [float(summary["final"][split]["plain"]) for split in SPLITS]
    return {
        "success": round(float(np.mean(final)), 4),
        "env_steps": summary["env_steps"],
        "minutes": float(took[-1]),
    }


def run(out: Path, earlier: Path, seeds: Sequence[int], workers: int) -> int:
    """Run what is missing, the pairs of a seed together; 1 if a run failed."""
    checkouts = {EARLIER: earlier, NOW: ROOT}
    there = finished(out)

    def one(job: tuple[int, str]) -> int:
        seed, name = job
        folder = out / name / str(seed)
        if f"{name} {seed}" in there:
            return 0
        command = [sys.executable, "-m", "siri", "run", "--seed", str(seed), "--out", str(folder)]
        command += ["--resume"] if (folder / "config.json").exists() else []
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(checkouts[name].resolve() / "src"),
        }
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (out / name / f"{seed}.log").open("w", encoding="utf-8") as log:
            status = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
        print(f"{name} {seed}: {'failed, see its log' if status else 'done'}", flush=True)
        return status

    with ThreadPoolExecutor(workers) as pool:
        return int(any(list(pool.map(one, itertools.product(seeds, checkouts)))))


def report(rows: Rows) -> str:
    """The table, and the paired differences."""
    seeds = [seed for seed in range(100) if all(f"{name} {seed}" in rows for name in (EARLIER, NOW))]
    lines = [
        "# The default run, and as it was at 8a6f82b",
        "",
        "`siri run --seed N`: SIRI at 8a6f82b, and `siri_both` now. `siri_adaptive`, with at most 45,000 "
        "environment steps, was tried between the two. Plain success after the last "
        "iteration, mean of valid_seen and valid_unseen (200 generated games each). Minutes are those that "
        "the run states, evaluations included, two runs at a time on two shared cores (of seeds 2, 3, 6 and "
        "7 now, with tests beside them). `python -m benchmarks.default_run report`.",
        "",
        "| seed |" + "".join(f" {name} | steps | minutes |" for name in NAMES),
        "|---|" + "---|" * 9,
    ]
    for seed in seeds:
        cells = [str(seed)]
        for name in NAMES:
            row = rows.get(f"{name} {seed}")
            cells += (
                [bare(row["success"]), f"{row['env_steps']:,.0f}", f"{row['minutes']:.1f}"]
                if row
                else ["–"] * 3
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(difference(rows, seeds, name) for name in (HORIZON, NOW))]) + "\n"


def figure(rows: Rows, path: Path) -> None:
    """A line a seed, from the earlier run to those after it."""
    labels = ("SIRI, at 8a6f82b", "siri_adaptive", "siri_both, now")
    with matplotlib.rc_context(STYLE):
        drawing, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        for seed in range(100):
            levels = [rows[f"{name} {seed}"]["success"] for name in NAMES if f"{name} {seed}" in rows]
            if len(levels) == len(NAMES):
                axes.plot(labels, levels, "o-", linewidth=1.2, markersize=4, label=f"seed {seed}")
        axes.set(title="plain success of the default run, by seed", ylabel="success")
        axes.margins(x=0.08)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        drawing.savefig(path, metadata={"Date": None})
        plt.close(drawing)


def difference(rows: Rows, seeds: Sequence[int], name: str) -> str:
    """A sentence on ``name`` minus the earlier runs, over the seeds that have both; empty for one seed."""
    both = [seed for seed in seeds if f"{name} {seed}" in rows]
    if len(both) < 2:
        return ""
    old, new = (
        np.array([float(rows[f"{each} {seed}"]["success"]) for seed in both]) for each in (EARLIER, name)
    )
    values: Floats = new - old
    (low, high), (left, right) = bootstrap(values), student(values)
    return (
        f"\n{name} {bare(float(new.mean()))}, {EARLIER} {bare(float(old.mean()))}; paired difference "
        f"{bare(float(values.mean()), sign=True)}, 95 % bootstrap interval over {len(both)} seeds "
        f"[{bare(low, sign=True)}, {bare(high, sign=True)}], by Student's t [{bare(left, sign=True)}, "
        f"{bare(right, sign=True)}]; {int((values > 0).sum())} of {len(both)} above 0."
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--out", type=Path, default=Path("runs") / "default-run")
    parser.add_argument("--earlier", type=Path, help="a checkout of the earlier commit")
    parser.add_argument("--seeds", default="0-7", help="first-last")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.command == "run":
        if args.earlier is None:
            parser.error("got no --earlier, expected a checkout; fix: git worktree add ../earlier 8a6f82b")
        return run(args.out, args.earlier, span(args.seeds), args.workers)
    rows = finished(args.out)
    text = report(rows)
    write_atomic(FINISHED, json.dumps(rows, indent=1) + "\n")
    write_atomic(RESULTS, text)
    figure(rows, PICTURES / "default-run.svg")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
