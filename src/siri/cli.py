"""The command line: a reference composition of the library's parts. Only this file prints and exits."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from siri.errors import ConfigError, SiriError

app = typer.Typer(
    help="SIRI: self-internalizing reinforcement learning with intrinsic skills.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_STAGES = {"base": "base", "warmup": "end of warm-up", "mining": "end of phase 1", "final": "final"}


@app.callback()
def _root() -> None:
    """SIRI: self-internalizing reinforcement learning with intrinsic skills."""


def _suite(config: Any, env: str, data: str | None) -> Any:
    if env != "alfworld":
        raise ConfigError(f"got --env {env!r}, expected 'alfworld'; fix: choose it")
    from siri.envs.alfworld import alfworld_suite

    e = config.env
    return alfworld_suite(
        data,
        max_steps=e.max_steps,
        style=e.style,
        history=e.history,
        train_games=e.train_games,
        valid_games=e.valid_games,
        scale=e.scale,
        seed=e.games_seed,
        kinds=e.kinds,
    )


def _policy(name: str, slots: int) -> Any:
    import torch
    from transformers.utils import logging

    from siri.policies import HFPolicy
    from siri.policies.tiny import base_path

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    path: str | Path = base_path() if name == "tiny" else name
    local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if local and not Path(name).is_dir():
        raise ConfigError(f"got model folder {name!r} that does not exist; fix: its path")
    try:
        return HFPolicy.load(path, slots=slots)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"got policy {name!r} that cannot be loaded ({first}); fix: its path") from error


def _miner(name: str, policy: str, config: Any, base_url: str | None, model: str | None) -> Any:
    from siri.skills import ChatMiner, SelfMiner

    if name == "none":
        return None
    if name == "self":
        if policy == "tiny" or config.env.style == "transcript":
            miner = SelfMiner.tiny(seed=config.seed)
            miner.max_skills = config.mining.max_skills
            return miner
        return SelfMiner(max_skills=config.mining.max_skills, seed=config.seed)
    if name == "openai":
        if model is None:
            raise ConfigError("got --miner openai without a model; fix: --openai-model NAME")
        return ChatMiner(model, base_url=base_url, max_skills=config.mining.max_skills, seed=config.seed)
    raise ConfigError(f"got --miner {name!r}, expected 'self', 'openai' or 'none'; fix: choose one")


@app.command()
def run(
    env: Annotated[str, typer.Option(help="Benchmark.")] = "alfworld",
    policy: Annotated[str, typer.Option(help="'tiny', a model folder, or a name on the hub.")] = "tiny",
    miner: Annotated[str, typer.Option(help="Who writes skills: self, openai or none (GiGPO).")] = "self",
    preset: Annotated[str, typer.Option(help="embedded, smoke or alfworld-paper.")] = "embedded",
    config: Annotated[Path | None, typer.Option(help="YAML file over the preset.")] = None,
    set_: Annotated[list[str], typer.Option("--set", help="section.key=value over the file.")] = [],  # noqa: B006
    data: Annotated[
        str | None, typer.Option(help="ALFWorld's data folder; games are generated without.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything.")] = None,
    match: Annotated[Path | None, typer.Option(help="Stop at the environment steps of this run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    openai_base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint.")] = None,
    openai_model: Annotated[str | None, typer.Option(help="Model that writes skills.")] = None,
) -> None:
    """Train. Example: siri run --out runs/first --seed 0"""
    from siri.config import load_config, parse_config
    from siri.config import preset as named
    from siri.runs import RunDirectory, compose, execute

    if resume:
        if out is None:
            raise ConfigError("got --resume without --out, expected the run to go on with; fix: --out RUN")
        directory = RunDirectory(out)
        described = directory.describe()
        settings = parse_config(described["config"])
        env, policy, miner, data = (described[key] for key in ("env", "policy", "miner", "data"))
        openai_base_url, openai_model = described["openai_base_url"], described["openai_model"]
        if directory.summary.exists():
            console.print(f"{out} is finished; see {directory.summary}")
            return
    else:
        changes = list(set_)
        if seed is not None:
            changes.append(f"seed={seed}")
        if match is not None:
            changes.append(f"max_env_steps={RunDirectory(match).results()['env_steps']}")
        settings = load_config(named(preset), file=config, assignments=changes)
        directory = RunDirectory(out or Path("runs") / f"{env}-{miner}-{settings.seed}")
    suite = _suite(settings, env, data)
    agent = _policy(policy, settings.rollout.slots)
    writer = _miner(miner, policy, settings, openai_base_url, openai_model)
    if not resume:
        directory.create(
            {
                "env": env,
                "policy": policy,
                "miner": miner,
                "data": os.path.abspath(data) if data is not None else None,
                "openai_base_url": openai_base_url,
                "openai_model": openai_model,
                "config": settings.model_dump(),
            }
        )
    previous = signal.signal(signal.SIGTERM, _interrupt)
    left = _Remaining(settings, miner)
    try:
        summary = execute(
            compose(suite, agent, writer, settings),
            directory,
            resume=resume,
            report=lambda iteration, seconds: _progress(iteration, seconds, left),
            stage=lambda name, result: console.print(_stage_line(name, result)),
        )
    except KeyboardInterrupt:
        console.print(f"stopped; what was done is kept. Go on with: siri run --resume --out {directory.path}")
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
    console.print(_summary_table(summary, title=str(directory.path)))
    active = [s for s in summary["skills"] if s["status"] == "active"]
    console.print(f"{len(active)} active skills" + (":" if active else ""))
    for skill in active:
        console.print(f"  {escape(skill['text'])}  (u = {skill['utility']:+.2f}, {skill['uses']} groups)")


@app.command("eval")
def evaluate_(
    model: Annotated[str, typer.Argument(help="Model folder (RUN/model), 'tiny', or a name on the hub.")],
    data: Annotated[str | None, typer.Option(help="ALFWorld's data folder.")] = None,
    split: Annotated[list[str], typer.Option(help="Split; may be given again.")] = [],  # noqa: B006
    preset: Annotated[str, typer.Option(help="Settings for a model that is not in a run.")] = "embedded",
    set_: Annotated[list[str], typer.Option("--set", help="section.key=value.")] = [],  # noqa: B006
    greedy: Annotated[bool, typer.Option("--greedy", help="Temperature 0.")] = False,
    seed: Annotated[int | None, typer.Option(help="Sampling seed; by default that of the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a policy under the plain prompt. Example: siri eval runs/first/model --split valid_unseen"""
    from siri.config import load_config, parse_config
    from siri.config import preset as named
    from siri.evaluation import evaluate
    from siri.runs import RunDirectory
    from siri.types import Sampling

    run_folder = RunDirectory(Path(model).parent)
    env = "alfworld"
    if Path(model).is_dir() and run_folder.config.exists():
        described = run_folder.describe()
        env, base = described["env"], parse_config(described["config"])
        data = described["data"] if data is None else data
    else:
        base = named(preset)
    settings = load_config(base, assignments=set_)
    suite = _suite(settings, env, data)
    agent = _policy(model, settings.rollout.slots)
    temperature = 0.0 if greedy else settings.evaluation.temperature
    sampling = Sampling(temperature=temperature, max_tokens=settings.rollout.max_tokens)
    found = {}
    for name in split or [s for s in settings.evaluation.splits if s in suite.tasks]:
        result = evaluate(
            suite,
            agent,
            split=name,
            sampling=sampling,
            seed=settings.seed if seed is None else seed,
            slots=settings.rollout.slots,
        )
        found[name] = result.to_json()
    if as_json:
        print(json.dumps({"temperature": temperature, "splits": found}))
        return
    decoding = "greedy" if temperature == 0 else f"temperature {temperature:g}"
    table = Table("split", "plain success", "95 % interval", "n", title=f"{model} ({suite.name}, {decoding})")
    for name, row in found.items():
        table.add_row(name, f"{row['success']:.3f}", escape(_interval(row["interval"])), str(row["n"]))
        for kind, part in row["by_kind"].items():
            table.add_row(f"  {kind}", f"{part['success']:.3f}", "", str(part["n"]), style="dim")
    console.print(table)


