"""Malformed input for everything that the commands read: bounded, seeded, and nothing else is touched.

python scripts/fuzz_cli.py --cases 2000 --seed 0 --processes 50

A case passes if it ends in time, with a result or with one sentence that says a fix, and leaves the tree
around it as it was. Most cases call what the commands call, in this process; some are real processes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "tests" / "runs" / "data" / "0.1.0" / "finished"
LONGEST = 300
"""Characters of a sentence, the paths in it shortened."""
PATIENCE = 60
"""Seconds of a case."""
WORDS = [
    *(
        "0",
        "-1",
        "1",
        "1.5",
        "1e999",
        "nan",
        "inf",
        "010",
        "yes",
        "true",
        "null",
        "~",
        "100000000000",
        "[]",
        "{}",
    ),
    *(
        "[1,2]",
        "{a:1}",
        "2026-01-01",
        "''",
        ".",
        "/",
        "../..",
        "!!python/object:os",
        "*a",
        "&a",
        "é",
        "\u202e",
    ),
    *(
        "\x1b[31m",
        "http://",
        "http://[::1",
        "file:///etc",
        "9" * 5000,
        "[" * 2000,
        "a" * 5000,
        "",
        " ",
        "\ud800",
    ),
]
COMMANDS = (
    "run",
    "sft",
    "eval",
    "skills",
    "compare",
    "play",
    "envs",
    "recipes",
    "games",
    "new-env",
    "nothing",
)
OPTIONS = [
    *(
        "--set",
        "--config",
        "--out",
        "--data",
        "--seed",
        "--preset",
        "--env",
        "--policy",
        "--miner",
        "--engine",
    ),
    *(
        "--match",
        "--resume",
        "--track",
        "--processes",
        "--skills",
        "--split",
        "--seeds",
        "--format",
        "--kind",
    ),
    *("--greedy", "--json", "--help", "-x", "--"),
]


@dataclass
class Report:
    """What came of the cases."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def checksum(folder: Path) -> str:
    """Of every name and byte below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path.relative_to(folder)))
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes that somebody cut, changed, filled or replaced."""
    kind = draw.randrange(8)
    if kind == 0:
        return content[: draw.randrange(len(content) + 1)]
    if kind == 1 and content:
        place = draw.randrange(len(content))
        return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
    if kind == 2:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
    if kind == 3:
        return draw.choice([b"", b"null", b"[]", b"{}", b"7", b'"x"', b"[" * 50_000, b'{"a":' * 9_000])
    if kind == 4:
        return content.replace(b": ", b": [", 1)
    if kind == 5:
        lines = content.splitlines(keepends=True)
        draw.shuffle(lines)
        return b"".join(lines[: draw.randrange(len(lines) + 1)])
    if kind == 6:
        return content.replace(b"0", draw.choice(WORDS).encode("utf-8", "surrogatepass"), 1)
    return content + b"\x00\xff"


def spoil(folder: Path, draw: random.Random) -> None:
    """Damage, remove, replace or hide one file of ``folder``."""
    path = draw.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    content, kind = path.read_bytes(), draw.randrange(10)
    path.unlink()
    if kind == 0:
        return
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(folder / "gone")
    else:
        path.write_bytes(damaged(content, draw))


