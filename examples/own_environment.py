"""An environment of your own, trained: two methods, and a suite around them.

python examples/own_environment.py [RUN]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import siri
from siri.testing import check_environment


class Lamp:
    """A dark room. The light goes on after the curtain was opened, and never before."""

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, siri.Info]:
        """Begin an episode; the first observation. ``options["task"]`` says which task it is."""
        del options
        self.open = random.Random(seed).random() < 0.3
        return self.look(), self.info()

    def step(self, action: str) -> tuple[str, float, bool, bool, siri.Info]:
        """Observation, reward, whether the task is over, whether time is up, and what siri may know."""
        known = action in ("open curtain", "use lamp", "wait")
        won = action == "use lamp" and self.open
        self.open = self.open or action == "open curtain"
        text = "The light is on." if won else self.look()
        return text, 10.0 * won, won, False, self.info(success=won, valid=known)

    def look(self) -> str:
        """What the room looks like."""
        return "You see a lamp." if self.open else "You see a closed curtain."

    def info(self, *, success: bool = False, valid: bool = True) -> siri.Info:
        """``anchor`` is the state: GiGPO compares actions that were taken in the same one."""
        return siri.info(
            success=success,
            valid=valid,
            anchor=(self.open, success),
            admissible=("open curtain", "use lamp", "wait"),
        )


def main(out: str = "runs/lamp") -> siri.Run:
    """Check the environment, train on it, show what came of it."""
    suite = siri.Suite.of(Lamp, tasks=["light the lamp"] * 8, max_steps=5)
    check_environment(suite.make_env, suite.split("train"))
    run = siri.train(suite, policy="tiny", miner="self", out=out, preset="smoke")
    print(run)
    print("plain success, iteration by iteration:", run.metrics["arm/plain/success"])
    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