@app.command()
def skills(run_: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]) -> None:
    """Show a run's skills, with their evidence and sources. Example: siri skills runs/first"""
    from siri.runs import RunDirectory
    from siri.skills import SkillBank

    directory = RunDirectory(run_)
    directory.describe()
    if not directory.skills.exists():
        raise ConfigError(f"got run {run_} without skills.json, expected one; fix: let it run an iteration")
    bank = SkillBank.load(directory.skills)
    if not len(bank):
        console.print("no skills")
    for record in sorted(bank.records(), key=lambda r: (r.status.value, r.skill.kind, -r.utility)):
        s = record.skill
        console.print(
            f"[bold]{record.status.value}[/bold] {s.id} {s.kind} ({s.origin}, iteration {s.created})"
        )
        console.print(f"  {escape(s.text)}")
        console.print(
            f"  utility {record.utility:+.3f}, 95 % interval {escape(_interval(record.interval))}, "
            f"{record.uses} groups"
        )
        console.print(f"  from {escape(', '.join(s.sources))}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished run directories.")],
) -> None:
    """Show finished runs side by side. Example: siri compare runs/self runs/none"""
    from siri.runs import RunDirectory

    table = Table("", *[str(path) for path in runs], title="plain success, 95 % interval")
    results = [RunDirectory(path).results() for path in runs]
    described = [RunDirectory(path).describe() for path in runs]
    table.add_row("miner", *[d["miner"] for d in described])
    table.add_row("environment steps", *[f"{r['env_steps']:,}" for r in results])
    table.add_row("iterations", *[str(r["iterations"]) for r in results])
    splits = sorted({split for r in results for split in r["final"]})
    for stage, label in _STAGES.items():
        for split in splits:
            cells = [_cell(r.get(stage, {}).get(split)) for r in results]
            if any(cells):
                table.add_row(f"{label}, {split}", *map(escape, cells))
    console.print(table)


