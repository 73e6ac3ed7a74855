"""ALFWorld as a gymnasium environment: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import gymnasium

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.games import load_game
from siri.errors import ConfigError, EnvironmentFault, GameError, MissingExtra
from siri.types import Info, Task

__all__ = ["ALFWorld"]

_LONGEST = 16_384


class ALFWorld(gymnasium.Env[str, str]):
    """Plays the games of :func:`~siri.envs.alfworld.load_tasks`, one at a time.

    An episode ends when the task is solved (``terminated``, reward ``reward``) or after ``max_steps``
    commands (``truncated``); every command counts, refused ones too. Games are deterministic: the seed
    changes nothing.

    Args:
        engine: ``"native"`` (no dependency, microseconds per step). ``"textworld"`` needs the extra.
        max_steps: commands per episode; 50 in ALFWorld.
        reward: reward of the step that solves the task; 10 in GiGPO and SIRI. All others give 0.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(
        self,
        *,
        engine: Literal["native", "textworld"] = "native",
        max_steps: int = 50,
        reward: float = 10.0,
    ) -> None:
        if engine == "textworld":
            raise MissingExtra("alfworld", "alfworld")
        if engine != "native":
            raise ConfigError(f"got engine {engine!r}, expected 'native' or 'textworld'; fix: choose one")
        if max_steps < 1:
            raise ConfigError(f"got max_steps={max_steps}, expected at least 1; fix: raise it")
        self.max_steps = max_steps
        self.reward = reward
        charset = "".join(chr(code) for code in range(32, 127)) + "\n"
        self.observation_space = gymnasium.spaces.Text(_LONGEST, min_length=1, charset=charset)
        self.action_space = gymnasium.spaces.Text(_LONGEST, min_length=0, charset=charset)
        self._state: State | None = None
        self._steps = 0
        self._over = False

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Start the task ``options["task"]``.

        Raises:
            ConfigError: no task was given.
            GameError: its file is missing or damaged.
        """
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if not isinstance(task, Task):
            raise ConfigError(
                f"got task {task!r}, expected a Task of load_tasks(); fix: reset(options={{'task': task}})"
            )
        if not isinstance(task.source, str):
            raise GameError(
                f"got task {task.id!r} without a game file, expected a path as source; fix: load_tasks"
            )
        self._state = State(load_game(task.source))
        self._steps = 0
        self._over = False
        return self._state.opening(), self._info(self._state, valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:  # type: ignore[override]
        """Carry out one command.

        Raises:
            EnvironmentFault: called before ``reset`` or after the end of the episode.
        """
        state = self._state
        if state is None or self._over:
            when = "before reset" if state is None else "after the end of the episode"
            raise EnvironmentFault(f"got a step {when}, expected a running episode; fix: call reset first")
        observation, valid = state.step(action)
        self._steps += 1
        terminated = state.won
        truncated = not terminated and self._steps >= self.max_steps
        self._over = terminated or truncated
        return observation, self.reward * terminated, terminated, truncated, self._info(state, valid=valid)

    @staticmethod
    def _info(state: State, *, valid: bool) -> Info:
        return cast(
            Info,
            {
                "admissible": state.admissible(),
                "success": state.won,
                "anchor": state.anchor(),
                "valid": valid,
            },
        )
