"""Damages game files in many ways and plays what still loads.

Every damaged file must give a GameError or a game that can be played; anything else (another exception, a
hang, a blown stack) is printed with its number and ends the script with exit code 1. Deterministic in --seed.

    python scripts/fuzz_games.py --count 100000
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from siri.envs.alfworld import Expert, State, generate_games
from siri.envs.alfworld.games import parse_game, read_game
from siri.envs.alfworld.variants import VARIANTS
from siri.errors import GameError

TOKEN = re.compile(r"[()]|[^\s()]+|\s+")
SECONDS = 20  # of processor time, for one file
VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -1.5,
    "",
    "x",
    [],
    ["a"],
    {},
    {"a": 1},
    "(" * 50_000,
    "\ud800",
    "\x00",
    "Ω",
)
WORDS = tuple("( ) () - ?x and not exists forall = object location agent1 ; ∀".split())  # noqa: SIM905
FACTS = ("isHot", "opened", "inReceptacle", "objectType", "holds", "checked")


def flip_bytes(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8, 100))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut(raw: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(raw)) for _ in range(2))
    return rng.choice((raw[:first], raw[first:], raw[:first] + raw[last:], raw + raw[first:last]))


def nest(raw: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((50, 1_000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    return (opening * depth + raw.decode() + closing * rng.choice((0, depth))).encode()


def wrong_type(content: dict[str, Any], rng: random.Random) -> None:
    content[rng.choice(sorted(content))] = rng.choice(VALUES)


def drop_key(content: dict[str, Any], rng: random.Random) -> None:
    del content[rng.choice(sorted(content))]


def tokens(content: dict[str, Any], rng: random.Random) -> None:
    """Drop, double, swap or replace a few tokens of one of the texts, most often the problem."""
    key = rng.choice(("pddl_problem",) * 8 + ("pddl_domain", "grammar"))
    found = TOKEN.findall(content[key])
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        at, other = rng.randrange(len(found)), rng.randrange(len(found))
        match rng.randrange(4):
            case 0:
                found[at] = ""
            case 1:
                found[at] += f" {found[at]}"
            case 2:
                found[at], found[other] = found[other], found[at]
            case _:
                found[at] = f" {rng.choice(WORDS)} "
    content[key] = "".join(found)


def parens(content: dict[str, Any], rng: random.Random) -> None:
    text = content["pddl_problem"]
    at = rng.randrange(len(text))
    content["pddl_problem"] = text[:at] + rng.choice("()") * rng.choice((1, 3, 70, 5_000)) + text[at:]


def facts(content: dict[str, Any], rng: random.Random) -> None:
    """Facts and objects that do not fit."""
    text = content["pddl_problem"]
    words = re.findall(r"[\w.]+", text)
    for _ in range(rng.choice((1, 3, 20))):
        fact = " ".join(rng.choice(words) for _ in range(rng.randrange(5)))
        where = rng.choice(("(:init\n", "(:objects\n"))
        text = text.replace(where, where + (f"({fact})\n" if "init" in where else f"{fact} - object\n"), 1)
    content["pddl_problem"] = text


def goals(content: dict[str, Any], rng: random.Random) -> None:
    """A random formula as goal."""
    text = content["pddl_problem"]
    words = re.findall(r"[A-Za-z][\w.]+", text)

    def formula(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            names = [rng.choice(("?a", "?b", rng.choice(words))) for _ in range(rng.randrange(4))]
            return f"({rng.choice((*FACTS, rng.choice(words)))} {' '.join(names)})"
        kind = rng.choice(("object", "receptacle", "location", "agent", "otype", "nothing"))
        inner = " ".join(formula(depth - 1) for _ in range(rng.choice((1, 1, 2, 3))))
        heads = (
            "and",
            "or",
            "not",
            "imply",
            "=",
            f"exists (?a ?b - {kind})",
            f"forall (?a - {kind})",
            "exists",
        )
        return f"({rng.choice(heads)} {inner})"

    content["pddl_problem"] = text[: text.index("(:goal")] + f"(:goal {formula(rng.choice((1, 3, 5, 9)))}))"


def task(content: dict[str, Any], rng: random.Random) -> None:
    words = "".join(
        chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x3000)))) for _ in range(rng.randrange(40))
    )
    spelt = json.dumps(words)[1:-1] if rng.random() < 0.7 else words
    content["grammar"] = content["grammar"].replace("Your task is to: ", f"Your task is to: {spelt}", 1)


RAW: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip_bytes, cut, nest)
PARSED: tuple[Callable[[dict[str, Any], random.Random], None], ...] = (
    wrong_type, drop_key, tokens, tokens, tokens, parens, facts, facts, goals, goals, task,
)  # fmt: skip


def damaged(raw: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The kind of damage, and the file."""
    if rng.random() < 0.25:
        change = rng.choice(RAW)
        return change.__name__, change(raw, rng)
    content = json.loads(raw)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutate = rng.choice(PARSED)
        try:
            mutate(content, rng)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError):
            continue  # an earlier change has left nothing for this one
        names.append(mutate.__name__)
    return "+".join(names) or "none", json.dumps(content).encode()


def play(path: Path, rng: random.Random) -> str:
    try:
        game = parse_game(read_game(path))
    except GameError as error:
        if not str(error).startswith("got "):
            raise
        return "refused"
    state, expert = State(game), Expert(game)
    state.opening()
    for _ in range(12):
        commands = state.admissible()
        command = expert.next_command(state) if rng.random() < 0.3 else rng.choice(commands)
        state.step(command)
        state.anchor(), state.observable(), state.won
    return "played"


def give_up(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to repeat one")
    arguments = parser.parse_args()
    signal.signal(signal.SIGVTALRM, give_up)
    outcomes: Counter[str] = Counter()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        bases = []
        for variant in VARIANTS:
            made = generate_games(
                6,
                seed=arguments.seed,
                split="train",
                scale=0.2,
                grammar=variant,
                directory=Path(folder, variant),
            )
            bases += [Path(t.source).read_bytes() for t in made]
        path = Path(folder, "game.tw-pddl")
        for number in range(arguments.first, arguments.first + arguments.count):
            rng = random.Random(f"{arguments.seed}/{number}")
            name, raw = damaged(rng.choice(bases), rng)
            path.write_bytes(raw)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                outcome = play(path, rng)
            except Exception as error:
                failed += 1
                outcome = "FAILED"
                if arguments.count == 1:
                    raise
                print(f"file {number} ({name}): {type(error).__name__}: {str(error)[:200]}", flush=True)
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            outcomes[outcome] += 1
    print(f"{sum(outcomes.values())} damaged files, seed {arguments.seed}: {dict(outcomes)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
