"""`siri skills`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from siri.cli.app import app, console
from siri.cli.show import interval
from siri.errors import ConfigError


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
            f"  utility {record.utility:+.3f}, 95 % interval {escape(interval(record.interval))}, "
            f"{record.uses} groups"
        )
        console.print(f"  from {escape(', '.join(s.sources))}")
