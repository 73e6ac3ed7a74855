"""The run directory: what `siri run` writes, and the reference composition behind it.

config.json      the resolved configuration, with where data and policy came from
versions.json    versions of siri, python and the main packages; git commit where there is one
metrics.jsonl    one line per iteration; everything but "time" is fixed by the seed
skills.json      the bank (skills.json.previous: the one before the last iteration)
episodes.jsonl   the episodes that skills came from
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from siri.algos import SiriObjective
from siri.config import RunConfig, ValidationConfig
from siri.curriculum import Curriculum, Iteration, Phase
from siri.curriculum.parts import make_ranking
from siri.errors import CheckpointError, ConfigError
from siri.protocols import SkillMiner
from siri.rollout.evaluation import evaluate
from siri.rollout.suite import Suite
from siri.runs import checkpoint
from siri.skills import PROVEN, SkillBank, SkillRecord, StopAfter
from siri.storage import flush, leftovers, remove_leftovers, write_atomic
from siri.types import Sampling, Skill, SkillStatus, Task, Trajectory

__all__ = ["RunDirectory", "check_splits", "compose", "execute", "shown_skills", "versions"]

_LOCK = ".lock"
_STARTED = r"config\.json|versions\.json"
"""Files that a run begins with, as a pattern of whole names."""
_WRITTEN = rf"{_STARTED}|skills\.json|skills\.json\.previous|metrics\.jsonl|summary\.json|model"
"""What is written aside and renamed into place in the folder of a run; in ``checkpoints``: their numbers."""
_CHECKPOINT = "[0-9]{6,}"
_SMOOTHED = 5
"""Iterations over which the score of a checkpoint is averaged."""
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
        self.episodes = path / "episodes.jsonl"
        self.calls = path / "calls"
        self.summary = path / "summary.json"
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: no other process may train in it. A process that dies lets go.

        Nothing in the folder is touched before it is known to be a run of siri's, or free for a new one.

        Raises:
            ConfigError: another process holds it, it holds something else, or it cannot be written.
        """
        self._refuse_what_is_not_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"got output folder {self.path} that another process trains in, expected a free one; "
                "fix: wait until it ends, or another --out"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            remove_leftovers(self.path, _WRITTEN)
            remove_leftovers(self.checkpoints, _CHECKPOINT)
            yield
        finally:
            lock.release()

    def create(self, description: Mapping[str, Any]) -> None:
        """Start a run here.

        Raises:
            ConfigError: the folder holds a run or something else, is not a folder, or cannot be written.
        """
        self._refuse_what_is_not_ours()
        if self.config.exists():
            raise ConfigError(
                f"got output folder {self.path} that holds a run, expected a new one; "
                "fix: another --out, or --resume to go on"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        write_atomic(self.versions, json.dumps(versions(), indent=1))
        write_atomic(self.config, json.dumps(description, indent=1))

    def _refuse_what_is_not_ours(self) -> None:
        """Pass a folder that is absent, empty, a run of siri's, or one whose start was cut short.

        Raises:
            ConfigError: it is anything else; nothing was written.
        """
        try:
            if not self.path.exists():
                return
            names = {path.name for path in self.path.iterdir()}
        except OSError as error:
            raise self._unwritable(error) from error
        if self.config.name in names:
            self.describe()
            return
        started = {_LOCK, *(path.name for path in leftovers(self.path, _STARTED))}
        if self.versions.name in names:
            self._read(self.versions, ("siri-rl", "python"))
            started.add(self.versions.name)
        if not names <= started:
            raise ConfigError(
                f"got output folder {self.path} that is not empty, expected a new one; fix: --out"
            )

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"got output folder {self.path} that cannot be written ({error.strerror}); fix: --out"
        )

    def describe(self) -> dict[str, Any]:
        """What config.json says.

        Raises:
            ConfigError: there is no run here.
        """
        return self._read(self.config, ("env", "policy", "miner", "data", "config"))

    def results(self) -> dict[str, Any]:
        """What summary.json says.

        Raises:
            ConfigError: the run is not finished, or there is none.
        """
        return self._read(self.summary, ("env_steps", "iterations", "final", "skills"))

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
            "time": {"seconds": round(seconds, 3), **iteration.times},
        }
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            flush(self.metrics)
        except OSError as error:
            raise CheckpointError(
                f"got {error.strerror} while writing {self.metrics}, expected room and permission; fix: free "
                "the disk or its permissions, then go on with --resume"
            ) from error

    def append_episodes(self, episodes: Sequence[Trajectory]) -> None:
        """Keep the episodes that skills came from, in words."""
        if episodes:
            with self.episodes.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(_episode_row(episode)) + "\n" for episode in episodes)

    def read_episodes(self) -> dict[str, dict[str, Any]]:
        """What ``append_episodes`` kept, by id; a line that was cut off is left out."""
        found = {}
        lines = self.episodes.read_text(encoding="utf-8").splitlines() if self.episodes.exists() else []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                found[row["id"]] = row
        return found

    def _read(self, path: Path, needed: Sequence[str]) -> dict[str, Any]:
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"got {self.path} without {path.name} ({error.strerror}), expected a run; fix: its path"
            ) from error
        except ValueError as error:
            raise ConfigError(f"got a damaged {path} ({error}), expected JSON") from error
        missing = [key for key in needed if not isinstance(data, dict) or key not in data]
        if missing:
            raise ConfigError(
                f"got a damaged {path} without {missing[0]!r}, expected what siri wrote; fix: another run"
            )
        found: dict[str, Any] = data
        return found


