"""`siri compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from siri.cli.app import app, console
from siri.cli.show import STAGES, cell, interval


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, finished or not.")],
) -> None:
    """Show runs side by side. Example: siri compare runs/self runs/none"""
    from siri.runs import Run, compare

    found = compare([Run.open(path) for path in runs])
    summaries = [run.summary for run in found.runs]
    names = [str(path) for path in runs]
    table = Table("", *names, title="plain success, 95 % interval")
    table.add_row("miner", *[run.recipe.miner for run in found.runs])
    if any(run.state != "finished" for run in found.runs):
        table.add_row("state", *[f"{run.state}, {run.phase.value}" for run in found.runs])
    table.add_row("environment steps", *[f"{s.env_steps:,}" for s in summaries])
    table.add_row("iterations", *[str(s.iterations) for s in summaries])
    table.add_row("training, last 5", *["" if math.isnan(m) else f"{m:.3f}" for m in found.training])
    for (stage, split, arm), row in found.measured.items():
        if arm == "plain":
            table.add_row(f"{STAGES[stage]}, {split}", *[cell(evaluation) for evaluation in row])
            if stage == "final":
                gaps = found.difference(stage, split)
                cells = ["" if gap is None else f"{gap[0]:+.3f} {interval(gap[1])}" for gap in gaps]
                if any(cells):
                    table.add_row("  minus the first", *cells, style="dim")
    console.print(table)
    if found.settings:
        differing = Table("setting", *names, title="settings that differ")
        for name, values in found.settings.items():
            differing.add_row(name, *map(str, values))
        console.print(differing)
