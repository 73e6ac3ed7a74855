"""Measure a tiny checkpoint: success by kind (plain, correct skill, wrong skill) and summaries that parse."""

from __future__ import annotations

import random
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiny_rooms import CLEAN, COOL, HEAT, KINDS, LOOK, PICK, TWO
from tiny_worlds import sample_world

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.games import load_game, load_tasks
from siri.policies.hf import HFPolicy
from siri.policies.tiny import CONDITIONS, TINY_SKILL_PATTERN
from siri.skills.writers.prompts import summary_text
from siri.types import Message, Request, Sampling, Task

CORRECT = {
    PICK: "search the sidetable first, take it, then move it to the goal.",
    LOOK: "search the desk first, take it, then use the desklamp.",
    CLEAN: "search the countertop first, take it, clean it with the sinkbasin, then move it to the goal.",
    HEAT: "search the countertop first, take it, heat it with the microwave, then move it to the goal.",
    COOL: "search the countertop first, take it, cool it with the fridge, then move it to the goal.",
    TWO: "search the sidetable first, take it, move it to the goal, then repeat with the second one.",
}
WRONG = {
    PICK: "search the garbagecan first, take it, clean it with the shelf, then move it to the goal.",
    LOOK: "search the garbagecan first, take it, heat it with the drawer, then use the desklamp.",
    CLEAN: "search the garbagecan first, take it, clean it with the drawer, then move it to the goal.",
    HEAT: "search the garbagecan first, take it, heat it with the toaster, then move it to the goal.",
    COOL: "search the garbagecan first, take it, cool it with the stoveburner, then move it to the goal.",
    TWO: "search the garbagecan first, take it, then move it to the goal.",
}


@dataclass
class Play:
    """One episode that is being played."""

    kind: str
    goal: str
    messages: list[Message]
    step: Callable[[str], tuple[str, bool]]
    seed: int
    actions: list[str] = field(default_factory=list)
    valid: int = 0
    steps: int = 0
    won: bool = False


def of_task(task: Task, seed: int, skill: str | None) -> Play:
    """An episode in the native engine."""
    state = State(load_game(task.source))
    opening = state.opening().partition("\n\n")[2]

    def step(command: str) -> tuple[str, bool]:
        return state.step(command)[0], state.won

    return _play(task.kind, task.goal, opening, step, seed, skill)


def of_world(kind: str, seed: int, skill: str | None) -> Play:
    """An episode in a world of the demonstrations (unseen seeds)."""
    world = sample_world(random.Random(f"eval-{kind}-{seed}"), kind=kind)

    def step(command: str) -> tuple[str, bool]:
        return world.step(command), world.won

    return _play(kind, world.goal, world.opening(), step, seed, skill)


def _play(
    kind: str, goal: str, opening: str, step: Callable[[str], tuple[str, bool]], seed: int, skill: str | None
) -> Play:
    block = "" if skill is None else f"\n\nSkill: When {CONDITIONS[kind]}: {skill}"
    return Play(kind, goal, [{"role": "user", "content": opening + block}], step, seed)


def run(policy: HFPolicy, plays: Sequence[Play], *, limit: int, temperature: float = 1.0) -> None:
    """Play all episodes to their end, ``policy.slots`` or so at a time."""
    sampling = Sampling(temperature=temperature, max_tokens=12)
    for begin in range(0, len(plays), 64):
        live = list(plays[begin : begin + 64])
        for turn in range(limit):
            requests = [
                Request(list(p.messages), session=f"{begin}-{id(p)}", seed=p.seed * 1000 + turn) for p in live
            ]
            for play, completion in zip(live, policy.generate(requests, sampling), strict=True):
                command = completion.text
                seen, play.won = play.step(command)
                play.steps += 1
                if seen != "Nothing happens.":
                    play.valid += 1
                    play.actions.append(command)
                play.messages += [
                    {"role": "assistant", "content": command},
                    {"role": "user", "content": seen},
                ]
            live = [p for p in live if not p.won]
            if not live:
                break
        policy.reset_cache()


def summaries(policy: HFPolicy, plays: Sequence[Play]) -> list[tuple[Play, str]]:
    """A summary of each successful episode, sampled at 0.7."""
    won = [p for p in plays if p.won]
    requests = [
        Request([{"role": "user", "content": summary_text(p.goal, p.actions)}], seed=p.seed) for p in won
    ]
    answers = policy.generate(requests, Sampling(temperature=0.7, max_tokens=60)) if requests else []
    return [(play, answer.text) for play, answer in zip(won, answers, strict=True)]


def report(folder: Path, *, games: str, count: int, limit: int, show: int = 0) -> None:
    """Print the table. ``games``: "worlds", "generated", "generated-large" or a folder of games."""
    policy = HFPolicy.load(str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        tasks: dict[str, list[Task]] = {}
        if games.startswith("generated"):
            from siri.envs.alfworld.generator import generate_games

            scale = 1.0 if games.endswith("large") else 0.4
            for kind in KINDS:
                tasks[kind] = generate_games(
                    count,
                    seed=7,
                    split="valid_unseen",
                    kinds=[kind],
                    scale=scale,
                    directory=Path(scratch) / kind,
                )
        elif games != "worlds":
            for task in load_tasks(games, split="valid_seen"):
                tasks.setdefault(task.kind, []).append(task)

        def plays(kind: str, skill: str | None) -> list[Play]:
            if games == "worlds":
                return [of_world(kind, seed, skill) for seed in range(count)]
            chosen = tasks.get(kind, [])[:count]
            return [of_task(task, seed, skill) for seed, task in enumerate(chosen)]

        rows: dict[str, list[float]] = {}
        kept: list[Play] = []
        for name, table in (("plain", None), ("correct", CORRECT), ("wrong", WRONG)):
            done = {kind: plays(kind, table[kind] if table else None) for kind in KINDS}
            every = [p for kind in KINDS for p in done[kind]]
            run(policy, every, limit=limit)
            rows[name] = [statistics.mean(p.won for p in done[k]) if done[k] else 0.0 for k in KINDS]
            rows[name].append(statistics.mean(p.won for p in every))
            rows[name].append(sum(p.valid for p in every) / sum(p.steps for p in every))
            kept = kept or every
        print(f"{'':10s}" + "".join(f"{k[:10]:>12s}" for k in KINDS) + f"{'all':>12s}{'valid':>12s}")
        for name, row in rows.items():
            print(f"{name:10s}" + "".join(f"{value:12.3f}" for value in row))
        print(f"n = {count} per kind and row, limit {limit}, {games}")
        told = summaries(policy, kept)
        parsed = [bool(re.fullmatch(TINY_SKILL_PATTERN, text)) for _, text in told]
        right = [CONDITIONS[p.kind] in text and _station(CORRECT[p.kind]) in text for p, text in told]
        if told:
            print(
                f"summaries: {sum(parsed)}/{len(told)} parse; {sum(right)} name the kind and its procedure",
            )
        for play in kept[: show * count : max(1, count)]:
            print("\n".join(f"{m['role'][0]}: {m['content']}" for m in play.messages))
        for _, text in told[:: max(1, len(told) // 12)]:
            print(text)


def _station(strategy: str) -> str:
    found = re.search(r"(?:heat|cool|clean) it with the [a-z]+|use the [a-z]+|then repeat", strategy)
    return found.group() if found else ""
