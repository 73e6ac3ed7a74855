r"""What is each part of SIRI worth? Arms × paired seeds × regimes at equal environment steps.

    python benchmarks/study.py run --seeds 0-7              # resumable: finished runs are kept
    python benchmarks/study.py report                       # CSV, tables and figures from what is there
    python benchmarks/study.py run --small && python benchmarks/study.py report --small
    python benchmarks/study.py one --arm siri --regime rare --seed 3 --out siri-3.json
    python benchmarks/study.py check --arm siri --regime rare --seeds 3    # beside the committed table
    python benchmarks/study.py check --arm siri --regime rare --seeds 0-7  # a whole row of it

With ``--committed``, the runs in results/study count as finished: to add arms or seeds, or to draw the report
again. `make study` runs and reports all, `make study SMALL=1` in minutes. One process and one thread a run;
a run is fixed by (arm, regime, seed) and the versions in constraints.txt.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from study_arms import ARMS, HERE, REGIMES, SMALL, Budget

Row = dict[str, Any]
RUNS = Path("runs") / "study"
"""Where finished runs lie, one JSON file each."""
ARCHIVE = HERE / "results" / "study" / "runs.jsonl.xz"
"""The same, committed: one line a run."""
PICTURES = HERE.parent / "docs" / "figures"
"""Where the documentation shows the committed figures."""


def play(arm_name: str, regime: str, seed: int, budget: Budget) -> dict[str, Any]:
    """Carry out one run; rows of its evaluations and of its iterations."""
    import torch

    from siri.build import make_suite
    from siri.config import load_config, parse_config
    from siri.config.presets import preset
    from siri.curriculum import Curriculum, Phase
    from siri.envs.alfworld import alfworld_suite
    from siri.policies import HFPolicy
    from siri.rollout.evaluation import evaluate
    from siri.runs import shown_skills
    from siri.skills import PROVEN

    torch.set_num_threads(1)
    arm, place = ARMS[arm_name], REGIMES[regime]
    settings: dict[str, Any] = load_config(
        preset("embedded", place.env),
        assignments=[
            f"seed={seed}",
            f"max_env_steps={budget.env_steps}",
            f"env.valid_{'goals' if place.env == 'webshop' else 'games'}={budget.valid_games}",
        ],
    ).model_dump()
    for changes in (budget.settings, arm.settings):
        for section, values in changes.items():
            settings[section] = {**settings[section], **values}
    settings["internalization"]["iterations"] = 1_000_000  # every arm ends by its environment steps
    config = parse_config(settings)
    o = config.optimizer
    suite = make_suite(config, place.env, None)
    policy = HFPolicy.load(place.base(), slots=config.rollout.slots)
    objective = arm.objective(
        clip_low=o.clip_low,
        clip_high=o.clip_high,
        dual_clip=o.dual_clip,
        kl=o.kl,
        entropy=o.entropy,
        floor=config.internalization.floor,
    )
    run = Curriculum(
        suite,
        policy,
        miner=arm.miner(config) if arm.miner else None,
        objective=objective,
        validator=arm.validator() if arm.validator else None,
        gate=arm.gate,
        config=config,
    )
    key = {"arm": arm_name, "regime": regime, "seed": seed}
    evaluations: list[Row] = []
    training: list[Row] = []
    sampling = run.rollout.sampling

    def measure(games: Any, split: str, benchmark: str, *, skills: bool) -> None:
        arms: dict[str, Any] = {"plain": None}
        if skills and any(record.status in PROVEN for record in run.bank.records()):
            arms["skill"] = shown_skills(run.bank, config.validation)
        found = {
            name: evaluate(games, policy, split=split, sampling=sampling, seed=seed, skills=shown)
            for name, shown in arms.items()
        }
        for kind in ("all", *sorted(found["plain"].by_kind)):
            row = {
                **key,
                "iteration": run.state.index,
                "env_steps": run.state.env_steps,
                "benchmark": benchmark,
                "split": split,
                "kind": kind,
            }
            for name, result in found.items():
                won, n = (result.successes, result.n) if kind == "all" else result.by_kind[kind]
                row |= {f"{name}_success": won / n, "n": n}
                if kind == "all" and result.task_score is not None:
                    row[f"{name}_task_score"] = result.task_score
            evaluations.append(row)

    began = time.monotonic()
    tasks = suite.split(place.split)
    parts = [replace(suite, tasks={place.split: tasks[n :: budget.turns]}) for n in range(budget.turns)]
    measure(parts[0], place.split, "generated", skills=False)
    due = 1
    for iteration in run:
        by_kind: Row = {}
        for kind in sorted({group.task.kind for group in iteration.groups}):
            for side in ("plain", "skill"):
                won = [t.success for g in iteration.groups if g.task.kind == kind for t in g.arm(side)]
                if won:
                    by_kind[f"{side}/{kind}"] = sum(won) / len(won)
            deltas = [
                mean(t.success for t in g.arm("skill")) - mean(t.success for t in g.arm("plain"))
                for g in iteration.groups
                if g.task.kind == kind and g.arm("skill") and g.arm("plain")
            ]
            if deltas:
                by_kind[f"delta/{kind}"] = mean(deltas)
        training.append(
            {
                **key,
                "iteration": iteration.index,
                "phase": iteration.phase.value,
                **dict(iteration.metrics),
                **by_kind,
                "events": list(iteration.events),
            }
        )
        last = run.state.phase is Phase.DONE
        if last or run.state.env_steps >= due * budget.env_steps / budget.points:
            measure(suite if last else parts[due % budget.turns], place.split, "generated", skills=last)
            due = int(run.state.env_steps * budget.points / budget.env_steps) + 1
    data = os.environ.get("ALFWORLD_DATA")
    if budget.real_games and data:
        real = alfworld_suite(data, max_steps=50, style=config.env.style)
        measure(real, "valid_seen", "real", skills=False)
    skills = [
        {
            "kind": r.skill.kind,
            "text": r.skill.text,
            "status": r.status.value,
            "utility": r.evidence.utility,
            "uses": r.uses,
        }
        for r in run.bank.records()
    ]
    seconds = round(time.monotonic() - began, 1)
    return {**key, "seconds": seconds, "evaluations": evaluations, "training": training, "skills": skills}


def write(path: Path, result: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(result), encoding="utf-8")
    os.replace(fresh, path)


def unpack(archive: Path, runs: Path) -> int:
    """Put the runs of a committed archive where finished runs lie; those that are there stay."""
    from study_report import Runs

    found = {
        runs / regime / arm / f"{seed}.json": run
        for (regime, arm, seed), run in Runs.unpack(archive).of.items()
    }
    fresh = {path: run for path, run in found.items() if not path.exists()}
    for path, run in fresh.items():
        write(path, dict(run))
    return len(fresh)


def span(text: str) -> range:
    """The seeds of "3" or "0-7"."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def planned(args: argparse.Namespace) -> Iterator[tuple[str, str, int, Path]]:
    """Every run of the study, the most needed first: seeds outermost, so that pairs fill up together."""
    for seed, regime, arm in itertools.product(span(args.seeds), args.regimes, args.arms):
        place = REGIMES[regime]
        seeds = ARMS[arm].seeds // 4 if args.small else min(ARMS[arm].seeds, place.most_seeds)
        asked = args.all_seeds or seed < seeds
        if asked and arm in (place.arms or ARMS):
            yield arm, regime, seed, args.runs / regime / arm / f"{seed}.json"