def check_splits(suite: Suite, config: RunConfig) -> None:
    """Refuse a run that names splits to evaluate of which the suite has none; naming none is a choice.

    Raises:
        ConfigError: none of the splits to evaluate is the suite's.
    """
    splits = config.evaluation.splits
    if splits and not any(split in suite.tasks for split in splits):
        raise ConfigError(
            f"got evaluation.splits={list(splits)}, expected some of {sorted(suite.tasks)}; fix: name one"
        )


def compose(suite: Suite, policy: Any, miner: SkillMiner | None, config: RunConfig) -> Curriculum:
    """The parts of a run, put together as configured.

    Raises:
        ConfigError: none of the splits to evaluate is the suite's.
    """
    check_splits(suite, config)
    o = config.optimizer
    objective = SiriObjective(
        clip_low=o.clip_low,
        clip_high=o.clip_high,
        dual_clip=o.dual_clip,
        kl=o.kl,
        entropy=o.entropy,
        floor=config.internalization.floor,
        token_clip=config.internalization.token_clip,
        ratio=o.ratio,
        aggregation=o.aggregation,
        importance_limit=o.importance_limit,
    )
    limit = config.mining.max_failures
    return Curriculum(
        suite,
        policy,
        miner=miner,
        objective=objective,
        config=config,
        on_miner_fault=None if limit is None else StopAfter(limit),
    )


