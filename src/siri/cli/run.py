"""`siri run`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siri.cli.app import app, console, given, leave, use_threads
from siri.cli.dry import dry_run, probe_once
from siri.cli.interrupts import Interrupts
from siri.cli.launcher import join_launcher
from siri.cli.show import (
    Remaining,
    go_on,
    header,
    next_steps,
    show_progress,
    skills_table,
    stage_line,
    summary_table,
    whereabouts,
)
from siri.doors import closed
from siri.errors import ConfigError, SiriError
from siri.progress import Bars

if TYPE_CHECKING:
    from siri.curriculum import Iteration
    from siri.runs import Recipe, RunDirectory, StageResult


@app.command()
def run(
    context: typer.Context,
    env: Annotated[
        str, typer.Option(help="Environment: a name of `siri envs`, or module:function.")
    ] = "alfworld",
    policy: Annotated[
        str, typer.Option(help="'tiny', 'smollm2', a model folder, a GGUF file, or a name on the hub.")
    ] = "tiny",
    miner: Annotated[
        str,
        typer.Option(help="Who writes skills: self, openai, file, none (GiGPO), or module:function."),
    ] = "self",
    engine: Annotated[str, typer.Option(help="What samples: hf, vllm, or addresses of vLLM servers.")] = "hf",
    preset: Annotated[
        str | None,
        typer.Option(help="embedded, smoke, pretrained or paper; by default what fits the policy."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file over the preset.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="section.key=value over the file.")] = [],  # noqa: B006
    data: Annotated[
        str | None, typer.Option(help="The benchmark's data folder; without it, tasks are generated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything.")] = None,
    match: Annotated[Path | None, typer.Option(help="Stop at the environment steps of this run.")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run in --out as it was started; its settings stay."),
    ] = False,
    track: Annotated[list[str], typer.Option(help="tensorboard, trackio or wandb; may be given again.")] = [],  # noqa: B006
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check settings, memory, data; train nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No bars, no lines; the table at the end.")] = False,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="With --dry-run: ask writer and server once (it may cost)."),
    ] = False,
    processes: Annotated[int, typer.Option(help="For --dry-run: how many there will be.", min=1)] = 1,
    profile: Annotated[bool, typer.Option("--profile", help="Trace the first iteration.")] = False,
    openai_base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")] = None,
    openai_model: Annotated[str | None, typer.Option(help="Model that writes skills.")] = None,
    skills: Annotated[
        Path | None, typer.Option(help="With --miner file: a bank, JSON or Agent Skills.")
    ] = None,
    validator: Annotated[
        str | None, typer.Option(help="Who proves skills: module:function instead of validation.rule.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="The loss: module:function instead of SIRI's.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--recipe", help="Method (siri recipes), or module:function; by default the preset's."),
    ] = None,
    advice: Annotated[
        Path | None,
        typer.Option(
            help="With --recipe: YAML of words for its teacher by kind of task; or own (its writer)."
        ),
    ] = None,
) -> None:
    """Train. Example: siri run --out runs/first --seed 0"""
    # from the start, because imports alone take several seconds
    bars = context.with_resource(Bars(console, quiet=quiet or os.environ.get("RANK", "0") != "0"))
    bars.say("starting")
    from siri import build
    from siri.config import load_config
    from siri.config.presets import preset as named
    from siri.config.presets import usual_recipe
    from siri.recipes import method as find_method
    from siri.runs import Recipe, RunDirectory, execute, occupied
    from siri.runs.tracking import Trackers, check_trackers
    from siri.training.job import start_processes

    check_trackers(track)
    if resume:
        if out is None:
            raise ConfigError("got --resume without --out, expected the run to continue; fix: --out RUN")
        directory = RunDirectory(out)
        recipe = directory.recipe()
        # a folder may come from a stranger: the user must name its module:function again
        now = {"env": env, "miner": miner, "validator": validator, "objective": objective, "method": method}
        again = {name: value for name, value in now.items() if value == getattr(recipe, name)}
        recipe = recipe.named_again(**{name: again[name] for name in recipe.foreign & again.keys()})
        passed_over = given(
            context,
            besides=("out", "resume", "track", "profile", "dry", "probe", "processes", "quiet", *again),
        )
        if passed_over:
            console.print(f"--resume keeps the settings of {out}; ignored: {', '.join(passed_over)}")
        if directory.summary.exists():
            console.print(f"{out} is finished; see {directory.summary}")
            return
    else:
        changes = list(set_)
        if seed is not None:
            changes.append(f"seed={seed}")
        if match is not None:
            changes.append(f"max_env_steps={RunDirectory(match).results().env_steps}")
        preset = preset or build.usual_preset(policy, env=env)
        base = named(preset, env)
        if miner != "none" and method is None and validator is None and objective is None and advice is None:
            method = usual_recipe(preset, env)
        if method is not None:
            base = load_config(base, changes=find_method(method).settings)
        recipe = Recipe(
            load_config(base, file=config, assignments=changes),
            env=env,
            policy=policy,
            engine=engine,
            miner=miner,
            data=data,
            openai_base_url=openai_base_url,
            openai_model=openai_model,
            skills=None if skills is None else str(skills),
            validator=validator,
            objective=objective,
            method=method,
            advice=None if advice is None else str(advice),
        )
        recipe.check()
        directory = RunDirectory(out or Path("runs") / _name(recipe))
    if probe and not dry:
        raise ConfigError("got --probe without --dry-run, expected both; fix: siri run --dry-run --probe …")
    if dry:
        writer = recipe.make_miner()
        dry_run(recipe, processes)
        if probe:
            probe_once(recipe, writer)
        return
    join_launcher(sys.argv[1:])
    job = start_processes()
    console.quiet = quiet or not job.first
    left = Remaining(recipe.config)
    with ExitStack() as held, Interrupts() as interrupts:
        bars.say("making the games")
        with job.first_goes_ahead():
            suite = recipe.make_suite()
        if not resume:
            build.check_laws(recipe.env, suite)
        recipe = replace(recipe, config=build.fit_splits(suite, recipe.config))
        build.check_splits(suite, recipe.config)
        bars.say("loading the policy")
        agent = recipe.make_policy(suite)
        weights = 0 if agent.model is None else sum(p.numel() for p in agent.model.parameters())
        use_threads(recipe.config.threads, parameters=weights)
        writer = recipe.make_miner(cache=directory.calls)
        held.callback(closed, agent)
        curriculum = recipe.compose(suite, agent, writer, progress=bars)
        held.enter_context(occupied(directory, recipe, resume=resume))
        trackers = Trackers(track if job.first else [], directory.path, recipe.config.model_dump())
        held.callback(trackers.close)

        def report(iteration: Iteration, seconds: float) -> None:
            bound = left.text(iteration, seconds)
            show_progress(iteration, seconds, bound)
            bars.say(*whereabouts(iteration))
            bars.whole(iteration.index + 1, iteration.remaining, bound)
            times = {f"time/{name}": value for name, value in iteration.times.items()}
            figures = {**iteration.metrics, **times, "time/seconds": seconds}
            trackers.log(figures, iteration.index, iteration.kept)

        def measured(name: str, result: StageResult) -> None:
            if len(result):  # nothing is measured without splits
                console.print(stage_line(name, result), soft_wrap=True)
            trackers.stage(name, result)

        named_preset = None if resume else preset
        console.print(header(recipe, suite, directory, preset=named_preset))
        bars.say("continuing" if resume else "measuring the policy before training")
        curriculum.watch.say, curriculum.watch.stuck = console.print, leave
        try:
            summary = execute(
                curriculum,
                directory,
                resume=resume,
                report=report,
                profile=profile,
                stage=measured,
                interrupted=interrupts.requested,
                damaged=lambda message: console.print(f"passed over: {message}"),
                resumed=console.print,
            )
        except KeyboardInterrupt:
            following = go_on(directory.path, recipe)
            console.print(f"stopped; what was done is kept. Continue with: {following}", soft_wrap=True)
            _report(directory, first=job.first)
            raise typer.Exit(130) from None
        trackers.summary(summary)
    bars.say("writing report.html")
    _report(directory, first=job.first)
    bars.close()
    console.quiet = not job.first
    console.print(summary_table(summary, title=str(directory.path)))
    if summary.skills:
        console.print(skills_table(summary.skills))
    else:
        console.print("no skills")
    if not quiet:
        for number, command in enumerate(next_steps(directory.path, recipe, mined=bool(summary.skills))):
            console.print(f"{'next:' if not number else '     '} {command}", soft_wrap=True)


def _report(directory: RunDirectory, *, first: bool) -> None:
    """Write report.html. An error here does not fail the run."""
    from siri.report import write_report
    from siri.runs import Run

    if not first:
        return
    try:
        write_report([Run.open(directory.path)], directory.report)
    except (SiriError, OSError) as error:
        console.print(f"no report.html: {error}")


def _name(recipe: Recipe) -> str:
    """The default name of a run's folder."""
    parts = (recipe.env, recipe.miner, str(recipe.config.seed))
    return "-".join(part.replace(":", ".").replace("/", ".") for part in parts)