class _Remaining:
    """An upper bound on the iterations that are left; phases may end earlier."""

    def __init__(self, settings: Any, miner: str) -> None:
        self.total = (
            settings.warmup.max_iterations
            + settings.mining.max_iterations
            + settings.internalization.iterations
        )
        self.settings, self.miner, self.seconds = settings, miner, 0.0

    def text(self, iteration: Any, seconds: float) -> str:
        """At most how long the run goes on."""
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds
        s, here = self.settings, iteration.index + 1
        left = self.total - here
        if iteration.phase.value == "mining":
            left = s.mining.max_iterations + s.internalization.iterations
        if iteration.phase.value == "internalization":
            left = s.internalization.iterations
        if s.max_env_steps is not None:
            done = iteration.metrics["env/total_steps"]
            left = min(left, max(0, round((s.max_env_steps - done) / max(1.0, done / here))))
        return f"≤ {max(0, left) * self.seconds / 60:.0f} min left"


def _progress(iteration: Any, seconds: float, left: _Remaining) -> None:
    m = iteration.metrics
    parts = [f"{iteration.index:3d} {iteration.phase.value:15s} plain {m.get('arm/plain/success', 0.0):.3f}"]
    if "arm/skill/success" in m:
        parts.append(f"skill {m['arm/skill/success']:.3f} Δ {m.get('arm/delta', 0.0):+.3f}")
    if iteration.phase.value != "warmup":
        parts.append(
            "bank " + "/".join(f"{m.get(f'bank/{s}', 0):.0f}" for s in ("candidate", "active", "retired"))
        )
    if m.get("int/gate_frac"):
        parts.append(f"gap {m['int/prompt_gap']:.3f}")
    parts.append(f"{seconds:.1f} s, {left.text(iteration, seconds)}")
    console.print("  ".join(parts))
    for event in iteration.events:
        console.print(f"    {escape(event)}")


def _stage_line(name: str, result: Mapping[str, Any]) -> str:
    cells = "  ".join(f"{split} {escape(_cell(row))}" for split, row in result.items())
    return f"[bold]{_STAGES[name]}[/bold]: plain success {cells}"


def _summary_table(summary: Mapping[str, Any], *, title: str) -> Table:
    caption = (
        f"{summary['env_steps']:,} environment steps, {summary['iterations']} iterations, "
        f"{summary['seconds'] / 60:.1f} minutes"
    )
    table = Table("policy", "split", "plain", "95 % interval", "n", "skill arm", "Δ", caption=caption)
    table.title = escape(title)
    for stage, label in _STAGES.items():
        for split, row in summary.get(stage, {}).items():
            skill = row.get("skill")
            shown = ("–", "–") if skill is None else (f"{skill:.3f}", f"{skill - row['plain']:+.3f}")
            interval = escape(_interval(row["interval"]))
            table.add_row(label, split, f"{row['plain']:.3f}", interval, str(row["n"]), *shown)
    return table


def _cell(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['plain']:.3f} {_interval(row['interval'])} n={row['n']}"


def _interval(interval: Any) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: errors of siri end with one sentence and exit code 2."""
    try:
        app()
    except SiriError as error:
        errors.print(f"siri: {escape(' '.join(str(error).split()))}", soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
