"""The Typer application, its consoles, and the entry point."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from siri.errors import SiriError

__all__ = ["app", "console", "main"]

app = typer.Typer(
    help="SIRI: self-internalizing reinforcement learning with intrinsic skills.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


@app.callback()
def _root() -> None:
    """SIRI: self-internalizing reinforcement learning with intrinsic skills."""


def main() -> None:
    """Entry point: errors of siri end with one sentence and exit code 2."""
    try:
        app()
    except SiriError as error:
        errors.print(f"siri: {escape(' '.join(str(error).split()))}", soft_wrap=True)
        sys.exit(2)
