"""`siri report` and `siri view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siri.cli.app import app, console
from siri.errors import ConfigError

__all__ = ["report", "view"]

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, finished or not.")]


@app.command()
def report(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default report.html in the first run.")
    ] = None,
) -> None:
    """Write one page of HTML about runs: curves, skills, episodes. Example: siri report runs/first"""
    from siri.report import write_report
    from siri.runs import Run

    opened = [Run.open(path) for path in runs]
    target = out or opened[0].directory.report
    if target.is_dir():
        raise ConfigError(f"got --out {target}, a folder, expected a file; fix: {target / 'report.html'}")
    write_report(opened, target)
    console.print(str(target))


@app.command()
def view(
    runs: Runs,
    port: Annotated[int, typer.Option(help="0 is any free one.", min=0, max=65535)] = 8765,
) -> None:
    """Show that page in a browser, fresh each time it is loaded. Example: siri view runs/first"""
    from siri.report import Server
    from siri.runs import Run

    for path in runs:
        Run.open(path)
    with Server(runs, port=port) as server:
        console.print(f"{server.url} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
