"""Game files: read one, list many as tasks.

Filters of :func:`load_tasks`: alfworld 0.4.2 ``AlfredTWEnv.collect_game_files``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from siri.envs.alfworld.game import Game, parse_game
from siri.envs.alfworld.grammar import TASK_PREFIX, read_task
from siri.errors import ConfigError, GameError
from siri.types import Task

__all__ = ["KINDS", "Game", "load_game", "load_tasks", "parse_game"]

KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
"""The six task types of ALFWorld."""

FILE_NAME = "game.tw-pddl"
_DATA_FOLDER = "json_2.1.1"
_CACHED_GAMES = 512
_MAX_BYTES = 64_000_000  # traj_data.json holds every image of a trajectory, a few 100 kB
_SPLITS = frozenset({"train", "valid", "valid_seen", "valid_unseen"})


def load_game(path: str | Path) -> Game:
    """Read a game file. The last 512 games are kept; a changed file is read again.

    Raises:
        GameError: the file is missing, corrupt or of an unknown kind.
    """
    where = Path(path)
    try:
        stamp = where.stat()
    except OSError as error:
        raise GameError(
            f"got no readable game file {where} ({error.strerror}); fix: check the path"
        ) from None
    return _cached(str(where), stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=_CACHED_GAMES)
def _cached(path: str, _modified: int, _size: int) -> Game:
    try:
        return parse_game(_read_json(Path(path)))
    except GameError as error:
        raise GameError(f"{error} (file {path})") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise GameError(f"got a file of {size} bytes, expected at most {_MAX_BYTES}; fix: check the file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise GameError(
            f"got a game file that is no JSON ({error}); fix: download or generate it again"
        ) from None
    if not isinstance(content, dict):
        raise GameError(
            "got JSON that is no object, expected a game; fix: download or generate the file again"
        )
    return content


def load_tasks(directory: str | Path, *, split: str, kinds: Iterable[str] | None = None) -> list[Task]:
    """The playable games below ``directory``, sorted by id.

    Either the official layout (``directory/json_2.1.1/<split>/*/*/game.tw-pddl``) or any folder of
    ``game.tw-pddl`` files; of the latter, ``directory/<split>`` is taken if it exists. Games that alfworld
    itself leaves out (movable receptacles, slicing, not solvable) are left out.

    Args:
        directory: where the games are.
        split: name of the split, recorded in each task.
        kinds: task types to keep; None keeps all six.

    Raises:
        ConfigError: no folder, no playable game in it, or an unknown kind.
        GameError: a file is corrupt.
    """
    wanted = frozenset(KINDS if kinds is None else kinds)
    unknown = sorted(wanted.difference(KINDS))
    if unknown:
        raise ConfigError(
            f"got unknown kinds {unknown}, expected some of {list(KINDS)}; fix: correct 'kinds'"
        )
    folder = _folder(Path(directory), split)
    found = [_task(path, folder, split) for path in folder.rglob(FILE_NAME) if _kept(path, folder)]
    tasks = sorted((t for t in found if t is not None and t.kind in wanted), key=lambda task: task.id)
    if not tasks:
        raise ConfigError(
            f"got no playable '{FILE_NAME}' below {folder}, expected ALFWorld's layout or generated games; "
            "fix: check the folder and the split, or run 'siri demo' / 'alfworld-download'"
        )
    return tasks


def _folder(directory: Path, split: str) -> Path:
    if not directory.is_dir():
        raise ConfigError(f"got no folder {directory}, expected one with ALFWorld games; fix: check the path")
    official = directory / _DATA_FOLDER
    base = official if official.is_dir() else directory
    if (base / split).is_dir():
        return base / split
    splits = sorted(p.name for p in base.iterdir() if p.is_dir())
    if base is official or _SPLITS.intersection(splits):  # never mix splits because of a misspelt one
        raise ConfigError(f"got split {split!r}, expected one of {splits}; fix: correct 'split'")
    return directory


def _kept(path: Path, folder: Path) -> bool:
    name = str(path.relative_to(folder))
    return "movable" not in name and "Sliced" not in name


def _task(path: Path, folder: Path, split: str) -> Task | None:
    kind = _kind(path)
    if kind is None:
        return None
    try:
        content = _read_json(path)
        if not content.get("solvable", False):
            return None
        sentence = read_task(str(content.get("grammar", "")))
    except GameError as error:
        raise GameError(f"{error} (file {path})") from None
    name = path.parent.relative_to(folder).as_posix()
    return Task(
        id=name if name != "." else path.parent.name,
        kind=kind,
        goal=sentence.removeprefix(TASK_PREFIX),
        split=split,
        source=str(path.resolve()),
    )


def _kind(path: Path) -> str | None:
    """The task type, by ``traj_data.json`` or the name of a folder above; None when it is none of the six."""
    data = path.with_name("traj_data.json")
    if data.is_file():
        kind = _read_json(data).get("task_type")
        return kind if kind in KINDS else None
    for folder in (path.parent.name, path.parent.parent.name):
        for kind in KINDS:
            if folder.startswith(kind):
                return kind
    return None
