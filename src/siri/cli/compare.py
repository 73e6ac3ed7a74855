"""`siri compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from siri.cli.app import app, console
from siri.cli.show import STAGES, cell


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
    for stage, label in STAGES.items():
        for split in splits:
            cells = [cell(r.get(stage, {}).get(split)) for r in results]
            if any(cells):
                table.add_row(f"{label}, {split}", *cells)
    console.print(table)
