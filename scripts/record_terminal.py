"""Records a command in a terminal of 100 x 40 and says how long it ever stood still.

python scripts/record_terminal.py --out recording -- siri run --out runs/seen

Needs ``pip install pyte``, which reads what the command writes as a terminal does. Two silences are
measured: of the whole screen, and of its words (a turning spinner and a running clock are no news). Each with
the CPU time that the command had meanwhile: on a busy machine, a long silence with little CPU time is the
machine's.

OUT/screens.txt has the screen whenever its words changed, OUT/last.html the last one in colour.
"""

from __future__ import annotations

import argparse
import fcntl
import html
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyte

COLUMNS, LINES = 100, 40
SPINNER = re.compile(r"[⠀-⣿]|\d+:\d\d(?::\d\d)?")
COLOURS = {"black": "#15181c", "red": "#e06c5a", "green": "#5fb37c", "brown": "#d3a24a", "blue": "#6a9fd8"}
COLOURS |= {"magenta": "#c08ac0", "cyan": "#56b6c2", "white": "#e6e8eb", "default": "#d5d9de"}


@dataclass
class Silence:
    """The longest time without a change, in seconds: when it began, how long, and CPU time meanwhile."""

    what: str
    first: float | None = None
    """When the first change was seen after the start."""
    begin: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    over: int = 0
    """How many were longer than the limit."""


class Watch:
    """Feeds a terminal and keeps time."""

    def __init__(self, out: Path, limit: float) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.out, self.limit = out, limit
        self.began = time.monotonic()
        self.records = {name: Silence(name) for name in ("screen", "words")}
        self.last: dict[str, tuple[float, float, str]] = dict.fromkeys(self.records, (0.0, 0.0, ""))
        self.screens = (out / "screens.txt").open("w", encoding="utf-8")

    def look(self, cpu: float) -> None:
        """Compare the screen with what it was."""
        now = time.monotonic() - self.began
        whole = "\n".join(line.rstrip() for line in self.screen.display).rstrip()
        for name, text in (("screen", whole), ("words", SPINNER.sub("", whole))):
            then, had, before = self.last[name]
            if text == before:
                continue
            record = self.records[name]
            if text.strip() and record.first is None:
                record.first = round(now, 2)
            if record.first is not None and before.strip():
                self.silence(record, then, now - then, cpu - had)
            self.last[name] = (now, cpu, text)
            if name == "words":
                self.screens.write(f"\n===== {now:.1f} s =====\n{whole}\n")

    def end(self, cpu: float) -> None:
        """The silence before the end counts too."""
        now = time.monotonic() - self.began
        for name, record in self.records.items():
            then, had, _ = self.last[name]
            self.silence(record, then, now - then, cpu - had)

    def silence(self, record: Silence, begin: float, wall: float, cpu: float) -> None:
        """Count one."""
        record.over += wall > self.limit
        if wall > record.wall:
            record.begin, record.wall, record.cpu = round(begin, 1), round(wall, 2), round(cpu, 2)


def cpu_seconds(root: int) -> float:
    """CPU time of a process and its living descendants."""
    parents, ticks = dict[int, int](), dict[int, float]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def below(pid: int) -> bool:
        while pid not in (0, 1, root):
            pid = parents.get(pid, 0)
        return pid == root

    return sum(seconds for pid, seconds in ticks.items() if below(pid))


def in_colour(screen: Any) -> str:
    """A screen as a page."""
    rows = []
    for y in range(screen.lines):
        row = ""
        for x in range(screen.columns):
            char = screen.buffer[y][x]
            ink = COLOURS.get(char.fg, f"#{char.fg}" if re.fullmatch(r"[0-9a-f]{6}", char.fg) else "#d5d9de")
            weight = ";font-weight:700" if char.bold else ""
            row += f'<span style="color:{ink}{weight}">{html.escape(char.data)}</span>'
        rows.append(row)
    style = "background:#15181c;font:14px/1.25 'DejaVu Sans Mono',monospace;padding:12px;display:inline-block"
    return f'<!doctype html><meta charset="utf-8"><pre style="{style}">' + "\n".join(rows) + "</pre>"


def record(
    command: list[str], out: Path, *, limit: float, stop: float | None, shots: float
) -> dict[str, Any]:
    """Run ``command`` to its end, or for ``stop`` seconds, and measure."""
    out.mkdir(parents=True, exist_ok=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    watch, due = Watch(out, limit), shots
    asked, spent = 0.0, 0.0
    stopped = stop is None
    while True:
        if not stopped and time.monotonic() - watch.began > (stop or 0.0):
            # twice: once to save, once to go; what it still says is read, or it would wait for a reader
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGINT)
            stopped = True
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            watch.stream.feed(piece)
        # reading /proc costs more than reading the terminal
        if time.monotonic() - asked > 1:
            asked, spent = time.monotonic(), cpu_seconds(pid)
        watch.look(spent)
        if time.monotonic() - watch.began > due:
            (out / f"at-{due:05.0f}.html").write_text(in_colour(watch.screen), encoding="utf-8")
            due += shots
    watch.end(spent)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    (out / "last.html").write_text(in_colour(watch.screen), encoding="utf-8")
    watch.screens.close()
    found = {"command": command, "exit": status, "seconds": round(time.monotonic() - watch.began, 1)}
    return found | {"limit": limit, "silences": [asdict(r) for r in watch.records.values()]}


def main() -> None:
    """Print what was measured as JSON; exit 1 where the screen stood still for too long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the recording")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds that it may stand still")
    parser.add_argument("--first", type=float, default=3.0, help="seconds until something has to be seen")
    parser.add_argument("--stop", type=float, help="interrupt the command after so many seconds")
    parser.add_argument("--shots", type=float, default=30.0, help="seconds between pages of the screen")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    found = record(asked.command, asked.out, limit=asked.limit, stop=asked.stop, shots=asked.shots)
    text = json.dumps(found, indent=1)
    (asked.out / "measured.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    screen = found["silences"][0]
    if screen["first"] is None or screen["first"] > asked.first or screen["wall"] > asked.limit:
        sys.exit(1)


if __name__ == "__main__":
    main()
