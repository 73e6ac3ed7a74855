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
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
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
    kind = draw.randrange(12)
    if kind >= 8:
        return changed(content, draw)
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


ODD: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    "",
    "x" * 300,
    "\x1b[31m\u202e",
    [],
    {},
    [[]],
    {"a": {"b": 1}},
)
"""Values in place of others."""


def changed(content: bytes, draw: random.Random) -> bytes:
    """JSON, or one line of it, with a value in it replaced, removed or given another name."""
    lines = content.splitlines(keepends=True)
    try:
        data, number = json.loads(content), -1
    except (ValueError, RecursionError):
        try:
            number = draw.randrange(max(1, len(lines)))
            data = json.loads(lines[number])
        except (ValueError, RecursionError, IndexError):
            return content[::-1]
    place, node = data, data
    for _ in range(draw.randrange(1, 9)):
        inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        inner = [one for one in inner if isinstance(one, dict | list) and one]
        if not inner:
            break
        place = node = draw.choice(inner)
    if isinstance(place, dict) and place:
        key, value = draw.choice(sorted(place)), draw.choice(ODD)
        old = place.pop(key)
        place |= draw.choice([{key: value}, {key: value}, {}, {f"{key}_": old}])
    elif isinstance(place, list) and place:
        place[draw.randrange(len(place))] = draw.choice(ODD)
    else:
        data = draw.choice(ODD)
    text = json.dumps(data).encode()
    return text if number < 0 else b"".join([*lines[:number], text + b"\n", *lines[number + 1 :]])


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
        self.kinds = Kinds(place / "whole", self.model)
        self.report = Report()
        self.last: list[str] = []
        """The command line of this case."""

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
            "adapter": self.adapter,
            "warm start": self.warm_start,
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
        from siri.storage import entries_of, seal

        folder = self.work / "checkpoints"
        shutil.copytree(RUN.parent / "interrupted" / "checkpoints", folder)
        if self.draw.random() < 0.5:
            spoil(folder, self.draw)
        else:
            # as if siri had written it
            state = next(folder.rglob("state.json"))
            state.write_bytes(changed(state.read_bytes(), self.draw))
            (state.parent / "manifest.json").unlink()
            fresh = folder / ".fresh"
            state.parent.rename(fresh)
            seal(fresh, state.parent, entries_of(fresh.iterdir()))
        path = checkpoint.latest(folder)
        return checkpoint.progress_of(path), checkpoint.weights_of(path)

    def data(self) -> object:
        """Data folders of whole games and catalogues, of which one file is damaged; then they are played."""
        from siri import build
        from siri.config import RunConfig
        from siri.doors import seat_of

        env = self.draw.choice(["alfworld", "alfworld", "webshop"])
        folder = self.work / "data"
        shutil.copytree(self.kinds.data(env), folder)
        spoil(folder, self.draw)
        suite = build.suite(env, RunConfig(), data=str(folder))
        for tasks in suite.tasks.values():
            for task in tasks[:2]:
                world = seat_of(suite.make_env)
                _, info = world.reset(seed=0, options={"task": task})
                if suite.expert is not None:
                    suite.expert.demonstrate(task)
                for _ in range(3):
                    info = world.step(self.draw.choice(list(info["admissible"]) or ["search[shoe]"]))[4]
        return suite

    def warm_start(self) -> object:
        """A warm start to resume, which names a policy that is nowhere: none is trained."""
        from siri.runs.warm import sft

        folder = self.work / "sft"
        folder.mkdir()
        (folder / "sft.json").write_bytes(damaged(self.kinds.warm_start(), self.draw))
        return sft(out=folder, resume=True)

    def adapter(self) -> object:
        from siri.policies import HFPolicy

        folder = self.work / "adapter"
        shutil.copytree(self.kinds.adapter(), folder)
        spoil(folder, self.draw)
        return HFPolicy.load(folder, slots=1)

    def model_folder(self) -> object:
        from siri.policies import HFPolicy

        folder = self.work / "model"
        shutil.copytree(self.model, folder)
        spoil(folder, self.draw)
        return HFPolicy.load(folder, slots=1)

    def arguments(self) -> list[str]:
        """A command line: mostly one that its command carries out, on folders of which a file is damaged.

        Nothing is trained, whatever it means: runs are tried out, and warm starts name no policy.
        """
        draw, work, kinds = self.draw, self.work, self.kinds
        if draw.random() < 0.2:
            return self.words()

        def made(name: str, source: Path) -> str:
            """A damaged copy of ``source``, or the whole one."""
            target = work / name
            if not target.exists():
                shutil.copytree(source, target)
                if draw.random() < 0.8:
                    spoil(target, draw)
            return str(target)

        def run(name: str = "run") -> str:
            return made(name, RUN)

        def begun() -> str:
            return made("begun", RUN.parent / "interrupted")

        def bank() -> str:
            path = work / draw.choice(["bank.json", "SKILL.md", "rows.jsonl"])
            path.write_bytes(damaged((RUN / "skills.json").read_bytes(), draw))
            return str(path)

        def model() -> str:
            return made(
                *draw.choice([("model", self.model), ("model", self.model), ("plan", kinds.adapter())])
            )

        def text(name: str, content: bytes) -> str:
            (work / name).write_bytes(damaged(content, draw))
            return str(work / name)

        few = ["--set", "env={valid_games: 2, train_games: 2, max_steps: 2}"]
        dry = ["run", "--dry-run", *few]
        data = partial(made, "data")
        kinds_of = [
            lambda: ["skills", run()],
            lambda: ["skills", "show", run(), draw.choice(["", "0", "zzz", "\x1b"])],
            lambda: [
                "skills",
                "export",
                run(),
                str(work / "out"),
                "--format",
                draw.choice(["json", "agent"]),
            ],
            lambda: ["skills", "import", bank(), str(work / "into.json")],
            lambda: ["skills", "import", bank(), bank()],
            lambda: ["skills", "diff", run(), bank()],
            lambda: ["report", run(), "--out", str(work / draw.choice(["a.html", "no/a.html", "."]))],
            lambda: ["report", run(), run("other"), begun()],
            lambda: ["compare", run(), run("other")],
            lambda: ["view", run(), "--port", str(kinds.taken_port())],
            lambda: ["eval", model(), *few, "--split", "valid_seen", "--json"],
            lambda: ["eval", run(), *few, "--skills", bank()],
            lambda: [*dry, "--resume", "--out", begun()],
            lambda: [*dry, "--resume", "--out", run()],
            lambda: [*dry, "--match", run()],
            lambda: [*dry, "--policy", model(), "--out", str(work / "new")],
            lambda: [*dry, "--miner", "file", "--skills", bank()],
            lambda: [*dry, "--config", text("config.yaml", b"rollout: {tasks: 4}\nseed: 0\n")],
            lambda: [*dry, "--recipe", "sdar", "--advice", text("advice.yaml", b"'*': look first\n")],
            lambda: [*dry, "--data", data(kinds.data("alfworld"))],
            lambda: [*dry, "--env", "webshop", "--data", data(kinds.data("webshop"))],
            lambda: [*dry, "--engine", draw.choice(["http://", "http://[::1", "https://a:b", "vlm"])],
            lambda: [
                *(*dry, "--miner", "openai", "--openai-model", "m"),
                *(
                    "--openai-base-url",
                    draw.choice(["http://", "x", "http://[::1", "http://a:99999", "\x1b"]),
                ),
            ],
            lambda: ["sft", "--resume", "--out", str(Path(text("sft.json", kinds.warm_start())).parent)],
            lambda: ["sft", "--policy", model(), "--steps", draw.choice(["0", "-1", "x"])],
            lambda: ["games", "info", data(kinds.data("alfworld"))],
            lambda: ["games", "generate", "--out", str(work / "g"), "--count", draw.choice(["0", "-1", "1"])],
            lambda: ["play", data(kinds.data("alfworld")), "--policy", "expert"],
            lambda: ["play", "--env", "webshop", "--data", data(kinds.data("webshop")), "--policy", "expert"],
            lambda: ["envs", draw.choice(["alfworld", "none", "a:b", "os:path", ":", "\x1b"])],
            lambda: ["recipes", draw.choice(["siri", "none", "a:b", "\x1b"])],
            lambda: ["new-env", draw.choice(["lamp", "Lamp", "../x", ""]), "--folder", str(work / "env")],
        ]
        return draw.choice(kinds_of)()

    def words(self) -> list[str]:
        """Words at random, of which runs and the like are kept from training by an unknown option."""
        draw = self.draw
        words = [draw.choice(COMMANDS)]
        for _ in range(draw.randrange(5)):
            words.append(draw.choice([*OPTIONS, *WORDS, "notes", str(self.work)]))
        trains = words[0] in ("run", "sft", "eval", "play", "games", "new-env")
        return [*words, "--nonsense"] if trains else words

    def command_line(self) -> object:
        from siri import cli

        argv, sys.argv = sys.argv, ["siri", *self.arguments()]
        path, stdin = list(sys.path), sys.stdin
        sys.stdin = io.StringIO("1\n\x1b\n")
        try:
            self.last = sys.argv
            cli.main()
        finally:
            sys.argv, sys.path, sys.stdin = argv, path, stdin
        return None

    def case(self, family: str, function: Callable[[], object]) -> None:
        """Carry out one case, and note what came of it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        state, began, self.last = self.draw.getstate(), time.monotonic(), []
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
            said = sentence_of(out.getvalue()) if outcome == "refused" else ""
        except Hang:
            outcome = "hang"
        except Exception as error:  # noqa: BLE001 (what this looks for)
            outcome = f"traceback: {type(error).__name__}: {str(error)[:200]}"
        where = f"{time.monotonic() - began:.1f} s, state {hash(state)}, {' '.join(self.last)[:200]}"
        self.judge(family, outcome, said, where)

    def process(self) -> None:
        """One command line as a process of its own."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        words = [word.encode("utf-8", "replace").decode() for word in self.arguments()]
        command = [sys.executable, "-m", "siri", *words]
        try:
            done = subprocess.run(
                command, cwd=self.around, capture_output=True, input=b"1\n", timeout=2 * PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return self.judge("process", "hang", "", " ".join(words)[-200:])
        said = done.stderr.decode("utf-8", "replace")
        outcome = {0: "taken", 2: "refused"}.get(done.returncode, f"exit code {done.returncode}")
        outcome = f"traceback: {said[-200:]}" if "Traceback" in said else outcome
        return self.judge("process", outcome, sentence_of(said), " ".join(words)[-200:])

    def judge(self, family: str, outcome: str, said: str, where: str) -> None:
        """Count a case; a failure is kept in words."""
        if outcome == "refused":
            short = said.replace(str(self.work), "W").replace(str(self.around), "H").strip()
            if len(short) > LONGEST or "fix:" not in short or "\n" in short:
                outcome = f"no sentence: {short[:400]}"
        if checksum(self.around) != self.before:
            outcome = "changed files outside"
        self.report.counts[f"{family}: {outcome.split(':')[0]}"] += 1
        if outcome not in ("taken", "refused"):
            self.report.failures.append(f"{family}: {outcome} ({where})")


class Kinds:
    """Whole things to damage, each made once."""

    def __init__(self, place: Path, model: Path) -> None:
        self.place, self.model = place, model
        self.socket: socket.socket | None = None

    def data(self, env: str) -> Path:
        """A data folder of two games a split, or of a shop of a few products."""
        folder = self.place / env
        if not folder.exists():
            if env == "alfworld":
                from siri.envs.alfworld import generate_games

                for split in ("train", "valid_seen"):
                    generate_games(2, seed=0, split=split, directory=folder)
            else:
                from siri.envs.webshop.generator import write_catalog

                folder.mkdir(parents=True)
                write_catalog(folder, 40)
        return folder

    def adapter(self) -> Path:
        """An adapter on the embedded policy, as a run with ``lora`` saves it."""
        folder = self.place / "adapter"
        if not folder.exists():
            from siri.config import LoRAConfig
            from siri.policies import HFPolicy

            policy = HFPolicy.load(self.model, slots=1)
            policy.adapt(LoRAConfig(rank=2), seed=0)
            folder.parent.mkdir(parents=True, exist_ok=True)
            policy.save(folder)
        return folder

    def warm_start(self) -> bytes:
        """The description of a warm start of a policy that is nowhere."""
        from siri.config import RunConfig
        from siri.runs.demonstrations import SFTSettings

        body = {"suite": "alfworld", "policy": "/nowhere/at/all", "data": None}
        config, settings = RunConfig().model_dump(mode="json"), asdict(SFTSettings())
        return json.dumps({**body, "config": config, "settings": settings}, indent=1).encode()

    def taken_port(self) -> int:
        """A port that is in use, so that no server runs for ever."""
        if self.socket is None:
            self.socket = socket.socket()
            self.socket.bind(("127.0.0.1", 0))
            self.socket.listen()
        port: int = self.socket.getsockname()[1]
        return port


def sentence_of(said: str) -> str:
    """What a command said of its end: siri's sentence, or the line of the parser of command lines.

    That one names the option and the help, which is its fix.
    """
    lines = [line.strip("│ ") for line in said.splitlines() if line.strip("│─╭╮╰╯ ")]
    last = next((n for n in reversed(range(len(lines))) if lines[n].startswith("siri: ")), None)
    if last is not None:
        return "\n".join(lines[last:])[6:]
    if any(line.startswith(("Try ", "Usage: ")) for line in lines):
        return f"fix: {lines[-1]}"[:LONGEST]
    return "\n".join(lines)


class Hang(KeyboardInterrupt):
    """A case took too long; parts that may raise anything pass on what comes from outside."""


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
    families = found.families()
    # a model is loaded for each of these: one case in sixteen is of either
    slow = [families.pop("model folder"), families.pop("adapter")]
    names = ["model folder", "adapter"]
    cheap = list(families.items())
    here = Path.cwd()
    os.chdir(found.around)
    try:
        for number in range(cases):
            which = number // 16 % 2
            found.case(*((names[which], slow[which]) if number % 16 == 0 else cheap[number % len(cheap)]))
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
