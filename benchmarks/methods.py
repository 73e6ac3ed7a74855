"""What each method of ``siri.recipes`` gives with right words, next to the arms of the study.

    python -m benchmarks.methods run --out runs/methods [--only sdar ucob] [--seed 3]
    python -m benchmarks.methods report --out runs/methods

One source of text for all: the study's hand-written skill of each kind of task, as the words of a teacher or
as the skills that prompts show. Regime `rare`, the embedded preset with 16 mini-batches, 30,000 environment
steps; evaluations, as in the study, at equal distances, of which the last five are kept. Runs of the study's
arms with the same seed are read from its archive. One seed is one sample.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.study.__main__ import ARCHIVE
from benchmarks.study.arms import FULL, REGIMES, STRATEGIES, oracle
from benchmarks.study.finished import Runs
from siri import build
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Phase
from siri.policies import HFPolicy
from siri.policies.tiny import CONDITIONS
from siri.recipes import METHODS, Method
from siri.recipes.method import as_configured
from siri.rollout.evaluation import evaluate_arms
from siri.skills import SkillBank
from siri.storage import write_atomic

RESULTS = Path(__file__).parent / "results" / "methods.md"
REGIME = REGIMES["rare"]
LAST = 5
"""Evaluations that are kept."""
BASE = Method(
    "grpo_by_turns",
    "",
    "GRPO with μ and σ over turns: what the methods of the teacher stand on",
    as_configured,
    {"advantage": {"omega": 0.0}},
    mines=False,
)
RUN = {BASE.name: BASE} | {name: METHODS[name] for name in METHODS if METHODS[name].text != "none"}
READ = {"gigpo": "gigpo", "grpo": "grpo", "self_imitation": "self_imitation", "siri": "oracle"}
"""Recipes that are arms of the study, and the arm; that of siri has the same right skills."""
WORDS = {kind: f"When {CONDITIONS[kind]}: {words}" for kind, words in STRATEGIES.items()}
LENGTH = {"skill0": {"internalization.iterations": 13}}
"""SKILL0 withdraws its skills by thirds of the iterations, of which 30,000 steps are about fourteen."""


def configured(method: Method, seed: int) -> RunConfig:
    """The embedded preset of the study, and the recipe's settings over it."""
    fixed = {
        "seed": seed,
        "max_env_steps": FULL.env_steps,
        "env.valid_games": FULL.valid_games,
        "internalization.iterations": 1_000_000,
        "episodes.groups": 0,
    }
    made = load_config(preset("embedded"), changes=fixed)
    return load_config(load_config(made, changes=dict(method.settings)), changes=LENGTH.get(method.name, {}))


def composed(method: Method, config: RunConfig) -> Curriculum:
    """The run, with right words for its teacher or right skills for its prompts."""
    skills = method.text == "skills"
    parts = method.parts(config, miner=skills, advice=WORDS if method.text == "words" else None)
    return Curriculum(
        build.suite(REGIME.env, config),
        HFPolicy.load(REGIME.base(), slots=config.rollout.slots),
        miner=oracle(config) if skills else None,
        objective=parts.objective or build.objective(config),
        validator=parts.validator,
        retriever=parts.retriever,
        gate=parts.gate,
        hooks=parts.hooks,
        config=config,
    )


def play(method: Method, seed: int) -> dict[str, Any]:
    """One run, its last evaluations and the means of its figures."""
    torch.set_num_threads(1)
    config = configured(method, seed)
    run = composed(method, config)
    began, due, rows, figures = time.monotonic(), 1, list[dict[str, float]](), list[dict[str, float]]()
    tasks = run.suite.split(REGIME.split)
    parts = [replace(run.suite, tasks={REGIME.split: tasks[n :: FULL.turns]}) for n in range(FULL.turns)]
    for iteration in run:
        figures.append(dict(iteration.metrics))
        last = run.state.phase is Phase.DONE
        if last or run.state.env_steps >= due * FULL.env_steps / FULL.points:
            if due > FULL.points - LAST:
                suite = run.suite if last else parts[due % FULL.turns]
                rows.append({"env_steps": run.state.env_steps, **_measured(run, suite, config, last)})
            due = int(run.state.env_steps * FULL.points / FULL.env_steps) + 1
    return {
        "method": method.name,
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "evaluations": rows[-LAST:],
        "training": figures,
    }