class Fuzz:
    """Cases below ``place``; the tree around them has a checksum."""

    def __init__(self, place: Path, seed: int) -> None:
        from siri.policies.tiny import base_path

        self.draw = random.Random(seed)
        self.around = place / "home"
        self.around.mkdir(parents=True)
        for name in (
            ".bashrc.old",
            ".ssh.old/id",
            ".config.new/a",
            "checkpoints/.a.1.tmp",
            "notes/config.json",
        ):
            path = self.around / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        self.work = place / "case"
        self.before = checksum(self.around)
        self.model = Path(base_path())
        self.report = Report()

    def families(self) -> dict[str, Callable[[], object]]:
        """A drawer of cases for each kind of input."""
        return {
            "settings": self.settings,
            "configuration": self.configuration,
            "run folder": self.run_folder,
            "skills file": self.skills_file,
            "checkpoint": self.checkpoint,
            "data": self.data,
            "model folder": self.model_folder,
            "command line": self.command_line,
        }

    def settings(self) -> object:
        from siri.config import RunConfig, load_config

        section = self.draw.choice(sorted(RunConfig.model_fields))
        field_ = RunConfig.model_fields[section].annotation
        names = sorted(getattr(field_, "model_fields", {"x": None}))
        name = self.draw.choice([*names, "nonsense"])
        text = f"{section}.{name}={self.draw.choice(WORDS)}"
        wrong = self.draw.choice([text] * 8 + [text[::-1], text.replace(".", "")])
        return load_config(RunConfig(), assignments=[wrong])

    def configuration(self) -> object:
        import yaml

        from siri.config import RunConfig, load_config

        path = self.work / "config.yaml"
        whole = yaml.safe_dump(RunConfig().model_dump(mode="json")).encode()
        path.write_bytes(damaged(whole, self.draw))
        return load_config(RunConfig(), file=path)

    def run_folder(self) -> object:
        from siri.runs import Run, compare

        folder = self.work / "run"
        shutil.copytree(RUN, folder)
        spoil(folder, self.draw)
        run = Run.open(folder)
        return run.summary, run.metrics, run.phase, repr(run), run.skills, compare([run, run])

    def skills_file(self) -> object:
        from siri.skills import import_skills

        path = self.work / self.draw.choice(["bank.json", "SKILL.md", "skills.yaml", "x"])
        path.write_bytes(damaged((RUN / "skills.json").read_bytes(), self.draw))
        return import_skills(path).records()

    def checkpoint(self) -> object:
        from siri.runs import checkpoint

        folder = self.work / "checkpoints"
        shutil.copytree(RUN.parent / "interrupted" / "checkpoints", folder)
        spoil(folder, self.draw)
        path = checkpoint.latest(folder)
        return checkpoint.progress_of(path), checkpoint.weights_of(path)

    def data(self) -> object:
        from siri import build
        from siri.config import RunConfig

        folder = self.work / "data" / self.draw.choice(["json_2.1.1/train/a", "train", "."])
        folder.mkdir(parents=True)
        for name in ("game.tw-pddl", "traj_data.json", "items_shuffle_1000.json", "catalog.json"):
            (folder / name).write_bytes(
                damaged(b'{"solvable": true, "pddl_domain": "", "walkthrough": []}', self.draw)
            )
        env = self.draw.choice(["alfworld", "webshop"])
        suite = build.suite(env, RunConfig(), data=str(self.work / "data"))
        task = next(iter(suite.split("train")))
        return suite.make_env().reset(seed=0, options={"task": task})

    def model_folder(self) -> object:
        from siri.policies import HFPolicy

        folder = self.work / "model"
        shutil.copytree(self.model, folder)
        spoil(folder, self.draw)
        return HFPolicy.load(folder, slots=1)

    def arguments(self) -> list[str]:
        """Words of a command line that trains nothing, whatever it means."""
        draw = self.draw
        words = [draw.choice(COMMANDS)]
        for _ in range(draw.randrange(5)):
            words.append(draw.choice([*OPTIONS, *WORDS, "notes", str(self.work)]))
        return (
            [*words, "--nonsense"]
            if words[0] in ("run", "sft", "eval", "play", "games", "new-env")
            else words
        )

    def command_line(self) -> object:
        from siri import cli

        argv, sys.argv = sys.argv, ["siri", *self.arguments()]
        path = list(sys.path)
        try:
            cli.main()
        finally:
            sys.argv, sys.path = argv, path
        return None

    def case(self, family: str, function: Callable[[], object]) -> None:
        """Carry out one case, and note what came of it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        state, began = self.draw.getstate(), time.monotonic()
        said, out = "", io.StringIO()
        from siri.errors import SiriError

        try:
            with limited(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                function()
            outcome = "taken"
        except SiriError as error:
            outcome, said = "refused", str(error)
        except SystemExit as end:
            outcome = "refused" if end.code == 2 else "taken" if not end.code else f"exit code {end.code}"
        except Hang:
            outcome = "hang"
        except Exception as error:  # noqa: BLE001 (what this looks for)
            outcome = f"traceback: {type(error).__name__}: {str(error)[:200]}"
        self.judge(family, outcome, said, f"{time.monotonic() - began:.1f} s, state {hash(state)}")

    def process(self) -> None:
        """One command line as a process of its own."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        words = [word.encode("utf-8", "replace").decode() for word in self.arguments()]
        command = [sys.executable, "-m", "siri", *words]
        try:
            done = subprocess.run(
                command, cwd=self.around, capture_output=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return self.judge("process", "hang", "", str(words)[:200])
        said = done.stderr.decode("utf-8", "replace")
        outcome = {0: "taken", 2: "refused"}.get(done.returncode, f"exit code {done.returncode}")
        outcome = f"traceback: {said[-200:]}" if "Traceback" in said else outcome
        return self.judge("process", outcome, said[6:] if said.startswith("siri: ") else "", str(words)[:200])

    def judge(self, family: str, outcome: str, said: str, where: str) -> None:
        """Count a case; a failure is kept in words."""
        if outcome == "refused" and said:
            short = said.replace(str(self.work), "W").replace(str(self.around), "H").strip()
            if len(short) > LONGEST or not ("fix:" in short or "expected" in short) or "\n" in short:
                outcome = f"no sentence: {short[:400]}"
        if checksum(self.around) != self.before:
            outcome = "changed files outside"
        self.report.counts[f"{family}: {outcome.split(':')[0]}"] += 1
        if outcome not in ("taken", "refused"):
            self.report.failures.append(f"{family}: {outcome} ({where})")


class Hang(BaseException):
    """A case took too long."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """The body, for at most ``PATIENCE`` seconds."""

    def late(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(cases: int, *, seed: int, place: Path, processes: int = 0) -> Report:
    """Carry out ``cases`` in this process, the kinds in turn, and ``processes`` in their own."""
    found = Fuzz(place, seed)
    families = list(found.families().items())
    # a model is loaded for each of its cases: one in sixteen
    cheap = [pair for pair in families if pair[0] != "model folder"]
    here = Path.cwd()
    os.chdir(found.around)
    try:
        for number in range(cases):
            rows = families if number % 16 == 0 else cheap
            found.case(*(families[6] if number % 16 == 0 else rows[number % len(rows)]))
        for _ in range(processes):
            found.process()
    finally:
        os.chdir(here)
    return found.report


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        report = fuzz(options.cases, seed=options.seed, place=Path(place), processes=options.processes)
    for name, count in sorted(report.counts.items()):
        print(f"{count:6d} {name}")
    for failure in report.failures[:60]:
        print(failure)
    seconds = time.monotonic() - began
    print(f"{report.counts.total()} cases, {len(report.failures)} failures, {seconds:.0f} s")
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
