"""What one more skill, observation, game or task costs where there are many, and what iterations leave.

    python benchmarks/growth.py            # writes benchmarks/results/growth.md

Operations are bytecodes of the interpreter, counted: equal on every machine. Seconds are medians of runs
that take turns, so that whatever else the machine does meets all sizes alike.
"""

from __future__ import annotations

import atexit
import gc
import os
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from siri.config import load_config
from siri.config.presets import preset
from siri.curriculum import Curriculum
from siri.curriculum.parts import tasks_of
from siri.envs.alfworld import generate_games, load_game
from siri.skills import SkillBank, UtilityEstimator, skill_id
from siri.testing import scripted_suite
from siri.testing.fakes import SOLUTION
from siri.types import Completion, Request, Sampling, Skill, Task, Trajectory

SIZES = (125, 250, 500, 1000, 2000, 4000)
_ROUNDS = 41
_PLACES = ("armchair", "bed", "cabinet", "countertop", "desk", "drawer", "fridge", "safe", "shelf", "sofa")


def _words(draw: random.Random) -> str:
    """Advice of fifteen to thirty words, from a vocabulary most of whose words are rare."""
    return " ".join(f"w{int(4000 * draw.random() ** 3)}" for _ in range(draw.randint(15, 30)))


def _plans(draw: random.Random) -> str:
    """Advice in one form, of which three places and a number of words differ."""
    a, b, c = draw.sample(_PLACES, 3)
    one, other = (f"w{draw.randrange(10**6)}" for _ in range(2))
    return f"search the {a} and the {b} first, take {one}, then use the {c} {other}"


def _skill(text: str) -> Skill:
    return Skill(skill_id("k", f"When it is so: {text}"), "k", "it is so", text, "self", 0)


def _bank_of(size: int, write: Callable[[random.Random], str]) -> SkillBank:
    draw, bank = random.Random(size), SkillBank()
    while len(bank) < size:
        bank.add(_skill(write(draw)))
    return bank


def _adding(size: int, write: Callable[[random.Random], str]) -> Callable[[], Any]:
    bank, draw = _bank_of(size, write), random.Random("new")
    new = iter([_skill(write(draw)) for _ in range(3 * _ROUNDS)])
    return lambda: bank.add(next(new))


def _meeting(size: int) -> Callable[[], Any]:
    """The same skill comes again: a twin with one word more."""
    bank, draw = _bank_of(size, _words), random.Random("twin")
    known = [record.skill.strategy for record in bank.records()]
    return lambda: bank.add(_skill(f"{draw.choice(known)} again"))


def _observing(size: int, shrink: float = 0.0) -> Callable[[], Any]:
    bank = SkillBank(estimator=UtilityEstimator(shrink=shrink))
    bank.add(_skill("use the lamp"))
    name = _skill("use the lamp").id
    for iteration in range(size):
        bank.observe(name, plain=0.25, skilled=0.5, iteration=iteration)
    state = [size]

    def observe() -> Any:
        state[0] += 1
        return bank.observe(name, plain=0.25, skilled=0.5, iteration=state[0])

    return observe


def _observing_a_family(size: int) -> Callable[[], Any]:
    """One observation of one skill, in a kind of ``size`` used skills whose utilities lean on each other."""
    bank, draw = SkillBank(estimator=UtilityEstimator(shrink=1.0)), random.Random(0)
    names = []
    while len(bank) < size:
        new = _skill(_words(draw))
        if bank.add(new):
            names.append(new.id)
            bank.observe(new.id, plain=0.25, skilled=0.5, iteration=0)
    state = [0]

    def observe() -> Any:
        state[0] += 1
        return bank.observe(names[7], plain=0.25, skilled=0.5, iteration=state[0])

    return observe


