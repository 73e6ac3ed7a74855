"""The run directory: what `siri run` writes, and the reference composition behind it.

config.json      the resolved configuration, with where data and policy came from
versions.json    versions of siri, python and the main packages; git commit where there is one
metrics.jsonl    one line per iteration; everything but "time" is fixed by the seed
skills.json      the bank
checkpoints/     everything needed to go on
model/           the policy, an ordinary transformers checkpoint
summary.json     the table that ends a run
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from siri import checkpoint
from siri.algos import SiriObjective
from siri.checkpoint import write_atomic
from siri.config import RunConfig
from siri.curriculum import Curriculum, Iteration, Phase
from siri.errors import ConfigError
from siri.evaluation import evaluate
from siri.protocols import SkillMiner
from siri.skills import Retriever, SkillBank
from siri.suite import Suite
from siri.types import Sampling, Skill, SkillStatus, Task

__all__ = ["RunDirectory", "compose", "execute", "shown_skills"]

STAGES = {Phase.WARMUP: "warmup", Phase.MINING: "mining", Phase.INTERNALIZATION: "final"}
"""Name in the summary of the policy at the end of each phase."""


class RunDirectory:
    """Paths of one run, and refusal to write over another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.versions = path / "versions.json"
        self.metrics = path / "metrics.jsonl"
        self.skills = path / "skills.json"
        self.summary = path / "summary.json"
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"

    def create(self, description: Mapping[str, Any]) -> None:
        """Start a run here.

        Raises:
            ConfigError: the folder holds a run, is no folder, or cannot be written.
        """
        if self.config.exists():
            raise ConfigError(
                f"got output folder {self.path} that holds a run, expected a new one; "
                "fix: another --out, or --resume to go on"
            )
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ConfigError(
                f"got output folder {self.path} that is not empty, expected a new one; fix: --out"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.versions, json.dumps(_versions(), indent=1))
            write_atomic(self.config, json.dumps(description, indent=1))
        except OSError as error:
            raise ConfigError(
                f"got output folder {self.path} that cannot be written ({error.strerror}); fix: --out"
            ) from error

    def describe(self) -> dict[str, Any]:
        """What config.json says.

        Raises:
            ConfigError: there is no run here.
        """
        return self._read(self.config)

    def results(self) -> dict[str, Any]:
        """What summary.json says.

        Raises:
            ConfigError: the run is not finished, or there is none.
        """
        return self._read(self.summary)

    def truncate_metrics(self, iterations: int) -> None:
        """Drop the lines of iterations that a resumed run will repeat."""
        if self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines()[:iterations]
            write_atomic(self.metrics, "".join(f"{line}\n" for line in lines))

    def append_metrics(self, iteration: Iteration, seconds: float) -> None:
        """Add one line to metrics.jsonl."""
        line = {
            "iteration": iteration.index,
            "phase": iteration.phase.value,
            **dict(sorted(iteration.metrics.items())),
            "events": list(iteration.events),
            "time": {"seconds": round(seconds, 3)},
        }
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"got {self.path} without {path.name} ({error.strerror}), expected a run; fix: its path"
            ) from error
        except ValueError as error:
            raise ConfigError(f"got a damaged {path} ({error}), expected JSON") from error
        return data


def compose(suite: Suite, policy: Any, miner: SkillMiner | None, config: RunConfig) -> Curriculum:
    """The parts of a run, put together as configured."""
    o = config.optimizer
    objective = SiriObjective(
        clip_low=o.clip_low,
        clip_high=o.clip_high,
        dual_clip=o.dual_clip,
        kl=o.kl,
        entropy=o.entropy,
        floor=config.internalization.floor,
    )
    return Curriculum(suite, policy, miner=miner, objective=objective, config=config)