def _measured(run: Curriculum, suite: Any, config: RunConfig, last: bool) -> dict[str, float]:
    """Plain success; after the last iteration also that with the right skill of each task's kind."""
    bank = SkillBank()
    for skill in oracle(config).mine([]):
        bank.add(skill)
    skills = {record.skill.kind: (record.skill,) for record in bank.records()}
    found = evaluate_arms(
        suite,
        run.policy,
        split=REGIME.split,
        sampling=run.rollout.sampling,
        seed=config.seed,
        skills=(lambda task: skills[task.kind]) if last else None,
    )
    return {name: result.successes / result.n for name, result in found.items()}


def of_study(seed: int) -> dict[str, dict[str, Any]]:
    """The same figures of the study's arms."""
    runs, found = Runs.unpack(ARCHIVE), {}
    for name, arm in READ.items():
        run = runs.of["rare", arm, seed]
        rows = [r for r in run["evaluations"] if r["kind"] == "all" and r["benchmark"] == "generated"]
        found[name] = {
            "method": name,
            "seed": seed,
            "seconds": run["seconds"],
            "evaluations": [
                {
                    "env_steps": row["env_steps"],
                    **{
                        side: row[f"{side}_success"]
                        for side in ("plain", "skill")
                        if f"{side}_success" in row
                    },
                }
                for row in rows[-LAST:]
            ],
            "training": run["training"],
        }
    return found


def line(found: dict[str, Any]) -> str:
    """A row of the table."""

    def figure(name: str, digits: int = 3, *, total: bool = False) -> str:
        values = [row[name] for row in found["training"] if name in row]
        return "–" if not values else f"{(sum if total else mean)(values):,.{digits}f}"

    ends = found["evaluations"]
    skill = f"{ends[-1]['skill']:.3f}" if "skill" in ends[-1] else "–"
    cells = [
        f"`{found['method']}`",
        f"{mean(row['plain'] for row in ends):.3f}",
        f"{ends[-1]['plain']:.3f}",
        skill,
        figure("env/flat_groups", 2),
        figure("teacher/tokens", 0, total=True),
        figure("credit/change", 4),
    ]
    return f"| {' | '.join(cells)} |"


COLUMNS = (
    "method",
    "plain, last five",
    "plain, end",
    "with skill, end",
    "flat groups",
    "teacher tokens",
    "change of A",
)
HEAD = """# Methods with right words, one seed

`python -m benchmarks.methods run` and `report`, seed {seed}: regime `rare` of the study, embedded policy
(0.37 M), 30,000 environment steps, 16 mini-batches. Words are hand-written, one right skill a kind, alike for
all: as the advice of a teacher with eight plain rollouts a group, or as the skills that prompts show. The
rows of `gigpo`, `grpo`, `self_imitation` and `siri` (its arm `oracle`) are the study's own runs of this seed.

**One seed: differences below about .1 say nothing.** Over eight seeds, the last five of the study's arm
`siri` go from .475 to .580, those of `gigpo` from .409 to .491. A method without a row was not run.

Plain success on 600 generated games nobody trains on, mean of the last five evaluations and at the end; with
the right skill in the prompt at the end. Flat: groups whose eight rollouts have one return. Change: mean of
|A' − A| / |A|.

"""


def report(folder: Path, seed: int) -> None:
    """Write the table of what is there."""
    found = of_study(seed)
    for path in sorted(folder.glob(f"*-{seed}.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found[run["method"]] = run
    names = [*METHODS]
    names.insert(names.index("skill_sd"), BASE.name)
    rows = [line(found[name]) for name in names if name in found]
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]
    write_atomic(RESULTS, HEAD.format(seed=seed) + "\n".join(table) + "\n")
    print(RESULTS.read_text(encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--out", type=Path, default=Path("runs") / "methods")
    parser.add_argument("--only", nargs="+", choices=RUN, default=list(RUN))
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args(argv)
    if args.what == "report":
        report(args.out, args.seed)
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"{name}-{args.seed}.json"
        if not path.exists():
            found = play(RUN[name], args.seed)
            write_atomic(path, json.dumps(found))
            print(f"{name}: {found['seconds']} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