def drive(args: argparse.Namespace) -> int:
    """Run what is missing, ``args.workers`` at a time; a failed run is named and makes the exit status 1."""
    todo = [job for job in planned(args) if not job[3].exists()]
    print(f"{len(todo)} runs to do, {args.workers} at a time", flush=True)

    def one(job: tuple[str, str, int, Path]) -> bool:
        arm, regime, seed, path = job
        command = [sys.executable, __file__, "one", "--arm", arm, "--regime", regime, "--seed", str(seed)]
        command += ["--out", str(path), *(["--small"] if args.small else [])]
        began = time.monotonic()
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        failed = path.with_suffix(".failed")
        if done.returncode:
            failed.parent.mkdir(parents=True, exist_ok=True)
            failed.write_text(done.stdout + done.stderr, encoding="utf-8")
            print(f"FAILED {regime} {arm} {seed}: see {failed}", flush=True)
            return False
        failed.unlink(missing_ok=True)
        print(f"{regime} {arm} {seed}: {time.monotonic() - began:.0f} s", flush=True)
        return True

    with ThreadPoolExecutor(args.workers) as pool:
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
    one = commands.add_parser("one", help="carry out one run")
    one.add_argument("--out", type=Path, required=True)
    check = commands.add_parser("check", help="repeat one run and compare it with the committed table")
    for command in (one, check):
        command.add_argument("--arm", required=True, choices=ARMS)
        command.add_argument("--regime", default="default", choices=REGIMES)
    one.add_argument("--seed", type=int, required=True)
    check.add_argument("--seeds", required=True, help="one, or first-last")
    report = commands.add_parser("report", help="tables and figures from finished runs")
    report.add_argument("--out", type=Path, help="folder of the report")
    for command in (run, one, report):
        command.add_argument("--small", action="store_true", help="the whole chain in minutes")
    for command in (run, report):
        command.add_argument("--runs", type=Path)
        command.add_argument("--committed", action="store_true", help="take the committed runs as finished")
    args = parser.parse_args()
    if args.command == "check":
        from study_report import Runs, compare

        others = Runs.unpack(ARCHIVE)
        if len(others.seeds(args.regime, args.arm)) < 3:
            parser.error(f"got fewer than 3 committed runs of {args.arm} in {args.regime}; fix: another arm")
        budget = REGIMES[args.regime].budget
        return compare([play(args.arm, args.regime, seed, budget) for seed in span(args.seeds)], others)
    small = args.small
    if args.command == "one":
        budget = SMALL if small else REGIMES[args.regime].budget
        write(args.out, play(args.arm, args.regime, args.seed, budget))
        return 0
    args.runs = args.runs or (RUNS.with_name("study-small") if small else RUNS)
    if args.committed and not small:
        print(f"{unpack(ARCHIVE, args.runs)} finished runs taken from {ARCHIVE.relative_to(HERE.parent)}")
    if args.command == "run":
        return drive(args)
    from study_report import report as make_report

    if args.out or small:
        make_report(args.runs, args.out or args.runs / "report")
    else:
        make_report(args.runs, ARCHIVE.parent, PICTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
