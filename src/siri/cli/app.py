"""The Typer application, its consoles, and the entry point."""

from __future__ import annotations

import os
import sys

import typer

from siri.cli.consoles import PlainConsole
from siri.cli.words import in_options
from siri.errors import SiriError

__all__ = ["app", "console", "main", "use_all_cores"]

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
    # for parts of one's own as module:function; last, so that nothing here takes the place of a package
    sys.path.append(os.getcwd())
    try:
        app()
    except SiriError as error:
        rank = os.environ.get("RANK")
        who = "siri" if rank is None else f"siri (process {rank})"
        errors.print(f"{who}: {in_options(' '.join(str(error).split()))}", soft_wrap=True)
        # no clean-up that waits for processes which may be gone
        console.file.flush()
        errors.file.flush()
        if rank is not None:
            os._exit(2)
        sys.exit(2)


def use_all_cores() -> None:
    """As many threads as ``OMP_NUM_THREADS`` says, or the machine has; the number of threads changes sums."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
