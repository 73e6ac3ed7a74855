"""`siri eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from siri.cli.app import app, console
from siri.cli.parts import load_policy, make_suite
from siri.cli.show import interval


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
) -> None:
    """Measure a policy under the plain prompt. Example: siri eval runs/first/model --split valid_unseen"""
    from siri.config import load_config, parse_config
    from siri.config import preset as named
    from siri.evaluation import evaluate
    from siri.runs import RunDirectory
    from siri.types import Sampling

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
        print(json.dumps({"suite": suite.name, "temperature": temperature, "splits": found}))
        return
    decoding = "greedy" if temperature == 0 else f"temperature {temperature:g}"
    table = Table("split", "plain success", "95 % interval", "n", title=f"{model} ({suite.name}, {decoding})")
    for name, row in found.items():
        table.add_row(name, f"{row['success']:.3f}", escape(interval(row["interval"])), str(row["n"]))
        if "task_score" in row:
            table.add_row("  task score", f"{row['task_score']:.1f}", "", "", style="dim")
        for kind, part in row["by_kind"].items():
            table.add_row(f"  {kind}", f"{part['success']:.3f}", "", str(part["n"]), style="dim")
    console.print(table)
