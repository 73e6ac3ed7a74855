"""The laws of ``Environment``."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from siri.errors import ConfigError, ContractBroken
from siri.protocols import Environment
from siri.testing.purity import untouched_generators
from siri.types import Info, Task

__all__ = ["check_environment"]

NONSENSE = ("", "xyzzy", "go to the 7th moon", "öffne die Tür\n🙂", "a " * 500)
FIELDS = ("admissible", "success", "anchor", "valid")


@dataclass(frozen=True, slots=True)
class _Step:
    """What an environment said, in a form that two runs can be compared by."""

    observation: str
    reward: float
    terminated: bool
    truncated: bool
    admissible: tuple[str, ...]
    success: bool
    anchor: Hashable
    valid: bool


def check_environment(
    make_env: Callable[[], Environment],
    tasks: Sequence[Task],
    *,
    actions: Sequence[str] = (),
    steps: int = 30,
    episodes: int = 2,
    seed: int = 0,
) -> None:
    """Raise ``ContractBroken`` unless environments from ``make_env`` keep the contract of ``Environment``.

    Random episodes of every task, of admissible commands and now and then a nonsensical one:
    ``types``, ``reset_is_valid``, ``admissible_is_valid``, ``nonsense_is_refused``, ``determinism`` (same
    instance, fresh instance, after an abandoned episode), ``info_is_a_snapshot``, ``no_global_rng``.

    Args:
        make_env: makes a new environment.
        tasks: tasks to play, each by all episodes.
        actions: commands to choose from where an environment does not list any.
        steps: commands per episode at most.
        episodes: episodes per task.
        seed: of the choice of commands and of the environment.
    """
    if not tasks or steps < 1 or episodes < 1:
        raise ConfigError(
            f"got {len(tasks)} tasks, steps={steps}, episodes={episodes}; expected at least one of each; "
            f"fix: pass a task"
        )
    first = make_env()
    player = _Player(type(first).__name__, tuple(actions), steps)
    with untouched_generators(player.subject):
        for task in tasks:
            for episode in range(episodes):
                record = player.play(first, task, seed, chooser=random.Random(f"{seed} {task.id} {episode}"))
                commands = [command for command, _ in record[1:]]
                other = make_env()
                player.replay(other, task, seed, commands[: len(commands) // 2], record)
                for instance in (first, other):
                    player.replay(instance, task, seed, commands, record)


class _Player:
    def __init__(self, subject: str, actions: tuple[str, ...], steps: int) -> None:
        self.subject = subject
        self.actions = actions
        self.steps = steps

    def play(
        self, env: Environment, task: Task, seed: int, chooser: random.Random
    ) -> list[tuple[str, _Step]]:
        """A random episode: (command, what followed), the first command being ``"reset"``."""
        observation, info = env.reset(seed=seed, options={"task": task})
        step = self._step("reset", (observation, 0.0, False, False, info))
        if not step.valid:
            self._broken(
                "reset_is_valid", "info['valid'] is False after a reset", "True: nothing was refused"
            )
        record = [("reset", step)]
        infos: list[tuple[Info, _Step]] = [(info, step)]
        while len(record) <= self.steps and not (step.terminated or step.truncated):
            offered = step.admissible
            pool = offered or self.actions
            nonsense = not pool or chooser.random() < 0.15
            command = chooser.choice(NONSENSE if nonsense else pool)
            result = env.step(command)
            step = self._step(command, result)
            self._judge(command, offered, step, nonsense)
            record.append((command, step))
            infos.append((result[4], step))
        for number, (info, before) in enumerate(infos):
            if (tuple(info["admissible"]), info["success"], info["anchor"], info["valid"]) != (
                before.admissible,
                before.success,
                before.anchor,
                before.valid,
            ):
                self._broken(
                    "info_is_a_snapshot",
                    f"the info of step {number} changed while the episode went on",
                    "each info is a new one; fix: copy what changes",
                )
        return record

    def replay(
        self,
        env: Environment,
        task: Task,
        seed: int,
        commands: Sequence[str],
        record: Sequence[tuple[str, _Step]],
    ) -> None:
        """Play ``commands`` again; every step must be that of ``record``."""
        observation, info = env.reset(seed=seed, options={"task": task})
        self._same(0, "reset", record[0][1], self._step("reset", (observation, 0.0, False, False, info)))
        for number, command in enumerate(commands, 1):
            self._same(number, command, record[number][1], self._step(command, env.step(command)))

    def _judge(self, command: str, offered: Sequence[str], step: _Step, nonsense: bool) -> None:
        if command in offered and not step.valid:
            self._broken(
                "admissible_is_valid",
                f"{command!r} was among info['admissible'] and then refused (info['valid'] is False)",
                "every admissible command is carried out; fix: one of the two",
            )
        if nonsense and offered and command not in offered and step.valid:
            self._broken(
                "nonsense_is_refused",
                f"the inadmissible command {command!r} gave info['valid'] True",
                "False, and no exception: the agent is to learn from the observation",
            )

    def _same(self, number: int, command: str, before: _Step, now: _Step) -> None:
        for name in _Step.__slots__:
            old, new = getattr(before, name), getattr(now, name)
            if old != new:
                self._broken(
                    "determinism",
                    f"step {number} ({command!r}) gave {name} {_short(old)}, and {_short(new)} when the same "
                    f"task, seed and actions were played again",
                    "equal (task, seed, actions) give equal results; fix: reset() must restore everything, "
                    "and randomness must come from the seed",
                )

    def _step(self, command: str, result: tuple[Any, ...]) -> _Step:
        observation, reward, terminated, truncated, info = self._five(command, result)
        where = f"after {command!r}"
        self._type(f"the observation {where}", observation, str)
        self._type(f"the reward {where}", reward, (int, float))
        if not math.isfinite(reward):
            self._broken("types", f"the reward {where} is {reward}", "a finite number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            self._type(f"{name} {where}", flag, bool)
        self._type(f"the info {where}", info, dict)
        if missing := [name for name in FIELDS if name not in info]:
            known = sorted(get_type_hints(Info))
            self._broken("types", f"the info {where} lacks {missing}", f"an Info with {known}")
        admissible = info["admissible"]
        if isinstance(admissible, str) or not isinstance(admissible, Sequence):
            self._broken("types", f"info['admissible'] {where} is {_short(admissible)}", "a sequence of str")
        for name in ("success", "valid"):
            self._type(f"info[{name!r}] {where}", info[name], bool)
        for text in admissible:
            self._type(f"an entry of info['admissible'] {where}", text, str)
        anchor = info["anchor"]
        if not isinstance(anchor, Hashable) or anchor != anchor:
            self._broken(
                "types", f"info['anchor'] {where} is {_short(anchor)}", "hashable and equal to itself"
            )
        try:
            hash(anchor)
        except TypeError:
            self._broken("types", f"info['anchor'] {where} is {_short(anchor)}", "hashable, to the bottom")
        numbers = float(reward), terminated, truncated
        return _Step(observation, *numbers, tuple(admissible), info["success"], anchor, info["valid"])

    def _five(self, command: str, result: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(result, tuple) or len(result) != 5:
            self._broken(
                "types",
                f"step({command!r}) returned {_short(result)}",
                "(observation, reward, terminated, truncated, info)",
            )
        return result

    def _type(self, what: str, value: object, kind: type | tuple[type, ...]) -> None:
        if not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(k.__name__ for k in kinds)
            self._broken("types", f"{what} is {_short(value)} ({type(value).__name__})", names)

    def _broken(self, law: str, trouble: str, claim: str) -> None:
        raise ContractBroken(law, self.subject, trouble, claim)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
