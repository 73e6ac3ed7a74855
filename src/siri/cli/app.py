"""The Typer application, its consoles, and the entry point."""

from __future__ import annotations

import os
import sys

import typer

from siri.cli.consoles import PlainConsole
from siri.errors import SiriError

__all__ = ["app", "console", "main"]

app = typer.Typer(
    help="SIRI: self-internalizing reinforcement learning with intrinsic skills.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = PlainConsole()
errors = PlainConsole(stderr=True)


@app.callback()
def _root() -> None:
    """SIRI: self-internalizing reinforcement learning with intrinsic skills."""


def main() -> None:
    """Entry point: errors of siri end with one sentence and exit code 2."""
    try:
        app()
    except SiriError as error:
        rank = os.environ.get("RANK")
        who = "siri" if rank is None else f"siri (process {rank})"
        errors.print(f"{who}: {' '.join(str(error).split())}", soft_wrap=True)
        # no clean-up that waits for processes which may be gone
        console.file.flush()
        errors.file.flush()
        if rank is not None:
            os._exit(2)
        sys.exit(2)
