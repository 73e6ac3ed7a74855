"""Small worlds for tests of rollouts. Nothing heavy is imported here: worker processes do it too."""

from __future__ import annotations

import os
import random
import signal
import time

from siri.errors import EnvironmentFault, EnvironmentTimeout, GameError
from siri.types import Message, Request


class Counter:
    """Solved when ``up`` was said ``source + 1`` times; five steps at most; ``crash`` breaks it."""

    def reset(self, *, seed=None, options=None):
        self.count, self.steps, self.goal, self.seed = 0, 0, options["task"].source + 1, seed
        return f"seed {seed}", self.info(True)

    def step(self, action):
        if action == "crash":
            raise EnvironmentFault("broken")
        self.steps += 1
        self.count += action == "up"
        won = self.count >= self.goal
        return f"at {self.count}", 10.0 * won, won, not won and self.steps >= 5, self.info(action == "up")

    def info(self, valid):
        won = self.count >= self.goal
        return {"admissible": ["up"], "success": won, "anchor": self.count, "valid": valid}


class Flaky(Counter):
    """Raises in a share of its steps and hangs in another, by the seed of the episode."""

    def __init__(self, raises: float = 0.0, hangs: float = 0.0, naps: bool = True) -> None:
        self.raises, self.hangs, self.naps = raises, hangs, naps

    def reset(self, *, seed=None, options=None):
        self.draw = random.Random(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action):
        luck = self.draw.random()
        if luck < self.raises:
            raise KeyError("lost")
        if luck > 1 - self.hangs:
            if not self.naps:
                raise EnvironmentTimeout("would hang")
            time.sleep(60)
        return super().step(action)


class Odd(Counter):
    """Does what the action says."""

    def step(self, action):
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "game":
            raise GameError("got a bad game")
        if action == "hang":
            time.sleep(60)
        return super().step(action)


class FlakyWorld:
    """Another world that raises in 5 % of its steps and hangs in 1 %."""

    def __init__(self, make) -> None:
        self.env = make()

    def reset(self, *, seed=None, options=None):
        self.draw = random.Random(seed)
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        luck = self.draw.random()
        if luck < 0.05:
            raise RuntimeError("lost")
        if luck > 0.99:
            time.sleep(60)
        return self.env.step(action)


class Prompter:
    """One message with everything; the reply is the action."""

    def messages(self, task, turns, observation, admissible, skills=()) -> list[Message]:
        past = " ".join(turn.action for turn in turns)
        return [{"role": "user", "content": f"{past}|{observation}{self.block(skills)}"}]

    def block(self, skills) -> str:
        return "".join(f"\n{skill.text}" for skill in skills)

    def parse(self, text: str):
        return text, bool(text), (0, len(text))


def reply(request: Request) -> str:
    """Random by the request's seed, always right under a skill."""
    if "counting" in request.messages[-1]["content"]:
        return "up"
    return random.Random(request.seed).choice(["up", "down"])