@cache
def _files() -> list[Path]:
    """As many game files as the largest size asks for: fewer than siri keeps in memory."""
    folder = Path(tempfile.mkdtemp(prefix="siri-growth-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    generate_games(1, seed=0, split="train", directory=folder, scale=0.3)
    one = next(folder.rglob("game.tw-pddl"))
    files = [folder / f"{number}.tw-pddl" for number in range(max(SIZES))]
    for file in files:
        os.link(one, file)
    return files


def _playing_again(size: int) -> Callable[[], Any]:
    """A game that was played before, of ``size``: copies of one, as files of their own."""
    files = _files()[:size]
    for file in files:
        load_game(file)
    draw = random.Random(size)
    return lambda: load_game(draw.choice(files))


def _next_tasks(size: int) -> Callable[[], Any]:
    """The eight tasks of one more iteration, of a split of ``size``; the order of an epoch is drawn once."""
    train = [Task(str(number), "k", "g", "train") for number in range(size)]
    state = [0]

    def tasks() -> Any:
        state[0] += 1
        return tasks_of(train, state[0] % 15, size=8, seed=0)

    tasks()
    return tasks


COUNTED: dict[str, Callable[[int], Callable[[], Any]]] = {
    "add a skill": lambda size: _adding(size, _words),
    "add a skill of one form": lambda size: _adding(size, _plans),
    "add a near twin": _meeting,
    "observe, one skill with N observations": _observing,
    "observe, shrunk toward a kind of N skills": _observing_a_family,
    "load a game again, of N": _playing_again,
    "tasks of an iteration, N in the split": _next_tasks,
}


def count(name: str, size: int) -> float:
    """Bytecodes of one operation, the median of some."""
    operation, counts = COUNTED[name](size), []
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        frame.f_trace_opcodes = True
        seen += event == "opcode"
        return trace

    before = sys.gettrace()
    for _ in range(9):
        seen = 0
        sys.settrace(trace)
        try:
            operation()
        finally:
            sys.settrace(before)
        counts.append(seen)
    return median(counts)


def seconds(name: str) -> list[float]:
    """Median of one operation at each size, in turns."""
    operations = [COUNTED[name](size) for size in SIZES]
    taken: list[list[float]] = [[] for _ in SIZES]
    for _ in range(_ROUNDS):
        for operation, times in zip(operations, taken, strict=True):
            began = time.perf_counter()
            operation()
            times.append(time.perf_counter() - began)
    return [median(times) for times in taken]


def _reply(request: Request) -> str:
    """Solves the scripted task in most rollouts."""
    done = int(str(request.messages[-1]["content"]).split("You have done ")[1][0])
    return SOLUTION[done] if request.seed % 8 else "wait"


def memory(marks: Sequence[int] = (100, 250, 500, 750, 1000)) -> dict[int, float]:
    """Megabytes that Python's objects take after each of these numbers of iterations."""
    config = load_config(
        preset("smoke"),
        assignments=[
            *("rollout={tasks: 2, group_size: 4}", "evaluation.splits=[]"),
            "warmup={successes: 1, max_iterations: 1}",
            f"mining={{every: 5, max_iterations: {max(marks)}, min_iterations: {max(marks)}, capacity: 32}}",
            f"internalization.iterations={max(marks)}",
        ],
    )
    draw = random.Random(0)
    # skills that were given up stay in a bank, so that they do not come again: it grows with what is found
    known = [_skill(_words(draw)) for _ in range(48)]

    class Says:
        """The fake policy would keep all that it was asked."""

        def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:  # noqa: ARG002
            return [Completion(_reply(request)) for request in requests]

    class Finds:
        def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:  # noqa: ARG002
            return [draw.choice(known)]

    loop = Curriculum(scripted_suite(), Says(), miner=Finds(), learner=None, config=config)
    found: dict[int, float] = {}
    tracemalloc.start()
    for number in range(1, max(marks) + 1):
        loop.step()
        if number in marks:
            gc.collect()
            found[number] = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    return found


def main() -> None:
    """Measure, and write the table."""
    head = "| operation | unit | " + " | ".join(f"{size:,}" for size in SIZES) + " | largest / smallest |"
    rows = [head, "|---" * (len(SIZES) + 3) + "|"]
    for name in COUNTED:
        counts, times = [count(name, size) for size in SIZES], seconds(name)
        rows += [_row(name, "bytecodes", counts), _row("", "µs", [1e6 * t for t in times])]
    lines = "\n".join(rows)
    text = f"# What one more costs\n\nBy `python benchmarks/growth.py`; N is the column.\n\n{lines}\n"
    sizes = memory()
    kept = " | ".join(f"{megabytes:.2f}" for megabytes in sizes.values())
    text += (
        "\n## What iterations leave behind\n\nMegabytes that Python holds after N iterations of a run of all "
        "phases, with scripted parts, a miner that\nfinds one of 48 skills and a bank of 32 places:\n\n"
        f"| {' | '.join(f'{number:,}' for number in sizes)} |\n{'|---' * len(sizes)}|\n| {kept} |\n"
    )
    target = Path(__file__).parent / "results" / "growth.md"
    target.write_text(text, encoding="utf-8")
    print(text)


def _row(name: str, unit: str, values: list[float]) -> str:
    shown = " | ".join(f"{value:,.0f}" for value in values)
    return f"| {name} | {unit} | {shown} | {max(values) / min(values):.2f} |"


if __name__ == "__main__":
    main()