def execute(
    run: Curriculum,
    directory: RunDirectory,
    *,
    resume: bool = False,
    report: Callable[[Iteration, float], None] = lambda *_: None,
    stage: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
    interrupted: Callable[[], bool] = lambda: False,
    damaged: Callable[[str], None] = lambda _: None,
    profile: bool = False,
) -> dict[str, Any]:
    """Carry a composed run to its end in ``directory``; return its summary.

    Killed at any instant, it goes on from the last checkpoint to the same end.

    Args:
        run: freshly composed; with several processes, in each of them alike. The first one writes.
        directory: created and held (``locked``), or holding checkpoints when ``resume``.
        resume: go on from the newest whole checkpoint.
        report: told of every iteration and its seconds.
        stage: told of every evaluation: its name and result.
        interrupted: asked after every iteration; True saves everything and raises ``KeyboardInterrupt``.
        damaged: told of every checkpoint that was refused when going on.
        profile: write a trace of the first iteration to trace.json, in Chrome's format.
    """
    progress: dict[str, Any] = {"stages": {}, "seconds": 0.0, "due": "base", "recent": []}
    first = run.processes.first

    def newest() -> Path | None:
        found = checkpoint.saved(directory.checkpoints) if resume else []
        return checkpoint.latest(directory.checkpoints, damaged=damaged) if found else None

    path = run.processes.on_first(newest)
    if path is not None:
        progress = checkpoint.restore(run, path)
    if first:
        directory.truncate_metrics(run.state.index)

    def measure() -> None:
        """Evaluate the stage that is due. What is due is in the checkpoint, so a kill only repeats it."""
        if progress["due"] is not None:
            name, began = progress["due"], time.monotonic()
            progress["stages"][name] = _evaluate_stage(run, name)
            progress["seconds"] += time.monotonic() - began
            progress["due"] = None
            if first:
                stage(name, progress["stages"][name])

    def save() -> None:
        if first:
            run.bank.save(directory.skills)
        recent = progress["recent"]
        score = sum(recent) / len(recent) if recent and run.config.checkpoint.best else None
        checkpoint.save(
            run, directory.checkpoints, extra=progress, keep=run.config.checkpoint.keep, score=score
        )

    measure()
    began = time.monotonic()
    for iteration in _profiled(run, directory.path / "trace.json") if profile and first else run:
        seconds = time.monotonic() - began
        progress["seconds"] += seconds
        if first:
            directory.append_metrics(iteration, seconds)
            directory.append_episodes(iteration.mined)
            report(iteration, seconds)
        plain = iteration.metrics.get("arm/plain/success")
        progress["recent"] = [*progress["recent"], *([] if plain is None else [plain])][-_SMOOTHED:]
        if run.state.phase is not iteration.phase:
            progress["due"] = "final" if run.state.phase is Phase.DONE else STAGES[iteration.phase]
        stopping = run.processes.any(interrupted())
        if stopping or progress["due"] is not None or run.state.index % run.config.checkpoint.every == 0:
            save()
        if stopping:
            raise KeyboardInterrupt
        measure()
        began = time.monotonic()
    if first:
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
    if first:
        write_atomic(directory.summary, json.dumps(summary, indent=1))
    return summary


def _profiled(run: Curriculum, path: Path) -> Iterator[Iteration]:
    """The run's iterations; the first of them is traced."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    if run.state.phase is not Phase.DONE:
        with profile(activities=activities) as traced:
            iteration = run.step()
        traced.export_chrome_trace(str(path))
        yield iteration
    yield from run


def shown_skills(
    bank: SkillBank, config: ValidationConfig, statuses: Sequence[SkillStatus] = PROVEN
) -> Callable[[Task], Sequence[Skill]]:
    """The proven skills that a task is shown when the skill arm is measured."""
    ranking, top_k = make_ranking(config), None if config.retrieval == "all" else config.top_k
    records = [record for status in statuses for record in bank.records(status)]
    return lambda task: tuple(record.skill for record in ranking(task, records)[:top_k])


def _evaluate_stage(run: Curriculum, name: str) -> dict[str, Any]:
    """Plain success on every validation split, and the skill arm's where there are proven skills."""
    config = run.config
    sampling = Sampling(temperature=config.evaluation.temperature, max_tokens=config.rollout.max_tokens)
    result: dict[str, Any] = {}
    arms: dict[str, Callable[[Task], Sequence[Skill]] | None] = {"plain": None}
    if name != "base" and any(record.status in PROVEN for record in run.bank.records()):
        arms["skill"] = shown_skills(run.bank, config.validation)
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


def _episode_row(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "id": trajectory.id,
        "task": trajectory.task.id,
        "kind": trajectory.task.kind,
        "goal": trajectory.task.goal,
        "turns": [[turn.observation, turn.action] for turn in trajectory.turns],
    }


def _skill_row(record: SkillRecord) -> dict[str, Any]:
    return {
        "id": record.skill.id,
        "kind": record.skill.kind,
        "text": record.skill.text,
        "status": record.status.value,
        "reason": record.reason,
        "origin": record.skill.origin,
        "utility": record.utility,
        "interval": list(record.interval),
        "uses": record.uses,
    }


def versions() -> dict[str, Any]:
    """Of siri, Python and the main packages; the git commit where there is one."""
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