def execute(
    run: Curriculum,
    directory: RunDirectory,
    *,
    resume: bool = False,
    report: Callable[[Iteration, float], None] = lambda *_: None,
    stage: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
) -> dict[str, Any]:
    """Carry a composed run to its end in ``directory``; return its summary.

    After every iteration everything is saved, so an interruption loses at most one.

    Args:
        run: freshly composed.
        directory: created, or holding checkpoints when ``resume``.
        resume: go on from the newest whole checkpoint.
        report: told of every iteration and its seconds.
        stage: told of every evaluation: its name and result.
    """
    progress: dict[str, Any] = {"stages": {}, "seconds": 0.0}
    if resume and directory.checkpoints.is_dir():
        progress = checkpoint.restore(run, checkpoint.latest(directory.checkpoints))
        directory.truncate_metrics(run.state.index)

    def measure(name: str) -> None:
        if name not in progress["stages"]:
            began = time.monotonic()
            progress["stages"][name] = _evaluate_stage(run, name)
            progress["seconds"] += time.monotonic() - began
            stage(name, progress["stages"][name])

    measure("base")
    began = time.monotonic()
    for iteration in run:
        seconds = time.monotonic() - began
        progress["seconds"] += seconds
        directory.append_metrics(iteration, seconds)
        report(iteration, seconds)
        if run.state.phase is not iteration.phase:
            measure("final" if run.state.phase is Phase.DONE else STAGES[iteration.phase])
        run.bank.save(directory.skills)
        checkpoint.save(run, directory.checkpoints, extra=progress)
        began = time.monotonic()
    measure("final")
    run.policy.save(directory.model)
    skills = [_skill_row(record) for record in run.bank.records()]
    summary = {
        "suite": run.suite.name,
        **progress["stages"],
        "iterations": run.state.index,
        "env_steps": run.state.env_steps,
        "seconds": round(progress["seconds"], 1),
        "skills": skills,
    }
    write_atomic(directory.summary, json.dumps(summary, indent=1))
    return summary


def shown_skills(bank: SkillBank, top_k: int) -> Callable[[Task], Sequence[Skill]]:
    """The ACTIVE skills that a task is shown when the skill arm is measured."""
    active = SkillBank()
    for record in bank.records(SkillStatus.ACTIVE):
        active.add(record.skill)
        active.replace(record)
    retriever = Retriever(top_k, candidate_share=0.0)
    return lambda task: retriever.select(active, task)


def _evaluate_stage(run: Curriculum, name: str) -> dict[str, Any]:
    """Plain success on every validation split, and the skill arm's where there are active skills."""
    config = run.config
    sampling = Sampling(temperature=config.evaluation.temperature, max_tokens=config.rollout.max_tokens)
    result: dict[str, Any] = {}
    arms: dict[str, Callable[[Task], Sequence[Skill]] | None] = {"plain": None}
    if name != "base" and run.bank.records(SkillStatus.ACTIVE):
        arms["skill"] = shown_skills(run.bank, config.validation.top_k)
    for split in config.evaluation.splits:
        if split not in run.suite.tasks:
            continue
        for arm, skills in arms.items():
            found = evaluate(
                run.suite,
                run.policy,
                split=split,
                sampling=sampling,
                seed=config.seed,
                slots=config.rollout.slots,
                skills=skills,
            )
            result.setdefault(split, {})[arm] = found.rate
            details = {"n": found.n, "interval": list(found.interval), "by_kind": found.to_json()["by_kind"]}
            if found.task_score is not None:
                details["task_score"] = found.task_score
            result[split][f"{arm}_details"] = details
            if arm == "plain":
                result[split] |= {key: value for key, value in details.items() if key != "by_kind"}
    return result


def _skill_row(record: Any) -> dict[str, Any]:
    return {
        "id": record.skill.id,
        "kind": record.skill.kind,
        "text": record.skill.text,
        "status": record.status.value,
        "utility": record.utility,
        "interval": list(record.interval),
        "uses": record.uses,
    }


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("siri-rl", "torch", "transformers", "accelerate", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=os.path.dirname(__file__),
            capture_output=True,
            text=True,
            check=False,
        )
        found["git_commit"] = answer.stdout.strip() or None
    except OSError:
        found["git_commit"] = None
    return found
