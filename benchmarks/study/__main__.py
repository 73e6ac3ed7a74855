r"""What is each part of SIRI worth? Arms × paired seeds × regimes at equal environment steps.

    python -m benchmarks.study run --seeds 0-7              # resumable: finished runs are kept
    python -m benchmarks.study report                       # CSV, tables and figures from what is there
    python -m benchmarks.study run --small && python -m benchmarks.study report --small
    python -m benchmarks.study one --arm siri --regime rare --seed 3 --out siri-3.json
    python -m benchmarks.study check --arm siri --regime rare --seeds 3    # next to the committed table
    python -m benchmarks.study check --arm siri --regime rare --seeds 0-7  # a whole row of it

Run it at the root of the checkout. With ``--committed``, the runs in results/study count as finished: to add
arms or seeds, or to draw the report again. `make study` runs and reports all; `make study SMALL=1` does so in
minutes. One process and one thread a run; (arm, regime, seed) and the versions in constraints.txt fix a run.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from benchmarks.study.arms import ARMS, asked
from benchmarks.study.check import compare
from benchmarks.study.finished import Runs, unpack, write
from benchmarks.study.play import play
from benchmarks.study.regimes import BENCHMARKS, MAIN, REGIMES, SMALL
from benchmarks.study.report import report
from siri.counting import counted
from siri.progress import Bars, during

RUNS = Path("runs") / "study"
"""Where finished runs lie, one JSON file each."""
ARCHIVE = BENCHMARKS / "results" / "study" / "runs.jsonl.xz"
"""The same, committed: one line a run."""
DOCS = BENCHMARKS.parent / "docs"
PAGES = (DOCS / "results.md", DOCS / "methods" / "index.md")
"""Whose tables are filled in from the committed runs."""
PICTURES = DOCS / "figures"
"""Where the documentation shows the committed figures."""


def span(text: str) -> range:
    """The seeds of "3" or "0-7"."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def planned(args: argparse.Namespace) -> Iterator[tuple[str, str, int, Path]]:
    """Every run of the study, the most needed first: seeds outermost, so that pairs fill up together.

    In small, all arms in `rare`, and the main ones in two other worlds.
    """
    for seed, regime, arm in itertools.product(span(args.seeds), args.regimes, args.arms):
        most = asked(arm, regime)
        if args.small:
            there = regime == "rare" or (arm in MAIN and regime in ("shop", "tools"))
            most = min(most, 2 if arm in ("gigpo", "siri") else 1) if there else 0
        if most and (args.all_seeds or seed < most):
            yield arm, regime, seed, args.runs / regime / arm / f"{seed}.json"


def drive(args: argparse.Namespace) -> int:
    """Run what is missing, ``args.workers`` at a time; a failed run is named and makes the exit status 1."""
    todo = [job for job in planned(args) if not job[3].exists()]
    screen = Console()
    bars = Bars(screen, quiet=args.quiet)
    for name in sorted({arm for arm, *_ in todo}):
        needed = ARMS[name].needs
        if needed and needed not in os.environ:
            screen.print(f"left out: {name} needs {needed}, see docs/how-to/reproduce.md")
            todo = [job for job in todo if job[0] != name]
    screen.print(f"{counted(len(todo), 'run')} to do, {args.workers} at a time")

    def one(job: tuple[str, str, int, Path]) -> bool:
        arm, regime, seed, path = job
        command = [sys.executable, "-m", "benchmarks.study", "one", "--out", str(path)]
        command += ["--arm", arm, "--regime", regime, "--seed", str(seed)]
        command += ["--small"] if args.small else []
        places = [str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(place for place in places if place),
        }
        began = time.monotonic()
        bars.say(f"last begun: {regime} {arm} {seed}")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        failed = path.with_suffix(".failed")
        if done.returncode:
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(done.stdout + done.stderr, encoding="utf-8")
            screen.print(f"FAILED {regime} {arm} {seed}: see {failed}", soft_wrap=True)
            bars.advance("runs")
            return False
        failed.unlink(missing_ok=True)
        screen.print(f"{regime} {arm} {seed}: {time.monotonic() - began:.0f} s")
        bars.advance("runs")
        return True

    with bars, during(bars, "runs", len(todo)), ThreadPoolExecutor(args.workers) as pool:
        good = list(pool.map(one, todo))
    return 0 if all(good) else 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="carry out what is missing")
    run.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    run.add_argument("--regimes", nargs="+", default=list(REGIMES), choices=REGIMES)
    run.add_argument("--seeds", default="0-7", help="first-last; 100 and above are development seeds")
    run.add_argument("--all-seeds", action="store_true", help="for every arm, also those that ask for fewer")
    run.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    run.add_argument("--quiet", action="store_true", help="no bar on a terminal")
    one = commands.add_parser("one", help="carry out one run")
    one.add_argument("--out", type=Path, required=True)
    check = commands.add_parser("check", help="repeat one run and compare it with the committed table")
    for command in (one, check):
        command.add_argument("--arm", required=True, choices=ARMS)
        command.add_argument("--regime", default="default", choices=REGIMES)
    one.add_argument("--seed", type=int, required=True)
    check.add_argument("--seeds", required=True, help="one, or first-last")
    tables = commands.add_parser("report", help="tables and figures from finished runs")
    tables.add_argument("--out", type=Path, help="folder of the report")
    for command in (run, one, tables):
        command.add_argument("--small", action="store_true", help="the whole chain in minutes")
    for command in (run, tables):
        command.add_argument("--runs", type=Path)
        command.add_argument("--committed", action="store_true", help="take the committed runs as finished")
    args = parser.parse_args()
    if args.command == "check":
        others = Runs.unpack(ARCHIVE)
        if not others.seeds(args.regime, args.arm):
            parser.error(f"got no committed run of {args.arm} in {args.regime}; fix: another arm or regime")
        budget = REGIMES[args.regime].budget
        return compare([play(args.arm, args.regime, seed, budget) for seed in span(args.seeds)], others)
    small = args.small
    if args.command == "one":
        budget = SMALL if small else REGIMES[args.regime].budget
        write(args.out, play(args.arm, args.regime, args.seed, budget))
        return 0
    args.runs = args.runs or (RUNS.with_name("study-small") if small else RUNS)
    if args.committed and not small:
        print(
            f"{unpack(ARCHIVE, args.runs)} finished runs taken from {ARCHIVE.relative_to(BENCHMARKS.parent)}"
        )
    if args.command == "run":
        return drive(args)
    if args.out or small:
        report(args.runs, args.out or args.runs / "report")
    else:
        report(args.runs, ARCHIVE.parent, PICTURES, PAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
