"""One seed of GiGPO and of SIRI in each world with an embedded policy, next to the base they start from.

    python benchmarks/worlds.py --worlds tools                  # trains what runs/worlds lacks; minutes a run
    python benchmarks/worlds.py --worlds tools textcraft --write  # and writes benchmarks/results/worlds.md

The presets are those of ``siri run --env NAME``. GiGPO is given as many environment steps as SIRI took. One
seed is no comparison: intervals are those of the tasks alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import siri
from siri.rollout.evaluation import Evaluation
from siri.runs.records import StageResult

RESULT = Path(__file__).parent / "results" / "worlds.md"
HEAD = (
    "| world | policy | split | success, plain prompt | 95 % interval of the tasks | n | steps | minutes |\n"
    "|---|---|---|---|---|---|---|---|"
)


def run_of(world: str, method: str, folder: Path, *, steps: int | None = None, seed: int = 0) -> siri.Run:
    """The run of a method, trained where it is not there yet."""
    path = folder / f"{world}-{method}-{seed}"
    if path.exists():
        found = siri.Run.open(path)
        return found if found.state == "finished" else siri.train(out=path, resume=True)
    config: dict[str, object] = {"seed": seed}
    if steps is not None:
        config["max_env_steps"] = steps
    miner = "none" if method == "gigpo" else "self"
    return siri.train(world, out=path, config=config, recipe=method, miner=miner)


def rows(world: str, folder: Path, seed: int) -> list[str]:
    """Lines of the table: the base, GiGPO and SIRI."""
    mined = run_of(world, "siri", folder, seed=seed)
    other = run_of(world, "gigpo", folder, steps=mined.summary.env_steps, seed=seed)
    lines = []
    for name, run, stage in (("base", mined, "base"), ("GiGPO", other, "final"), ("SIRI", mined, "final")):
        measured: StageResult = run.summary.stages[stage]
        trained = name != "base"
        steps = f"{run.summary.env_steps:,}" if trained else ""
        minutes = f"{run.summary.seconds / 60:.1f}" if trained else ""
        for split in measured:
            found: Evaluation = measured[split]["plain"]
            low, high = found.interval
            lines.append(
                f"| {world} | {name} | {split} | {found.rate:.2f} | {low:.2f} to {high:.2f} | {found.n} "
                f"| {steps} | {minutes} |"
            )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", default=["tools"])
    parser.add_argument("--runs", type=Path, default=Path("runs/worlds"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT}")
    arguments = parser.parse_args()
    table = [line for world in arguments.worlds for line in rows(world, arguments.runs, arguments.seed)]
    text = "\n".join([HEAD, *table, ""])
    print(text)
    if arguments.write:
        made = " ".join(arguments.worlds)
        title = f"# Worlds\n\nMade by `benchmarks/worlds.py --worlds {made}`, seed {arguments.seed}.\n\n"
        RESULT.write_text(title + text, encoding="utf-8")


if __name__ == "__main__":
    main()
