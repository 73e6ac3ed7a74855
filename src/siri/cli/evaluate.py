"""`siri eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from siri.build import load_policy, make_suite
from siri.cli.app import app, console
from siri.cli.show import STAGES, interval
from siri.cli.skills import open_bank
from siri.errors import ConfigError


@app.command("eval")
def evaluate_(
    model: Annotated[str, typer.Argument(help="Model folder (RUN/model), 'tiny', or a name on the hub.")],
    env: Annotated[str | None, typer.Option(help="Benchmark: alfworld or webshop.")] = None,
    data: Annotated[str | None, typer.Option(help="The benchmark's data folder.")] = None,
    split: Annotated[list[str], typer.Option(help="Split; may be given again.")] = [],  # noqa: B006
    preset: Annotated[str, typer.Option(help="Settings for a model that is not in a run.")] = "embedded",
    set_: Annotated[list[str], typer.Option("--set", help="section.key=value.")] = [],  # noqa: B006
    greedy: Annotated[bool, typer.Option("--greedy", help="Temperature 0.")] = False,
    seed: Annotated[int | None, typer.Option(help="Sampling seed; by default that of the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    skills: Annotated[
        Path | None,
        typer.Option(help="Measure with these skills in the prompt too: a run, bank or Agent Skills."),
    ] = None,
    candidates: Annotated[bool, typer.Option("--candidates", help="Show unproven skills as well.")] = False,
) -> None:
    """Measure a policy under the plain prompt, and with skills beside it.

    Example: siri eval runs/first/model --split valid_unseen --skills runs/first/skills.json
    """
    from siri.config import load_config, parse_config
    from siri.config.presets import preset as named
    from siri.rollout.evaluation import evaluate
    from siri.runs import RunDirectory
    from siri.types import Sampling

    bank = None if skills is None else open_bank(skills)

    run_folder = RunDirectory(Path(model).parent)
    if Path(model).is_dir() and run_folder.config.exists():
        described = run_folder.describe()
        env, base = env or described["env"], parse_config(described["config"])
        data = described["data"] if data is None else data
    else:
        env = env or "alfworld"
        base = named(preset, env)
    settings = load_config(base, assignments=set_)
    suite = make_suite(settings, env, data)
    agent = load_policy(model, settings.rollout.slots, env)
    temperature = 0.0 if greedy else settings.evaluation.temperature
    sampling = Sampling(temperature=temperature, max_tokens=settings.rollout.max_tokens)
    shown = None if bank is None else _shown(bank, settings.validation, candidates, str(skills))
    if not split and not any(name in suite.tasks for name in settings.evaluation.splits):
        raise ConfigError(f"got no split to evaluate, expected one of {sorted(suite.tasks)}; fix: --split")
    found = {}
    for name in split or [s for s in settings.evaluation.splits if s in suite.tasks]:
        arms = {"plain": None} if shown is None else {"plain": None, "skills": shown}
        results = {
            arm: evaluate(
                suite,
                agent,
                split=name,
                sampling=sampling,
                seed=settings.seed if seed is None else seed,
                slots=settings.rollout.slots,
                skills=choose,
            ).to_json()
            for arm, choose in arms.items()
        }
        found[name] = results["plain"]
        if shown is not None:
            found[name]["with_skills"] = results["skills"]
    if as_json:
        print(json.dumps({"suite": suite.name, "temperature": temperature, "splits": found}))
        return
    decoding = "greedy" if temperature == 0 else f"temperature {temperature:g}"
    title = f"{model} ({suite.name}, {decoding})"
    console.print(_table(found, title) if shown is None else _both_arms(found, title, run_folder))


def _table(found: dict[str, Any], title: str) -> Table:
    table = Table("split", "plain success", "95 % interval", "n", title=title)
    for name, row in found.items():
        table.add_row(name, f"{row['success']:.3f}", interval(row["interval"]), str(row["n"]))
        if "task_score" in row:
            table.add_row("  task score", f"{row['task_score']:.1f}", "", "", style="dim")
        for kind, part in row["by_kind"].items():
            table.add_row(f"  {kind}", f"{part['success']:.3f}", "", str(part["n"]), style="dim")
    return table


def _both_arms(found: dict[str, Any], title: str, run: Any) -> Table:
    """Plain and with skills; before them, the stages of the run that the model belongs to."""
    table = Table(
        "policy", "split", "plain", "95 % interval", "with skills", "95 % interval", "Δ", "n", title=title
    )
    summary = run.results() if run.summary.exists() else {}
    for stage, label in STAGES.items():
        for split, row in summary.get(stage, {}).items():
            if split not in found:
                continue
            cells = [f"{label}, by the run", split, f"{row['plain']:.3f}", interval(row["interval"])]
            if "skill" in row:
                details = row["skill_details"]["interval"]
                cells += [
                    f"{row['skill']:.3f}",
                    interval(details),
                    f"{row['skill'] - row['plain']:+.3f}",
                ]
            else:
                cells += ["–", "–", "–"]
            table.add_row(*cells, str(row["n"]), style="dim")
    for split, row in found.items():
        other = row["with_skills"]
        table.add_row("measured now", split, *_arms(row, other), str(row["n"]))
        for kind, part in row["by_kind"].items():
            cells = _arms(part, other["by_kind"][kind])
            table.add_row("", f"  {kind}", *cells, str(part["n"]), style="dim")
    return table


def _arms(plain: dict[str, Any], other: dict[str, Any]) -> list[str]:
    bounds = [interval(row["interval"]) if "interval" in row else "" for row in (plain, other)]
    delta = f"{other['success'] - plain['success']:+.3f}"
    return [f"{plain['success']:.3f}", bounds[0], f"{other['success']:.3f}", bounds[1], delta]


def _shown(bank: Any, config: Any, candidates: bool, source: str) -> Any:
    from siri.runs import shown_skills
    from siri.skills import PROVEN
    from siri.types import SkillStatus

    statuses = (*PROVEN, SkillStatus.CANDIDATE) if candidates else PROVEN
    if not any(record.status in statuses for record in bank.records()):
        raise ConfigError(
            f"got no proven skill in {source}, expected at least one; fix: --candidates to show the others"
        )
    return shown_skills(bank, config, statuses)
