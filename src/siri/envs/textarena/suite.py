"""A game of TextArena as a suite: boards by seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import count
from typing import Any, Literal

from pydantic import Field, JsonValue

from siri.config import EnvSettings, RunConfig
from siri.envs.prompts import Transcript, Window
from siri.envs.textarena.env import Arena, Board, game_of
from siri.errors import ConfigError, EnvironmentFault
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.types import Task

__all__ = ["Settings", "SokobanSettings", "Solver", "configured", "make_arena", "sokoban", "textarena_suite"]

_RULES = (
    "You are an expert agent playing a puzzle. A move is written as the rules say, square brackets included."
)


def textarena_suite(
    game: str = "sokoban",
    *,
    style: Literal["transcript", "window"] = "window",
    options: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    history: int = 2,
    train_tasks: int = 240,
    valid_tasks: int = 100,
    seed: int = 0,
) -> Suite:
    """Boards, environment and prompts of one game.

    No board of ``valid`` is in ``train``, and none is there twice.

    Args:
        game: a name of ``GAMES`` (sokoban, frozenlake, lightsout), or any id of a single-player game.
        style: ``window`` shows the rules, the last turns and the legal moves; ``transcript`` a conversation.
        options: of the game's constructor, such as ``{"num_boxes": 2}``.
        max_steps: commands per episode; None is the game's own number.
        history: turns in a window prompt.
        train_tasks: boards of the training split.
        valid_tasks: boards of the validation split.
        seed: of the boards.

    Raises:
        ConfigError: a setting that does not exist, or more boards than the game has.
        MissingExtra: textarena is not installed.
    """
    if style not in ("transcript", "window"):
        raise ConfigError(
            f"got style {style!r} for textarena, expected 'transcript' or 'window'; fix: choose one"
        )
    if train_tasks < 1 or valid_tasks < 1:
        raise ConfigError(f"got {train_tasks} and {valid_tasks} tasks, expected 1 or more; fix: raise them")
    maker = _Maker(game, max_steps, options)
    env = maker()
    taken: set[Hashable] = set()
    # validation first: what it holds does not depend on the size of the training split
    valid = _draw(env, game, "valid", valid_tasks, seed, taken)
    train = _draw(env, game, "train", train_tasks, seed, taken)
    return Suite(
        name=game,
        make_env=maker,
        tasks={"train": train, "valid": valid},
        prompter=Transcript() if style == "transcript" else Window(_RULES, history=history, opening=True),
        max_steps=env.max_steps,
        expert=Solver(maker) if env.game.solve is not None else None,
    )


class Solver:
    """Solves the games that it knows; implements ``siri.protocols.Expert``."""

    def __init__(self, make_env: _Maker) -> None:
        self._env = make_env()

    def demonstrate(self, task: Task, *, seed: int = 0) -> Sequence[str] | None:
        """The moves; None where there is no solution, or none in time."""
        self._env.reset(seed=seed, options={"task": task})
        moves = None if self._env.game.solve is None else self._env.game.solve(self._env.arena)
        return moves if moves is not None and len(moves) <= self._env.max_steps else None


def make_arena(game: str = "sokoban", *, split: str = "train", **settings: Any) -> Arena:
    """What ``gymnasium.make("siri/TextArena-v0", …)`` calls: the boards of one split.

    Args:
        game: as for :func:`textarena_suite`.
        split: train or valid.
        settings: of :func:`textarena_suite`.
    """
    suite = textarena_suite(game, **settings)
    known = {name: settings[name] for name in ("max_steps", "options") if name in settings}
    return Arena(game, boards=suite.split(split), **known)


def _draw(env: Arena, game: str, split: str, number: int, seed: int, taken: set[Hashable]) -> list[Task]:
    """``number`` boards none of which is among ``taken``; seeds at which TextArena fails are passed over."""
    tasks: list[Task] = []
    misses = 0
    goal = game_of(game).goal
    for index in count():
        if len(tasks) == number:
            return tasks
        task = Task(
            f"{split}-{len(tasks)}",
            game,
            goal,
            split,
            Board(derive_seed("textarena", seed, game, split, index) % 2**31),
        )
        try:
            opening, info = env.reset(options={"task": task})
            known: Hashable = (opening, info["anchor"]) if env.game.state else task.source
        except EnvironmentFault:
            known = None
        if known is None or known in taken:
            misses += 1
            if misses > 100 + 10 * number:
                raise ConfigError(
                    f"got {len(tasks)} different boards of {game} for {split}, expected {number}; "
                    "fix: ask for fewer"
                )
            continue
        taken.add(known)
        tasks.append(task)
    return tasks


class _Maker:
    """Makes environments; can be sent to another process."""

    def __init__(self, game: str, max_steps: int | None, options: Mapping[str, Any] | None) -> None:
        self.game = game
        self.max_steps = max_steps
        self.options = options

    def __call__(self) -> Arena:
        return Arena(self.game, max_steps=self.max_steps, options=self.options)


class SokobanSettings(EnvSettings):
    """Sokoban's own settings."""

    boxes: int = 1
    """Boxes on a board; three are TextArena's default, and slow to make."""


class Settings(EnvSettings):
    """Which game of TextArena."""

    game: str = "sokoban"
    """sokoban, frozenlake, lightsout, or the id of any single-player game."""
    game_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the game's constructor."""


def configured(config: RunConfig, settings: Settings) -> Suite:
    """The suite as a run's configuration has it."""
    e = config.env
    return textarena_suite(
        settings.game,
        style=e.style,  # type: ignore[arg-type]  # it refuses the style of another benchmark
        max_steps=e.max_steps,
        history=e.history,
        train_tasks=e.train_games,
        valid_tasks=e.valid_games,
        options=settings.game_options,
        seed=e.games_seed,
    )


def sokoban(config: RunConfig, settings: SokobanSettings) -> Suite:
    """Sokoban as a run's configuration has it."""
    return configured(config, Settings(game_options={"num_boxes": settings.boxes}))
