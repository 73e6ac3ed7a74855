r"""Would `siri_adaptive` be a better default? `siri run` with it, and as it was, paired by seed.

    git worktree add ../earlier 8a6f82b
    python -m benchmarks.default_run run --earlier ../earlier --seeds 0-7   # two hours of a core; resumable
    python -m benchmarks.default_run report

`siri run --seed N` with the defaults of the earlier commit is what `make run` does. The recipe runs now, for
up to 45,000 environment steps or 30 iterations. Plain success after the last iteration, on both splits (400
generated games).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.study.__main__ import span
from benchmarks.study.page import bare
from benchmarks.study.statistics import Floats, bootstrap, student
from siri.storage import write_atomic

ROOT = Path(__file__).parents[1]
NOW = ("--recipe", "siri_adaptive", "--set", "max_env_steps=45000", "--set", "internalization.iterations=24")
RESULTS = ROOT / "benchmarks" / "results" / "default_run.md"
SPLITS = ("valid_seen", "valid_unseen")


def run(out: Path, earlier: Path, seeds: Sequence[int], workers: int) -> int:
    """Run what is missing, the pairs of a seed together; 1 if a run failed."""
    checkouts = {"earlier": earlier, "now": ROOT}

    def one(job: tuple[int, str]) -> int:
        seed, name = job
        folder = out / name / str(seed)
        if (folder / "summary.json").exists():
            return 0
        command = [sys.executable, "-m", "siri", "run", "--seed", str(seed), "--out", str(folder)]
        command += NOW if name == "now" else ()
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


def measured(folder: Path) -> tuple[list[float], float, float]:
    """(plain success of the splits, environment steps, minutes) of a finished run."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    took = re.findall(r"([\d.]+) minutes", folder.with_suffix(".log").read_text(encoding="utf-8"))
    final = [float(summary["final"][split]["plain"]) for split in SPLITS]
    return final, float(summary["env_steps"]), float(took[-1])


def report(out: Path) -> str:
    """The table, and the paired difference."""
    seeds = sorted(int(path.parent.name) for path in (out / "now").glob("*/summary.json"))
    seeds = [seed for seed in seeds if (out / "earlier" / str(seed) / "summary.json").exists()]
    found = {name: [measured(out / name / str(seed)) for seed in seeds] for name in ("earlier", "now")}
    success = {name: np.array([np.mean(final) for final, _, _ in rows]) for name, rows in found.items()}
    lines = [
        "# The default run at 8a6f82b, and `siri_adaptive`",
        "",
        f"`siri run --seed N` as it was, and now with `{' '.join(NOW)}`; plain success after the last "
        "iteration, mean of valid_seen and valid_unseen (200 generated games each). Minutes are those that "
        "the run states, evaluations included, two runs at a time on two shared cores. `python -m "
        "benchmarks.default_run`.",
        "",
        "| seed | at 8a6f82b | steps | minutes | `siri_adaptive` | steps | minutes | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for place, seed in enumerate(seeds):
        cells = [str(seed)]
        for name in ("earlier", "now"):
            _, steps, minutes = found[name][place]
            cells += [bare(float(success[name][place])), f"{steps:,.0f}", f"{minutes:.1f}"]
        cells.append(bare(float(success["now"][place] - success["earlier"][place]), sign=True))
        lines.append(f"| {' | '.join(cells)} |")
    difference: Floats = success["now"] - success["earlier"]
    if len(seeds) > 1:
        (low, high), (left, right) = bootstrap(difference), student(difference)
        lines += [
            "",
            f"Means {bare(float(success['earlier'].mean()))}, {bare(float(success['now'].mean()))}; paired "
            f"difference {bare(float(difference.mean()), sign=True)}, 95 % bootstrap interval over "
            f"{len(seeds)} seeds [{bare(low, sign=True)}, {bare(high, sign=True)}], by Student's t "
            f"[{bare(left, sign=True)}, {bare(right, sign=True)}]; {int((difference > 0).sum())} of "
            f"{len(seeds)} above 0.",
        ]
    return "\n".join(lines) + "\n"


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
    text = report(args.out)
    write_atomic(RESULTS, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
