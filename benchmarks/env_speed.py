"""How fast is the native ALFWorld engine, and how much faster than alfworld's own?

    python benchmarks/env_speed.py                     # writes benchmarks/results/env_speed.md
    python benchmarks/env_speed.py --data DIR          # real games instead of generated ones

Both engines load, reset and step the same games with the same commands in one process, in turns. Times are of
the processor, so that whatever else the machine does counts for neither. Every step produces the text and the
admissible list, which must be equal. The native engine plays each list of commands 20 times, as the rollouts
of a group do. Medians over games. Needs the extra "alfworld".
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium

import siri.envs  # noqa: F401 (registers siri/ALFWorld-v0)
from siri.envs.alfworld import ALFWorld, State, generate_games, load_game, load_tasks, solve
from siri.envs.alfworld.games import parse_game, read_game
from siri.envs.alfworld.textworld import Reference
from siri.types import Task

REPEATS = 20
RESULT = Path(__file__).parent / "results" / "env_speed.md"


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def check(mine: object, its: object) -> None:
    if mine != its:
        raise SystemExit(f"the engines differ: {mine!r} and {its!r}")


def commands_of(game: Any, count: int, rng: random.Random) -> list[str]:
    """Admissible commands; verbs take turns, so that not nearly all of them are "go to"."""
    state, found = State(game), list[str]()
    for _ in range(count):
        commands = state.admissible()
        verb = rng.choice(sorted({command.split()[0] for command in commands}))
        found.append(rng.choice([c for c in commands if c.split()[0] == verb]))
        state.step(found[-1])
    return found


def reference_play(engine: Any, commands: list[str]) -> list[Any]:
    """The states that alfworld's own engine answers ``commands`` with."""
    return [engine.step(command)[0] for command in commands]


def side_by_side(tasks: list[Task], steps: int) -> list[tuple[str, float, float]]:
    """(what, seconds of the reference, seconds of the native engine), medians over games."""
    rng = random.Random(0)
    times: dict[str, tuple[list[float], list[float]]] = {n: ([], []) for n in ("load", "reset", "step")}
    engine = Reference().engine
    for task in tasks:
        content = read_game(task.source)
        loaded, _ = seconds(partial(engine.load, dict(content)))
        parsed = [seconds(partial(parse_game, content)) for _ in range(5)]
        game = parsed[0][1]
        commands = commands_of(game, steps, rng)
        took, first = seconds(engine.reset)
        plays = [native_play(game, commands) for _ in range(REPEATS)]
        stepped, answers = seconds(partial(reference_play, engine, commands))
        check(State(game).opening(), first.feedback)
        check(plays[0][2], [(a.feedback, a["admissible_commands"]) for a in answers])
        for name, its, mine in (
            ("load", loaded, [took_ for took_, _ in parsed]),
            ("reset", took, [play[0] for play in plays]),
            ("step", stepped / steps, [play[1] / steps for play in plays]),
        ):
            times[name][0].append(its)
            times[name][1].append(statistics.median(mine))
    return [(name, statistics.median(a), statistics.median(b)) for name, (a, b) in times.items()]


def native_play(game: Any, commands: list[str]) -> tuple[float, float, list[tuple[str, list[str]]]]:
    """Seconds of the reset, seconds of all steps, and what was said."""
    start = time.process_time()
    for _ in range(REPEATS):
        state = State(game)
        state.opening(), state.admissible()
    between = time.process_time()
    said = [(state.step(command)[0], state.admissible()) for command in commands]
    end = time.process_time()
    return (between - start) / REPEATS, end - between, said


def many(tasks: list[Task], count: int, budget: float = 3.0) -> float:
    """Steps a second of ``count`` environments in one process, one command each in turn, resets included."""
    rng = random.Random(0)
    envs = [ALFWorld(games=tasks) for _ in range(count)]
    infos = [env.reset(seed=index)[1] for index, env in enumerate(envs)]
    steps, start = 0, time.process_time()
    while time.process_time() - start < budget:
        for index, env in enumerate(envs):
            *_, terminated, truncated, info = env.step(rng.choice(infos[index]["admissible"]))
            infos[index] = env.reset()[1] if terminated or truncated else info
        steps += count
    return steps / (time.process_time() - start)


