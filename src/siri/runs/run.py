"""Opening a run, finished or not: its numbers, skills, episodes and parts."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from siri import build
from siri.build import shown_skills
from siri.config import RunConfig
from siri.counting import counted
from siri.curriculum import Phase
from siri.errors import CheckpointError, ConfigError
from siri.protocols import Policy, Progress, TrainablePolicy
from siri.rollout.evaluation import Evaluation, Repeated, repeat_evaluation
from siri.rollout.suite import Suite
from siri.runs import checkpoint
from siri.runs.columns import Columns, Curve
from siri.runs.directory import RunDirectory
from siri.runs.keeping import read_rollouts
from siri.runs.records import STAGES, EpisodeRow, Recipe, StageResult, Summary, skill_row
from siri.runs.rollouts import EvaluationRow, GroupRow, KeptEpisode, ReplayRow
from siri.skills import PROVEN, SkillBank, SkillRecord, import_skills
from siri.types import Arm, Sampling, SkillStatus

__all__ = ["Columns", "Curve", "Run"]

State = Literal["finished", "running", "interrupted"]


class Run:
    """A run directory, opened.

    Files are read when they are needed. So a run that is still training can be opened too, and shows what it
    has written so far. The same holds for an interrupted run, and for runs of version 0.1.0.

    Args:
        path: the run directory.
        suite: the benchmark, for a run whose suite was an object in Python.
        policy: the policy that the run began with, if that was an object in Python.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        suite: Suite | None = None,
        policy: TrainablePolicy | None = None,
    ) -> None:
        self.directory = RunDirectory(Path(path))
        self.recipe: Recipe = self.directory.recipe()
        self._suite, self._policy = suite, policy

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        suite: Suite | None = None,
        policy: TrainablePolicy | None = None,
    ) -> Run:
        """Open the run at ``path``.

        Raises:
            ConfigError: ``path`` holds no run, or one whose settings this version cannot read.
        """
        return cls(path, suite=suite, policy=policy)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def config(self) -> RunConfig:
        """All settings of the run."""
        return self.recipe.config

    @property
    def versions(self) -> dict[str, str]:
        """The versions it was started with: siri, Python and packages; the git commit if there was one.

        Empty where versions.json is missing or damaged.
        """
        try:
            data = json.loads(self.directory.versions.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        known = data.items() if isinstance(data, dict) else ()
        return {str(name): str(value) for name, value in known if value is not None}

    @property
    def state(self) -> State:
        """Finished, running (a process has its folder locked now) or interrupted."""
        if self.directory.summary.exists():
            return "finished"
        return "running" if self.directory.held() else "interrupted"

    @property
    def phase(self) -> Phase:
        """The phase of the run; for an unfinished one, that of its last iteration."""
        if self.directory.summary.exists():
            return Phase.DONE
        rows = self.directory.read_metrics()
        try:
            return Phase(rows[-1]["phase"]) if rows else Phase.WARMUP
        except ValueError as error:
            raise ConfigError(
                f"got a damaged {self.directory.metrics} ({error}), expected a phase; fix: restore it"
            ) from error

    @property
    def metrics(self) -> Columns:
        """The content of metrics.jsonl as columns (docs/reference/metrics.md), including ``"time/…"``."""
        return Columns([_flat(row) for row in self.directory.read_metrics()])

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phase of every iteration."""
        return tuple(Phase(row["phase"]) for row in self.directory.read_metrics())

    @property
    def events(self) -> tuple[tuple[int, str], ...]:
        """(iteration, what happened), in order."""
        rows = self.directory.read_metrics()
        return tuple((row["iteration"], text) for row in rows for text in row.get("events", ()))

    def curve(self, name: str, *, x: str = "env/total_steps") -> Curve:
        """One metric where it has a value, over another one (by default environment steps).

        Raises:
            KeyError: no iteration has the metric.
        """
        metrics = self.metrics
        points = [(a, b) for a, b in zip(metrics[x], metrics[name], strict=True) if not (math.isnan(a + b))]
        return Curve(tuple(a for a, _ in points), tuple(b for _, b in points))

    @property
    def skills(self) -> SkillBank:
        """The bank, with all evidence; empty before the first checkpoint."""
        if not self.directory.skills.exists():
            return SkillBank()
        return import_skills(self.directory.skills)

    def skill(self, name: str) -> SkillRecord:
        """Find the skill whose id begins with ``name``.

        Raises:
            ConfigError: there is none, or more than one.
        """
        return find_skill(self.skills, name)

    @property
    def groups(self) -> tuple[GroupRow, ...]:
        """The groups of training that were kept whole, in order (``config.episodes``)."""
        return tuple(row for row in read_rollouts(self.directory.rollouts) if isinstance(row, GroupRow))

    @property
    def evaluations(self) -> tuple[EvaluationRow, ...]:
        """Every evaluation so far: each task's outcome, and some episodes."""
        return tuple(row for row in read_rollouts(self.directory.rollouts) if isinstance(row, EvaluationRow))

    @property
    def replays(self) -> tuple[ReplayRow, ...]:
        """The wins of earlier iterations that iterations distilled again."""
        return tuple(row for row in read_rollouts(self.directory.rollouts) if isinstance(row, ReplayRow))

    def episodes(
        self,
        *,
        skill: str | None = None,
        kind: str | None = None,
        arm: Arm | None = None,
        success: bool | None = None,
        iteration: int | None = None,
        stage: str | None = None,
    ) -> tuple[KeptEpisode, ...]:
        """Find the kept episodes of training and evaluation that match all given arguments.

        Args:
            skill: a skill that was shown; the beginning of its id.
            kind: the kind of task.
            arm: ``"plain"`` or ``"skill"``.
            success: whether the episode succeeded.
            iteration: an iteration of training.
            stage: a stage of evaluation (``siri.runs.records.STAGES``).
        """
        wanted = None if skill is None else self.skill(skill).skill.id
        return tuple(
            episode
            for row in read_rollouts(self.directory.rollouts)
            if not isinstance(row, ReplayRow)
            for episode in row.episodes
            if (wanted is None or wanted in episode.skills)
            and kind in (None, episode.task.kind)
            and arm in (None, episode.arm)
            and success in (None, episode.success)
            and iteration in (None, episode.iteration)
            and stage in (None, episode.stage)
        )

    def sources(self, *, skill: str | None = None, kind: str | None = None) -> tuple[EpisodeRow, ...]:
        """Find the episodes that skills were mined from.

        Args:
            skill: only the sources of this skill; the beginning of its id.
            kind: only episodes of this kind of task.
        """
        rows = self.directory.read_episodes()
        names = rows if skill is None else self.skill(skill).skill.sources
        found = [rows[name] for name in names if name in rows]
        return tuple(row for row in found if kind is None or row.kind == kind)

    @property
    def summary(self) -> Summary:
        """The table at the end of a run; for an unfinished run, from its newest checkpoint.

        Raises:
            ConfigError: summary.json is damaged.
        """
        if self.directory.summary.exists():
            return self.directory.results()
        rows = self.directory.read_metrics()
        path = self._checkpoint()
        extra = checkpoint.progress_of(path) if path is not None else {}
        stages = extra.get("stages", {})
        return Summary(
            suite=self.recipe.env if self._suite is None else self._suite.name,
            # rollouts.jsonl has the evaluations after the newest checkpoint
            stages=_measured(self.evaluations) | _stages(stages, self.path),
            iterations=len(rows),
            env_steps=int(rows[-1]["env/total_steps"]) if rows else 0,
            seconds=round(sum(row.get("time", {}).get("seconds", 0.0) for row in rows), 1),
            skills=tuple(skill_row(record) for record in self.skills.records()),
        )

    def suite(self) -> Suite:
        """Make the benchmark again.

        Raises:
            ConfigError: it was an object in Python; use ``Run.open(path, suite=...)``.
        """
        return self._made_suite

    @cached_property
    def _made_suite(self) -> Suite:
        return self.recipe.make_suite() if self._suite is None else self._suite

    def policy(self) -> TrainablePolicy:
        """Load the newest policy: RUN/model if the run is finished, else the last intact checkpoint.

        Raises:
            ConfigError: it cannot be loaded.
            CheckpointError: no checkpoint is intact.
        """
        if self.directory.model.is_dir():
            return build.policy(str(self.directory.model), self.config, env=self.recipe.env)
        base = self.recipe.make_policy(self.suite()) if self._policy is None else self._policy
        path = self._checkpoint()
        if path is not None:
            checkpoint.load_policy(base, path, self.config)
        return base

    def evaluate(
        self,
        split: str | None = None,
        *,
        seeds: int = 1,
        skills: bool | SkillBank = False,
        temperature: float | None = None,
        policy: Policy | None = None,
        limit: int | None = None,
        keep: int = 0,
        progress: Progress | None = None,
    ) -> Repeated:
        """Play every task of ``split`` with each of ``seeds`` seeds, the run's own first.

        With one seed and no other argument, this reproduces the figures of a finished run.

        Args:
            split: a split; by default the first of ``config.evaluation.splits`` that exists.
            seeds: number of seeds.
            skills: show the proven skills of this run (True) or of another bank; False means plain prompts.
            temperature: temperature of sampling, 0 is greedy; by default the configured one.
            policy: the policy; by default that of the run.
            limit: play only this many tasks, spread evenly over the split.
            keep: number of whole episodes to return for each seed (``Repeated.each[0].kept``).
            progress: shows the progress.

        Raises:
            ConfigError: there is no such split, no seed, or no proven skill to show.
        """
        config, suite = self.config, self.suite()
        if split is None:
            split = next((s for s in config.evaluation.splits if s in suite.tasks), "train")
        if seeds < 1:
            raise ConfigError(f"got seeds={seeds}, expected at least 1; fix: raise it")
        suite.split(split)  # refuses an unknown split before the policy is loaded
        shown = None
        if skills is not False:
            bank = self.skills if skills is True else skills
            refuse_unproven(bank, str(self.path))
            shown = shown_skills(bank, config)
        heat = config.evaluation.temperature if temperature is None else temperature
        return repeat_evaluation(
            suite,
            self._loaded_policy if policy is None else policy,
            split=split,
            sampling=Sampling(temperature=heat, max_tokens=config.rollout.max_tokens),
            seeds=range(config.seed, config.seed + seeds),
            slots=config.rollout.slots,
            skills=shown,
            progress=progress,
            keep=keep,
            limit=limit,
        )

    @cached_property
    def _loaded_policy(self) -> TrainablePolicy:
        return self.policy()

    def _checkpoint(self) -> Path | None:
        """The newest intact checkpoint; None where there is none yet."""
        if not checkpoint.saved(self.directory.checkpoints):
            return None
        return checkpoint.latest(self.directory.checkpoints)

    def __repr__(self) -> str:
        try:
            summary = self.summary
        except (ConfigError, CheckpointError) as error:
            return f"Run({str(self.path)!r}: {error})"
        proven = sum(row["status"] in {status.value for status in PROVEN} for row in summary.skills)
        words = [
            self.state,
            counted(summary.iterations, "iteration"),
            counted(summary.env_steps, "environment step"),
        ]
        for last in list(summary.stages.values())[-1:]:
            words += [f"plain {last[split]['plain'].rate:.3f} on {split}" for split in last]
        return f"Run({str(self.path)!r}: {', '.join(words)}, {counted(proven, 'proven skill')})"


def find_skill(bank: SkillBank, name: str) -> SkillRecord:
    """Find the skill of ``bank`` whose id begins with ``name``.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = [record for record in bank.records() if record.skill.id.startswith(name)]
    if len(found) != 1:
        known = [record.skill.id[:16] for record in found or bank.records()]
        some = ", ".join(known[:6]) or "none"
        raise ConfigError(
            f"got skill {name[:40]!r}, expected the beginning of one id; fix: one of {len(known)}: {some}"
            f"{', …' if len(known) > 6 else ''}"
        )
    return found[0]


def refuse_unproven(bank: SkillBank, source: str, statuses: Sequence[SkillStatus] = PROVEN) -> None:
    """Refuse a bank that has no skill to show.

    Raises:
        ConfigError: no skill has one of ``statuses``.
    """
    if not any(record.status in statuses for record in bank.records()):
        raise ConfigError(f"got no proven skill in {source}, expected at least one; fix: another bank")


def _measured(rows: Sequence[EvaluationRow]) -> dict[str, StageResult]:
    """The stages of a run that rollouts.jsonl has, in order."""
    found: dict[str, dict[str, dict[str, Evaluation]]] = {}
    for row in rows:
        kinds: dict[str, tuple[int, int]] = {}
        for outcome in row.outcomes:
            won, n = kinds.get(outcome.kind, (0, 0))
            kinds[outcome.kind] = (won + outcome.success, n + 1)
        won, n = sum(outcome.success for outcome in row.outcomes), len(row.outcomes)
        measured = Evaluation(won, n, 0, kinds, outcomes=row.outcomes)
        found.setdefault(row.stage, {}).setdefault(row.split, {})[row.arm] = measured
    whole = {name: split for name, split in found.items() if all("plain" in arms for arms in split.values())}
    return {name: StageResult(whole[name]) for name in STAGES if name in whole}


def _stages(found: Any, path: Path) -> dict[str, StageResult]:
    """Read the stages in a checkpoint.

    Raises:
        CheckpointError: they have another form.
    """
    try:
        return {name: StageResult.from_json(stage) for name, stage in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"got a checkpoint in {path} with damaged stages ({type(error).__name__}), expected what siri "
            "wrote; fix: remove it, so that the one before it is taken"
        ) from error


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    times = {f"time/{name}": value for name, value in row.get("time", {}).items()}
    return {key: value for key, value in row.items() if key != "time"} | times
