"""Solvable games made on the spot, in the layout and schema of ALFWorld's own release.

Rooms, objects and goals follow the tables of :mod:`siri.envs.alfworld.rooms`. Everything follows from the
arguments: the same call writes the same files in every process.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from siri.envs.alfworld.games import FILE_NAME, KINDS
from siri.envs.alfworld.grammar import TASK_PREFIX
from siri.envs.alfworld.problems import TREATMENTS, Goal, House, Item, render_problem, walkthrough
from siri.envs.alfworld.rooms import (
    LAMP,
    ROOMS,
    Layout,
    Receptacle,
    diverse,
    draw_count,
    id_of,
    make_layout,
    pool,
    tables,
)
from siri.envs.alfworld.variants import VARIANTS, Variant, logic
from siri.errors import ConfigError
from siri.types import Task

__all__ = ["GENERATOR_VERSION", "generate_games"]

GENERATOR_VERSION = 1
"""Changes whenever the same arguments would give other games."""

SPLITS = ("train", "valid_seen", "valid_unseen")
_PUT = dict.fromkeys(VARIANTS, "move {o} to {r}") | {"2.1.1": "put {o} in/on {r}"}
_MANIFEST = "manifest.json"
_MIN_OBJECTS = 8
_SMALL_OBJECTS = 30  # times the scale: most objects of a room that is scaled down
_ATTEMPTS = 500
_SINGLE = frozenset({"CoffeeMachine", "HandTowelHolder", "Microwave", "ToiletPaperHanger", "TowelHolder"})
_TEXTS = {
    "pick_and_place_simple": ("put some {o} on {r}.", "put a {o} in {r}."),
    "look_at_obj_in_light": ("look at {o} under the {r}.", "examine the {o} with the {r}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}


def generate_games(
    count: int,
    *,
    seed: int,
    split: str,
    kinds: Iterable[str] | None = None,
    rooms: Iterable[str] | None = None,
    scale: float = 1.0,
    grammar: Variant = "current",
    directory: str | Path | None = None,
) -> list[Task]:
    """Write ``count`` games and return them as :func:`~siri.envs.alfworld.games.load_tasks` would.

    Args:
        count: how many games; the kinds take turns.
        seed: another seed gives other games in the same rooms.
        split: "train" and "valid_seen" share their rooms but never a placement; the rooms of
            "valid_unseen" are its own, whatever the seed.
        kinds: kinds of task; None takes all that ``rooms`` allow.
        rooms: some of "kitchen", "livingroom", "bedroom", "bathroom"; None takes all.
        scale: 1.0 gives rooms as large as the real ones, 0.4 about a dozen receptacles and ten objects.
        grammar: "current" (``move O to R``), or that of data "2.1.2" or "2.1.1" (``put O in/on R``).
        directory: an empty folder, or one that this very call has filled before. None takes a cache folder
            below ``$SIRI_CACHE`` or ``~/.cache/siri``.

    Raises:
        ConfigError: an argument is wrong, or ``directory`` holds something else.
    """
    chosen_rooms = _chosen("rooms", rooms, ROOMS)
    chosen_kinds = _chosen("kinds", kinds, KINDS)
    _check(count, seed, split, scale, grammar)
    possible = [kind for kind in chosen_kinds if _rooms_of(kind, chosen_rooms)]
    if not possible or (kinds is not None and possible != chosen_kinds):
        lost = [kind for kind in chosen_kinds if kind not in possible]
        raise ConfigError(
            f"got kinds {lost} that no room of {chosen_rooms} allows, expected kinds that fit the rooms; "
            "fix: leave 'rooms' out or add the room they need (heat and cool: 'kitchen')"
        )
    arguments = {
        "version": GENERATOR_VERSION,
        "count": count,
        "seed": seed,
        "split": split,
        "kinds": possible,
        "rooms": chosen_rooms,
        "scale": float(scale),
        "grammar": grammar,
    }
    base = _cache_folder(arguments) if directory is None else Path(directory)
    folder = base / "json_2.1.1" / split
    games = _finished(folder, arguments)
    if games is None:
        if directory is not None and folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(
                f"got folder {folder} with other or unfinished games, expected an empty one or games of the "
                "same arguments; fix: choose another 'directory' or delete it"
            )
        games = _write_all(folder, arguments)
    return [
        Task(game["id"], game["kind"], game["goal"], split, str((folder / game["id"] / FILE_NAME).resolve()))
        for game in games
    ]


def _chosen(name: str, wanted: Iterable[str] | None, known: Sequence[str]) -> list[str]:
    if wanted is None:
        return list(known)
    given = [wanted] if isinstance(wanted, str) else list(wanted)
    if not given or any(value not in known for value in given):
        raise ConfigError(f"got {name} {given}, expected some of {list(known)}; fix: correct '{name}'")
    return [value for value in known if value in given]


def _check(count: object, seed: object, split: object, scale: object, grammar: object) -> None:
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(
                f"got {name} {value!r}, expected an integer of at least {least}; fix: correct '{name}'"
            )
    if split not in SPLITS:
        raise ConfigError(f"got split {split!r}, expected one of {list(SPLITS)}; fix: correct 'split'")
    size = 0.0 if isinstance(scale, bool) or not isinstance(scale, int | float) else scale
    if not 0.2 <= size <= 1:  # refuses NaN too
        raise ConfigError(f"got scale {scale!r}, expected a number from 0.2 to 1.0; fix: correct 'scale'")
    if grammar not in tuple(_PUT):
        raise ConfigError(f"got grammar {grammar!r}, expected one of {list(_PUT)}; fix: correct 'grammar'")


def _rooms_of(kind: str, rooms: Sequence[str]) -> dict[str, int]:
    """Rooms in which a kind of task occurs, with how many real games each has."""
    return {room: n for room, n in tables().kind_rooms[kind].items() if room in rooms}


def _cache_folder(arguments: dict[str, Any]) -> Path:
    base = Path(os.environ.get("SIRI_CACHE") or Path.home() / ".cache" / "siri")
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:16]
    return base / "alfworld" / digest


def _finished(folder: Path, arguments: dict[str, Any]) -> list[dict[str, str]] | None:
    """The games of a manifest of the same arguments, all still there; else None."""
    try:
        content = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if content["arguments"] != arguments:
            return None
        games: list[dict[str, str]] = content["games"]
        complete = all((folder / game["id"] / FILE_NAME).is_file() for game in games)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return games if complete else None


def _write_all(folder: Path, arguments: dict[str, Any]) -> list[dict[str, str]]:
    games, used = [], set[bytes]()
    try:
        for index in range(arguments["count"]):
            house = _house(arguments, index, used)
            goal = house.goal
            parent = f"{goal.kind}-{goal.item}-None-{goal.place}-{house.layout.number}"
            _write_game(folder / parent / house.name, house, arguments["grammar"])
            games.append({"id": f"{parent}/{house.name}", "kind": goal.kind, "goal": goal.text})
        games.sort(key=lambda game: game["id"])
        _write(folder / _MANIFEST, json.dumps({"arguments": arguments, "games": games}, indent=1))
    except OSError as error:
        raise ConfigError(
            f"got no way to write games below {folder} ({error.strerror}), expected a writable folder; "
            "fix: pass 'directory' or set SIRI_CACHE"
        ) from None
    return games


def _write_game(folder: Path, house: House, grammar: Variant) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    goal, number = house.goal, house.layout.number
    look = goal.kind == "look_at_obj_in_light"
    data = {
        "task_id": house.name,
        "task_type": goal.kind,
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": goal.item,
            "parent_target": "" if look else goal.place,
            "toggle_target": goal.place if look else "",
        },
        "scene": {"floor_plan": f"FloorPlan{number}", "scene_num": number},
        "generator": {"name": "siri", "version": GENERATOR_VERSION},
    }
    before, after = _frame(grammar)
    problem, walk = json.dumps(render_problem(house)), json.dumps(walkthrough(house, _PUT[grammar]))
    _write(folder / "traj_data.json", json.dumps(data, indent=1))
    _write(
        folder / FILE_NAME,
        f'{before}{goal.text}{after}, "pddl_problem": {problem}, "solvable": true, "walkthrough": {walk}}}',
    )


@cache
def _frame(grammar: Variant) -> tuple[str, str]:
    """What stands before and after the task in a game file, up to the end of the grammar."""
    domain, words = logic(grammar)
    head = json.dumps({"pddl_domain": domain})[:-1]
    text = json.dumps(words)
    before, after = text.split(f"{TASK_PREFIX}UNKNOWN GOAL.")
    return f'{head}, "grammar": {before}{TASK_PREFIX}', after


def _write(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _house(arguments: dict[str, Any], index: int, used: set[bytes]) -> House:
    """Game number ``index``; its kind is given by its number."""
    split, scale = arguments["split"], arguments["scale"]
    kind = arguments["kinds"][index % len(arguments["kinds"])]
    rooms = _rooms_of(kind, arguments["rooms"])
    # the numbers of real games, softened so that every room occurs
    weights = [math.sqrt(n) for n in rooms.values()]
    rng = random.Random(f"siri/alfworld/game/{arguments['seed']}/{split}/{scale:g}/{index}")
    name = f"trial_T{arguments['seed']:08d}_{index:06d}"
    for _ in range(_ATTEMPTS):
        room = rng.choices(list(rooms), weights)[0]
        layout = make_layout(room, rng.choice(pool(room, split)), scale)
        goal = _draw_goal(rng, kind, layout)
        if goal is None:
            continue
        house = House(name, layout, _draw_items(rng, layout, goal, scale), goal)
        mark = _fingerprint(house)
        # The last bit keeps train and valid_seen apart: no placement can occur in both, whatever the seeds.
        if mark in used or (split != "valid_unseen" and mark[-1] % 2 != (split == "valid_seen")):
            continue
        used.add(mark)
        return house
    raise ConfigError(
        f"got no new game of kind {kind!r} in {_ATTEMPTS} attempts, expected {arguments['count']} different "
        "games; fix: ask for fewer, or allow more rooms"
    )


def _fingerprint(house: House) -> bytes:
    """Layout, goal and placement, whatever the exact coordinates and the wording."""
    goal, placement = house.goal, sorted((item.kind, item.place.id) for item in house.items)
    text = json.dumps([house.layout.number, goal.kind, goal.item, goal.place, placement])
    return hashlib.sha256(text.encode()).digest()


def _draw_goal(rng: random.Random, kind: str, layout: Layout) -> Goal | None:
    """A goal that this layout allows, or None when there is none of this kind."""
    options = _options(kind, layout)
    if not options:
        return None
    item, places = rng.choice(options)
    place = rng.choice(places)
    return Goal(kind, item, place, rng.choice(_TEXTS[kind]).format(o=item.lower(), r=place.lower()))


@cache
def _options(kind: str, layout: Layout) -> tuple[tuple[str, tuple[str, ...]], ...]:
    known = tables()
    present = sorted({r.kind for r in layout.receptacles})
    station, affordance = TREATMENTS.get(kind, ("", "", "pickupable", ""))[1:3]
    if kind == "look_at_obj_in_light":
        return tuple((item, (LAMP,)) for item in layout.classes) if layout.lamp else ()
    if station and station not in present:
        return ()
    found = []
    for item in layout.classes:
        if affordance not in known.affordances[item]:
            continue
        sources = known.rooms[layout.room].places[item]
        places = tuple(
            place
            for place in present
            if item in known.contains.get(place, ())
            and place != station
            and not (kind == "pick_two_obj_and_place" and place in _SINGLE)
            and (station or any(other != place and other in sources for other in present))
        )
        if places:
            found.append((item, places))
    return tuple(found)


def _draw_items(rng: random.Random, layout: Layout, goal: Goal, scale: float) -> tuple[Item, ...]:
    """Put objects where their class is usually found."""
    table = tables().rooms[layout.room]
    counts = {name: draw_count(rng, table.objects[name]) for name in layout.classes}
    counts[goal.item] = max(counts[goal.item], 2 if goal.kind == "pick_two_obj_and_place" else 1)
    if layout.lamp:
        counts[LAMP] = 1
    pairs = [(name, i) for name, n in counts.items() for i in range(n)]
    if scale < 1:
        total = max(_MIN_OBJECTS, round(min(len(pairs) * scale, _SMALL_OBJECTS * scale)))
        needed = [goal.item, LAMP]
        forced = [(goal.item, 1)] if goal.kind == "pick_two_obj_and_place" else []
        rest = [pair for pair in pairs if pair not in forced]
        pairs = sorted(forced + diverse(rng, rest, total - len(forced), needed))
    # an object of the goal's class in the goal's receptacle would give the (first half of the) task away
    away = goal.place if goal.kind in ("pick_and_place_simple", "pick_two_obj_and_place") else None
    used: set[str] = set()
    items = []
    for name, _ in pairs:
        place = _draw_place(rng, layout, name, away if name == goal.item else None)
        items.append(Item(_fresh_id(rng, name, place, used), name, place))
    return tuple(items)


def _draw_place(rng: random.Random, layout: Layout, name: str, away: str | None) -> Receptacle:
    kinds, weights = _sources(layout, name, away)
    return rng.choice(layout.of(rng.choices(kinds, weights)[0]))


@cache
def _sources(layout: Layout, name: str, away: str | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    places = tables().rooms[layout.room].places[name]
    present = {r.kind for r in layout.receptacles} - {away}
    kinds = tuple(kind for kind in places if kind in present)
    return kinds, tuple(places[kind] for kind in kinds)


def _fresh_id(rng: random.Random, name: str, place: Receptacle, used: set[str]) -> str:
    while True:
        shift = rng.randrange(81 * 81)
        found = id_of(name, place.x + shift % 81 - 40, place.y + 5, place.z + shift // 81 - 40)
        if found not in used:
            used.add(found)
            return found
