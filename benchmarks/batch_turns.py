"""What ``optimizer.batch_turns`` does to the embedded study's cell: short runs on development seeds.

    python -m benchmarks.batch_turns --seeds 100 101      # writes benchmarks/results/batch_turns.md

Each run is the arm ``siri`` of benchmarks.study with fewer environment steps and games. A seed that was
measured before is kept (in ``--runs``), so seeds can be run one after the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.study.arms import ARMS
from benchmarks.study.play import composed, configured, writer
from benchmarks.study.regimes import REGIMES, Budget
from siri import build
from siri.config import load_config
from siri.rollout.evaluation import evaluate_arms
from siri.types import Sampling

RESULT = Path(__file__).parent / "results" / "batch_turns.md"
SETTINGS = (None, 64, 256)


def one(regime: str, seed: int, turns: int | None, budget: Budget) -> dict[str, Any]:
    """Train and measure."""
    arm, place = ARMS["siri"], REGIMES[regime]
    config = configured(arm, place, seed, budget)
    if turns is not None:
        config = load_config(config, changes={"optimizer.batch_turns": turns})
    suite = build.suite(place.env, config)
    run = composed(arm, place, suite, config, writer(arm, place, config))
    found = [dict(iteration.metrics) for iteration in run]
    sampling = Sampling(temperature=1.0, max_tokens=config.rollout.max_tokens)
    slots = config.rollout.slots
    after = evaluate_arms(suite, run.policy, split=place.split, sampling=sampling, seed=seed, slots=slots)
    return {
        "steps": mean(line["learn/steps"] for line in found),
        "training": mean(line["arm/plain/success"] for line in found),
        "after": after["plain"].rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101], help="development seeds: 100 on")
    parser.add_argument("--regime", default="default", choices=("default", "rare"))
    parser.add_argument("--env-steps", type=int, default=12_000)
    parser.add_argument("--games", type=int, default=150)
    parser.add_argument("--runs", type=Path, default=Path("runs") / "batch_turns")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = Budget(options.env_steps, points=1, valid_games=options.games, real_games=False)
    options.runs.mkdir(parents=True, exist_ok=True)
    rows = []
    for turns in SETTINGS:
        found = []
        for seed in options.seeds:
            path = options.runs / f"{options.regime}-{options.env_steps}-{turns}-{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(one(options.regime, seed, turns, budget)), encoding="utf-8")
            found.append(json.loads(path.read_text(encoding="utf-8")))
        cells = [" / ".join(f"{each[name]:.3f}" for each in found) for name in ("training", "after")]
        steps = " / ".join(f"{each['steps']:.0f}" for each in found)
        name = "none (`minibatches: 16`)" if turns is None else f"{turns}"
        rows.append(f"| {name} | {steps} | {cells[0]} | {cells[1]} |")
        print(rows[-1], flush=True)
    text = "\n".join(
        [
            "# Turns per optimizer step",
            "",
            f"`python -m benchmarks.batch_turns`: arm siri, regime {options.regime}, {options.env_steps:,} "
            f"environment steps, seeds {' / '.join(map(str, options.seeds))}; plain success in training, and "
            f"at the end on {options.games} games that nobody trained on (standard error about .04).",
            "",
            "| batch_turns | optimizer steps an iteration | success in training | success at the end |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