def vectorized(tasks: list[Task], count: int, episodes: int) -> tuple[float, int]:
    """Seconds and steps of gymnasium's vector environment, each of ``count`` winning ``episodes`` times."""
    solutions = {t.goal + load_opening(t): solve(load_game(t.source)) or [] for t in tasks}
    envs = gymnasium.make_vec("siri/ALFWorld-v0", num_envs=count, vectorization_mode="sync", games=tasks)
    start = time.process_time()
    observations, _ = envs.reset(seed=0)
    plans = [iter(solutions[goal_of(text) + text]) for text in observations]
    ended, steps = [0] * count, 0
    fresh = [False] * count
    while min(ended) < episodes:
        commands = tuple("look" if new else next(plan) for new, plan in zip(fresh, plans, strict=True))
        observations, _, terminated, truncated, _ = envs.step(commands)
        steps += count
        for index in range(count):
            if fresh[index]:  # this step was gymnasium's reset
                text = observations[index]
                plans[index] = iter(solutions[goal_of(text) + text])
            fresh[index] = bool(terminated[index] or truncated[index])
            ended[index] += fresh[index]
    return time.process_time() - start, steps


def load_opening(task: Task) -> str:
    return State(load_game(task.source)).opening()


def goal_of(opening: str) -> str:
    return opening.rpartition("Your task is to: ")[2]


def memory(tasks: list[Task]) -> tuple[float, float]:
    """KiB of one parsed game, and of one environment beside its game."""
    contents = [read_game(task.source) for task in tasks]
    parse_game(contents[0])
    tracemalloc.start()
    kept = [parse_game(content) for content in contents]
    games = tracemalloc.get_traced_memory()[0] / len(kept)
    states = [State(kept[0]) for _ in range(200)]
    state = tracemalloc.get_traced_memory()[0] / len(states) - games * len(kept) / len(states)
    tracemalloc.stop()
    return games / 1024, state / 1024


def show(value: float) -> str:
    """Seconds with three digits."""
    if value >= 1:
        return f"{round(value * 1e3, -1):,.0f} ms"
    return f"{value * 1e3:.3g} ms" if value > 1e-3 else f"{value * 1e6:.3g} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", help="data folder with real games; generated ones of their size without")
    parser.add_argument("--games", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20, help="per game")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data:
            tasks = load_tasks(arguments.data, split="valid_seen")
            tasks = random.Random(0).sample(tasks, arguments.games)
        else:
            tasks = generate_games(arguments.games, seed=0, split="train", directory=folder)
        rows = side_by_side(tasks, arguments.steps)
        rates = [(count, many(tasks, count)) for count in (1, 16, 256, 1024)]
        small = generate_games(60, seed=0, split="train", scale=0.4, directory=Path(folder, "small"))
        took, steps = vectorized(small, 256, 100)
        per_game, per_env = memory(tasks)
    names = ("alfworld", "textworld", "fast-downward-textworld", "gymnasium")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    kind = "real" if arguments.data else "generated"
    lines = [
        "# Speed of the native ALFWorld engine",
        "",
        f"Made by `benchmarks/env_speed.py` on {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {versions}.",
        f"{len(tasks)} {kind} games of the real size, {arguments.steps} commands each, both engines in turns "
        "in one process; medians of processor time.",
        "",
        "| | alfworld's engine | native | ratio |",
        "|---|---|---|---|",
        *(f"| {name} | {show(a)} | {show(b)} | {a / b:,.0f}× |" for name, a, b in rows),
        "",
        "Text and admissible list are produced at every step, and compared. One `reset()` of alfworld's own "
        "gym environment is a load and a reset.",
        "",
        "| native environments in one process, one thread | steps a second, resets included |",
        "|---|---|",
        *(f"| {count:,} | {rate:,.0f} |" for count, rate in rates),
        "",
        f"`gymnasium.make_vec` with 256 environments, 100 episodes each, to the win: {took:.1f} s for "
        f"{steps:,} steps.",
        "",
        f"Memory: {per_game:.0f} KiB a game (shared by all its environments), {per_env:.1f} KiB a state.",
        "",
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
