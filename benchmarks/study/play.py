"""One run of the study: an arm in a regime with a seed, trained and measured."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import torch

from benchmarks.study.arms import ARMS, Arm
from benchmarks.study.finished import Finished, Row
from benchmarks.study.regimes import REGIMES, Budget, Regime
from siri import build
from siri.config import RunConfig, load_config, parse_config
from siri.config.presets import preset
from siri.curriculum import Curriculum, Iteration, Phase
from siri.policies import HFPolicy
from siri.policies.language import language_of
from siri.protocols import SkillMiner
from siri.rollout.evaluation import evaluate_arms
from siri.rollout.suite import Suite
from siri.skills import PROVEN, ChatMiner, SkillBank, StopAfter
from siri.types import Trajectory

__all__ = ["composed", "configured", "play", "spent", "writer"]

ENDLESS = 1_000_000
"""Iterations of the last phase: every arm ends by its environment steps."""


def play(arm_name: str, regime: str, seed: int, budget: Budget) -> Finished:
    """Carry out one run; rows of its evaluations, its iterations and its skills."""
    torch.set_num_threads(1)
    arm, place = ARMS[arm_name], REGIMES[regime]
    config = configured(arm, place, seed, budget)
    suite = build.suite(place.env, config)
    miner = writer(arm, place, config)
    run = composed(arm, place, suite, config, miner)
    key: dict[str, str | int] = {"arm": arm_name, "regime": regime, "seed": seed}
    measured, training = Measured(run, key, place.split), list[Row]()
    began = time.monotonic()
    tasks = suite.split(place.split)
    parts = [replace(suite, tasks={place.split: tasks[n :: budget.turns]}) for n in range(budget.turns)]
    measured.add(parts[0])
    due = 1
    for iteration in run:
        training.append({**key, **_training_row(iteration)})
        last = run.state.phase is Phase.DONE
        if last or run.state.env_steps >= due * budget.env_steps / budget.points:
            measured.add(suite if last else parts[due % budget.turns], skills=last)
            due = int(run.state.env_steps * budget.points / budget.env_steps) + 1
    if place.also:
        measured.add(suite, place.also, place.also)
    data = os.environ.get("ALFWORLD_DATA")
    if budget.real_games and data:
        real = config.model_copy(update={"env": config.env.model_copy(update={"max_steps": 50})})
        measured.add(build.suite(place.env, real, data=data), "valid_seen", "real")
    finished: Finished = {
        "arm": arm_name,
        "regime": regime,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "evaluations": measured.rows,
        "training": training,
        "skills": _skill_rows(run.bank),
    }
    if isinstance(miner, ChatMiner):
        finished["writer"] = miner.hosted.ledger.spent
    return finished


def configured(arm: Arm, place: Regime, seed: int, budget: Budget) -> RunConfig:
    """The embedded preset, changed by the budget and then by the arm."""
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
    settings["internalization"]["iterations"] = ENDLESS
    config = parse_config(settings)
    return config if arm.method is None else load_config(config, changes=dict(arm.method.settings))


def writer(arm: Arm, place: Regime, config: RunConfig) -> SkillMiner | None:
    """The miner of an arm, in the language of its base."""
    return arm.miner(config, language_of(place.base())) if arm.miner else None


def composed(
    arm: Arm, place: Regime, suite: Suite, config: RunConfig, miner: SkillMiner | None
) -> Curriculum:
    """The run of an arm, from the base of its regime."""
    o, skills = config.optimizer, config.internalization
    # a recipe's own schedule needs the length that environment steps will give
    length = skills.model_copy(update={"iterations": place.iterations})
    parts = arm.parts(config.model_copy(update={"internalization": length}))
    objective = parts.objective or arm.objective(
        clip_low=o.clip_low,
        clip_high=o.clip_high,
        dual_clip=o.dual_clip,
        kl=o.kl,
        entropy=o.entropy,
        floor=skills.floor,
    )
    return Curriculum(
        suite,
        HFPolicy.load(place.base(), slots=config.rollout.slots),
        miner=miner,
        objective=objective,
        validator=arm.validator() if arm.validator else parts.validator,
        retriever=parts.retriever,
        gate=arm.gate or parts.gate,
        hooks=parts.hooks,
        # a run without its writer is not the arm
        on_miner_fault=StopAfter(),
        config=config,
    )


@dataclass
class Measured:
    """Evaluations of a run in training, as rows."""

    run: Curriculum
    key: Mapping[str, str | int]
    split: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self, suite: Suite, split: str | None = None, benchmark: str = "generated", *, skills: bool = False
    ) -> None:
        """Play the tasks of a split once; with ``skills``, with those of the bank in the prompt as well."""
        run, split = self.run, split or self.split
        proven = skills and any(record.status in PROVEN for record in run.bank.records())
        found = evaluate_arms(
            suite,
            run.policy,
            split=split,
            sampling=run.rollout.sampling,
            seed=run.config.seed,
            skills=build.shown_skills(run.bank, run.config) if proven else None,
            keep=len(suite.split(split)) if skills else 0,
        )
        for kind in ("all", *sorted(found["plain"].by_kind)):
            row: dict[str, Any] = {
                **self.key,
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
                if kind == "all" and result.kept:
                    row |= {f"{name}_{what}": value for what, value in _tokens(result.kept).items()}
                    row[f"{name}_episodes"] = [spent(episode) for episode in result.kept]
            self.rows.append(row)


def _tokens(episodes: Sequence[Trajectory]) -> dict[str, float]:
    """What an episode costs at deployment: tokens that the engine reads, those that a cache of prefixes
    leaves to be read, and those that it writes; means over episodes."""
    costs = [[turn.usage for turn in episode.turns if turn.usage] for episode in episodes]
    return {
        "tokens_read": mean(sum(usage.read for usage in turns) for turns in costs),
        "tokens_new": mean(max((usage.read for usage in turns), default=0) for turns in costs),
        "tokens_written": mean(sum(usage.written for usage in turns) for turns in costs),
    }


def spent(episode: Trajectory) -> tuple[int, int, int]:
    """(tokens read and written, the same with a cache of prefixes, won) of one episode."""
    usage = [turn.usage for turn in episode.turns if turn.usage]
    read, written = [each.read for each in usage], sum(each.written for each in usage)
    return sum(read) + written, max(read, default=0) + written, int(episode.success)


def _training_row(iteration: Iteration) -> Row:
    """Metrics of an iteration, and success by kind and arm."""
    by_kind: dict[str, float] = {}
    for kind in sorted({group.task.kind for group in iteration.groups}):
        groups = [group for group in iteration.groups if group.task.kind == kind]
        for side in ("plain", "skill"):
            won = [t.success for group in groups for t in group.arm(side)]
            if won:
                by_kind[f"{side}/{kind}"] = sum(won) / len(won)
        deltas = [
            mean(t.success for t in group.arm("skill")) - mean(t.success for t in group.arm("plain"))
            for group in groups
            if group.arm("skill") and group.arm("plain")
        ]
        if deltas:
            by_kind[f"delta/{kind}"] = mean(deltas)
    return {
        "iteration": iteration.index,
        "phase": iteration.phase.value,
        **iteration.metrics,
        "tokens/sampled": sum(
            len(turn.completion_ids)
            for group in iteration.groups
            for trajectory in group.trajectories
            for turn in trajectory.turns
        ),
        **by_kind,
        "events": list(iteration.events),
    }


def _skill_rows(bank: SkillBank) -> list[Row]:
    return [
        {
            "kind": record.skill.kind,
            "text": record.skill.text,
            "status": record.status.value,
            "utility": record.evidence.utility,
            "uses": record.uses,
        }
        for record in bank.records()
    ]
