"""A whole run in one call: ``siri.train``, and ``siri.stream`` to follow it. Neither prints to stdout."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from siri import build, doors
from siri.config import RunConfig, load_config
from siri.config.presets import preset as named
from siri.counting import counted
from siri.curriculum import Iteration
from siri.plaintext import clean
from siri.progress import Bars
from siri.protocols import Objective, Progress, SkillMiner, TrainablePolicy, Validator
from siri.recipes import method
from siri.rollout.suite import Suite
from siri.runs.directory import RunDirectory
from siri.runs.execute import iterations, occupied
from siri.runs.records import IN_PYTHON, Recipe, Summary
from siri.runs.run import Run
from siri.training.job import start_processes

__all__ = ["stream", "train"]


def train(
    suite: Suite | str = "alfworld",
    *,
    policy: TrainablePolicy | str = "tiny",
    miner: SkillMiner | str | None = "self",
    out: str | os.PathLike[str],
    preset: str | None = None,
    config: RunConfig | Mapping[str, Any] | None = None,
    validator: Validator | str | None = None,
    objective: Objective | str | None = None,
    engine: str = "hf",
    data: str | os.PathLike[str] | None = None,
    recipe: str | None = None,
    advice: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Run:
    """Train to the end, and return the run.

    Args:
        suite: the benchmark: a ``Suite``, ``"alfworld"``, ``"webshop"``, or a plug-in's name
            (``siri.plugins``).
        policy: the policy to train: an object, ``"tiny"`` (the embedded policy), a model folder, or a name on
            the Hub.
        miner: writes skills: an object, ``"self"``, ``"none"`` or None (GiGPO alone), or a plug-in's name.
        out: the run directory; a new one unless ``resume``.
        preset: settings to begin with: embedded, smoke, pretrained or paper. None chooses the one that fits a
            policy given by name, and embedded for an object.
        config: changes of the preset by section (``{"rollout": {"tasks": 4}}``) or by dotted name
            (``{"rollout.tasks": 4}``); or a whole configuration, which replaces the preset.
        validator: proves skills; None means the one that ``config.validation.rule`` names.
        objective: the loss; None means SIRI's (``siri.objective(config)``).
        engine: the engine that samples: hf, vllm, or the address of a vLLM server.
        data: the benchmark's data folder; without it, tasks are generated.
        recipe: a method, from ``siri.recipes`` or as ``module:function``; None means SIRI with its phases, or
            GiGPO without a miner (``siri run`` may take another by default). Its settings override the
            preset, and ``config`` overrides both; a whole configuration is not changed.
        advice: YAML file with advice for the recipe's teacher by kind of task, which replaces a miner's
            skills; or ``"own"``: the advice of the recipe's own writer, which asks ``miner`` (grsd, opid).
        resume: continue the run in ``out`` with the settings it was started with. Parts that were objects
            must be given again. A finished run is returned unchanged.
        progress: show bars on a terminal or in a notebook, and write a line for every iteration to stderr.

    Raises:
        ConfigError: an argument is wrong, or the folder is not free.
    """
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    bars = Bars(console, quiet=not progress)
    steps = stream(
        suite,
        policy=policy,
        miner=miner,
        out=out,
        preset=preset,
        config=config,
        validator=validator,
        objective=objective,
        engine=engine,
        data=data,
        recipe=recipe,
        advice=advice,
        resume=resume,
        progress=bars,
        notice=lambda words: console.print(clean(words), soft_wrap=True) if progress else None,
    )
    with bars:
        bars.say(beginning := "making suite and policy, then measuring it")
        if progress and not bars.shown:
            console.print(beginning)
        began = time.monotonic()
        for iteration in steps:
            bars.say(f"{iteration.phase.value}, {counted(iteration.index + 1, 'iteration')} done")
            bars.whole(iteration.index + 1, iteration.remaining)
            if progress:
                # printed above the bars, which a plain write to stderr would break
                took = time.monotonic() - began
                said = [f"{iteration.line}  {took:.1f} s", *(f"    {clean(event)}" for event in iteration.events)]
                console.print("\n".join(said), soft_wrap=True)
            began = time.monotonic()
    given = suite if isinstance(suite, Suite) else None
    return Run.open(out, suite=given)


def stream(
    suite: Suite | str = "alfworld",
    *,
    policy: TrainablePolicy | str = "tiny",
    miner: SkillMiner | str | None = "self",
    out: str | os.PathLike[str],
    preset: str | None = None,
    config: RunConfig | Mapping[str, Any] | None = None,
    validator: Validator | str | None = None,
    objective: Objective | str | None = None,
    engine: str = "hf",
    data: str | os.PathLike[str] | None = None,
    recipe: str | None = None,
    advice: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Generator[Iteration, None, Summary]:
    """``train`` as an iterator: yield every iteration when it is written.

    Leaving the loop early saves the finished iterations; ``resume=True`` continues the run. ``progress``
    shows how far each part of an iteration is. ``notice`` gets a sentence that says where a run resumes, and
    one for each checkpoint that was passed over.
    """
    directory = RunDirectory(Path(out))
    if resume:
        made = directory.recipe()
    else:
        directory.refuse_taken()
        made = Recipe(
            _settings(suite, policy, preset, config, recipe),
            env=_name(suite),
            policy=_name(policy),
            engine=engine,
            miner="none" if miner is None else _name(miner),
            data=None if data is None else os.fspath(data),
            validator=None if validator is None else _name(validator),
            objective=None if objective is None else _name(objective),
            method=recipe,
            advice=None if advice is None else os.fspath(advice),
        )
    given = _Given(
        suite=None if isinstance(suite, str) else suite,
        policy=None if isinstance(policy, str) else policy,
        miner=None if isinstance(miner, str) else miner,
        validator=None if isinstance(validator, str) else validator,
        objective=None if isinstance(objective, str) else objective,
    )
    if not resume:
        made.check(given.miner, policy=given.policy)
    if given.suite is not None:
        made = replace(made, config=build.fit_splits(given.suite, made.config))
        build.check_splits(given.suite, made.config)
    return _carried_out(directory, made, given, resume=resume, progress=progress, notice=notice)


class _Given(NamedTuple):
    """The parts that are objects; None for a part given by name."""

    suite: Suite | None
    policy: TrainablePolicy | None
    miner: SkillMiner | None
    validator: Validator | None
    objective: Objective | None


def _carried_out(
    directory: RunDirectory,
    recipe: Recipe,
    given: _Given,
    *,
    resume: bool,
    progress: Progress | None,
    notice: Callable[[str], None],
) -> Generator[Iteration, None, Summary]:
    if resume and directory.summary.exists():
        return directory.results()
    with start_processes().first_goes_ahead():
        suite = given.suite or recipe.make_suite()
    if given.suite is None and not resume:
        build.check_laws(recipe.env, suite)
    recipe = replace(recipe, config=build.fit_splits(suite, recipe.config))
    build.check_splits(suite, recipe.config)
    with ExitStack() as held:
        policy = given.policy
        if policy is None:
            policy = recipe.make_policy(suite)
            held.callback(doors.closed, policy)
        miner = given.miner or recipe.make_miner(policy=given.policy, cache=directory.calls)
        run = recipe.compose(
            suite,
            policy,
            miner,
            objective=given.objective,
            validator=given.validator,
            progress=progress,
        )
        held.enter_context(occupied(directory, recipe, resume=resume))
        return (yield from iterations(run, directory, resume=resume, damaged=notice, resumed=notice))


def _settings(
    suite: Suite | str,
    policy: TrainablePolicy | str,
    preset: str | None,
    config: RunConfig | Mapping[str, Any] | None,
    recipe: str | None,
) -> RunConfig:
    """The preset with the changes of the recipe and of the caller; a whole configuration is not changed."""
    if isinstance(config, RunConfig):
        return config
    env = suite if isinstance(suite, str) else "alfworld"
    if preset is None:
        preset = build.usual_preset(policy, env=env) if isinstance(policy, str) else "embedded"
    base = named(preset, env)
    if recipe is not None:
        base = load_config(base, changes=method(recipe).settings)
    return load_config(base, changes=config)


def _name(part: object) -> str:
    """The name of a part in config.json: its own, or that of its class for an object."""
    return part if isinstance(part, str) else f"{IN_PYTHON}{doors.name_of(part)}"
