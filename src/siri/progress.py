"""How far a long part has come, for whoever displays it; and the display on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from siri.protocols import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["Bars", "Silent", "during"]


class Silent:
    """Shows nothing; implements ``siri.protocols.Progress``."""

    def begin(self, part: str, total: int) -> None:
        """Nothing."""

    def advance(self, part: str, n: int = 1, **figures: float) -> None:
        """Nothing."""

    def end(self, part: str) -> None:
        """Nothing."""


class Bars:
    """Shows a bar for each part and a line on the whole, on a terminal or in a notebook; else nothing.

    A context manager. Something moves while it is open, whatever the work does.

    Args:
        console: where. Lines that are printed on it meanwhile appear above the bars.
        quiet: show nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as RichProgress

        visible = console.is_terminal or console.is_jupyter
        self._bars = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
            # a console that looks sys.stdout up for each line would write to itself
            redirect_stdout=False,
            redirect_stderr=False,
            disable=quiet or not visible,
        )
        self._tasks: dict[str, TaskID] = {}
        self._line: TaskID | None = None

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away; called again, it does nothing."""
        self._bars.stop()

    def say(self, words: str) -> None:
        """What is going on as a whole; takes the place of what was said before."""
        if self._line is None:
            self._line = self._bars.add_task(words, total=None, figures="")
        self._bars.update(self._line, description=words)

    def whole(self, done: int, left: int | None) -> None:
        """How far the whole is: units that are done, and at most so many to come; None is unknown."""
        if self._line is not None:
            self._bars.update(self._line, completed=done, total=None if left is None else done + left)

    def begin(self, part: str, total: int) -> None:
        """A bar for ``part``."""
        self.end(part)
        self._tasks[part] = self._bars.add_task(part, total=max(total, 1), figures="")

    def advance(self, part: str, n: int = 1, **figures: float) -> None:
        """Move its bar."""
        if part in self._tasks:
            words = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
            self._bars.update(self._tasks[part], advance=n, figures=words)

    def end(self, part: str) -> None:
        """Take it away."""
        task = self._tasks.pop(part, None)
        if task is not None:
            self._bars.remove_task(task)


@contextmanager
def during(progress: Progress, name: str, total: int) -> Iterator[None]:
    """Begin a part, and end it whatever happens in the body."""
    progress.begin(name, total)
    try:
        yield
    finally:
        progress.end(name)
