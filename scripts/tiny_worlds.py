"""Household worlds with ALFWorld's wording: sampled here, or made by siri's generator of games."""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from tiny_rooms import (
    CLEAN,
    COOL,
    GOALS,
    HEAT,
    HELD_OUT,
    HOMES,
    LOOK,
    NO_GOAL,
    OPENABLE,
    ROOMS,
    SPLIT,
    TREATABLE,
    TRUE_STATIONS,
    TWO,
    VERBS,
)

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.expert import destinations, target_objects
from siri.envs.alfworld.games import load_game
from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.rooms import tables
from siri.types import Task


@dataclass
class World:
    """One room and its task."""

    kind: str
    goal: str
    item: str
    """Class of the target."""
    goal_place: str
    lamp: str
    homes: dict[str, tuple[str, ...]]
    contents: dict[str, list[str]]
    """Receptacle -> objects, both in listing order."""
    stations: dict[str, str]
    """Verb -> class of the receptacle that does it."""
    old: bool = False
    """Wording of data 2.1.1."""
    openable: frozenset[str] = frozenset()
    """Receptacles that begin closed."""
    opened: set[str] = field(default_factory=set)
    here: str = ""
    held: str = ""
    treated: set[tuple[str, str]] = field(default_factory=set)
    lit: bool = False

    def opening(self) -> str:
        """The first observation without its banner."""
        room = "You are in the middle of a room. Looking quickly around you, you see"
        return f"{room} {listing(list(self.contents))}.\n\nYour task is to: {self.goal}"

    def closed(self, place: str) -> bool:
        """True when one cannot look inside."""
        return place in self.openable and place not in self.opened

    @property
    def won(self) -> bool:
        """The goal, as ALFWorld tests it."""
        if self.kind == LOOK:
            lamps = [o for o in self.contents.get(self.here, ()) if class_of(o) == self.lamp]
            return self.lit and bool(lamps) and class_of(self.held) == self.item
        need, verb = 1 + (self.kind == TWO), VERBS.get(self.kind)
        for place, items in self.contents.items():
            if class_of(place) == self.goal_place:
                found = [
                    o for o in items if class_of(o) == self.item and (not verb or (verb, o) in self.treated)
                ]
                if len(found) >= need:
                    return True
        return False

    def see(self, place: str) -> str:
        """What a look at a receptacle says."""
        if self.closed(place):
            return f"The {place} is closed."
        inside = listing(self.contents[place])
        if place in self.openable:
            return f"The {place} is open. In it, you see {inside}."
        return f"On the {place}, you see {inside}."

    def step(self, command: str) -> str:
        """Carry out a command in the engine's words."""
        verb, _, rest = command.partition(" ")
        if verb == "go" and rest[3:] in self.contents and rest[3:] != self.here:
            self.here = rest[3:]
            arrived = f"loc {1 + list(self.contents).index(self.here)}" if self.old else self.here
            return f"You arrive at {arrived}. {self.see(self.here)}"
        if verb == "open" and rest == self.here and self.closed(rest):
            self.opened.add(rest)
            return f"You open the {rest}. {self.see(rest)}"
        if verb == "examine" and rest == self.here:
            return self.see(rest)
        if verb == "use" and any(o == rest for o in self.contents.get(self.here, ())):
            self.lit = True
            return f"You turn on the {rest}."
        if verb == "inventory":
            return f"You are carrying: a {self.held}." if self.held else "You are not carrying anything."
        item, _, place = re.sub(r" (?:from|to|in/on|with) ", "|", rest).partition("|")
        if place != self.here or not place:
            return "Nothing happens."
        inside = self.contents[place]
        if verb == "take" and not self.held and not self.closed(place) and item in inside:
            inside.remove(item)
            self.held = item
            return f"You pick up the {item} from the {place}."
        if verb in ("move", "put") and item == self.held and not self.closed(place):
            self.held = ""
            inside.append(item)
            inside.sort(key=order)
            return f"You {verb} the {item} {'in/on' if verb == 'put' else 'to'} the {place}."
        able = verb in TREATABLE and class_of(item) in TREATABLE[verb]
        if able and item == self.held and self.stations[verb] == class_of(place):
            self.treated.add((verb, item))
            self.treated -= {({"heat": "cool", "cool": "heat"}.get(verb, ""), item)}
            return f"You {verb} the {item} using the {place}."
        return "Nothing happens."


def class_of(name: str) -> str:
    return name.partition(" ")[0]


def order(name: str) -> tuple[str, int]:
    kind, _, number = name.partition(" ")
    return kind, -int(number)


def listing(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    said = [f"a {name}" for name in names]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])}, and {said[-1]}"


def sample_world(
    rng: random.Random, *, kind: str, size: str = "small", counterfactual: bool = False
) -> World:
    """A random room with a task of ``kind``; ``size`` is "tiny", "small" or "large"."""
    room = _room(rng, kind)
    places = _places(rng, room, size, kind)
    homes = HOMES[room]
    classes = {class_of(place) for place in places}
    verb = VERBS.get(kind)
    items = [o for o in homes if classes.intersection(homes[o]) and (not verb or o in TREATABLE[verb])]
    item = rng.choice(items)
    contents: dict[str, list[str]] = {place: [] for place in places}
    numbers: dict[str, int] = {}

    def add(name: str, options: Sequence[str]) -> str:
        place = rng.choice(options)
        numbers[name] = numbers.get(name, 0) + 1
        contents[place].append(f"{name} {numbers[name]}")
        return place

    likely = [p for p in places if class_of(p) in homes[item]]
    spots = likely if rng.random() < 0.85 else places
    taken = {class_of(add(item, spots))}
    if kind == TWO:
        taken.add(class_of(add(item, likely if rng.random() < 0.85 else places)))
    goals = sorted(classes - taken - NO_GOAL) or sorted(classes - taken)
    goal_place = rng.choice(goals)
    if rng.random() < 0.25 and kind != TWO:
        others = [p for p in likely if class_of(p) != goal_place]
        if others:
            add(item, others)
    lamp = ""
    if kind == LOOK:
        lamp = "desklamp" if rng.random() < 0.85 else "floorlamp"
        add(lamp, [p for p in places if class_of(p) in ("desk", "sidetable", "dresser", "shelf")] or places)
    for _ in range(rng.randint(*{"tiny": (2, 6), "small": (6, 14), "large": (15, 40)}[size])):
        other = rng.choice(list(homes))
        if other != item:
            add(other, [p for p in places if class_of(p) in homes[other]] or places)
    for inside in contents.values():
        inside.sort(key=order)
    stations = dict(TRUE_STATIONS)
    if counterfactual and verb:
        stations[verb] = rng.choice(sorted(c for c in classes if (verb, c) not in HELD_OUT))
    goal = rng.choice(GOALS[kind]).format(o=item, r=goal_place, l=lamp)
    openable = frozenset(p for p in places if class_of(p) in OPENABLE)
    old = size != "tiny" and rng.random() < 0.1
    return World(kind, goal, item, goal_place, lamp, homes, contents, stations, old=old, openable=openable)


def generated_worlds(seed: int, count: int, *, scale: float) -> list[World]:
    """The training games of siri's generator as worlds, equally many of each kind; no other split."""
    with tempfile.TemporaryDirectory() as scratch:
        tasks = generate_games(count, seed=seed, split=SPLIT, scale=scale, directory=scratch)
        return [_of_task(task) for task in tasks]


def _of_task(task: Task) -> World:
    if task.split != SPLIT:
        raise ValueError(f"got a game of split {task.split!r}, expected {SPLIT!r} only")
    game = load_game(task.source)
    state = State(game)
    places = sorted(game.place_of, key=game.rank.__getitem__)
    contents = {game.names[p]: [game.names[o] for o in state.contents(p)] for p in places}
    goal = task.goal if task.goal.endswith(".") else f"{task.goal}."
    lamp = re.search(r"(?:under|with) the (\w+)\.", goal)
    item = class_of(game.names[target_objects(game)[0]])
    goal_place = "" if lamp else class_of(game.names[destinations(game)[0]])
    openable = frozenset(game.names[p] for p in places if not state.shown(p))
    homes = _counted_homes()
    return World(
        task.kind,
        goal,
        item,
        goal_place,
        lamp[1] if lamp else "",
        homes,
        contents,
        dict(TRUE_STATIONS),
        openable=openable,
    )


@cache
def _counted_homes() -> dict[str, tuple[str, ...]]:
    """Object class -> receptacle classes that hold at least a twentieth of it."""
    counts: dict[str, Counter[str]] = {}
    for room in tables().rooms.values():
        for item, places in room.places.items():
            found = counts.setdefault(item.lower(), Counter())
            found.update({place.lower(): number for place, number in places.items()})
    return {
        item: tuple(p for p, n in found.items() if 20 * n >= found.total()) for item, found in counts.items()
    }


class Worlds:
    """Worlds to demonstrate in: half sampled here, half from generated games once rooms are not tiny."""

    def __init__(self, seed: int) -> None:
        self.seed = 1000 * seed
        self.ready: dict[str, list[World]] = {}

    def draw(self, rng: random.Random, *, kind: str, size: str, counterfactual: bool = False) -> World:
        """A fresh world of ``kind``."""
        if size == "tiny" or rng.random() < 0.3:
            return sample_world(rng, kind=kind, size=size, counterfactual=counterfactual)
        key = f"{kind} {size}"
        if not self.ready.get(key):
            self.seed += 1
            for made in generated_worlds(
                self.seed, 240, scale=1.0 if size == "large" else rng.choice([0.4, 0.5])
            ):
                self.ready.setdefault(f"{made.kind} {size}", []).append(made)
        world = self.ready[key].pop(rng.randrange(len(self.ready[key])))
        verb = VERBS.get(kind)
        if counterfactual and verb:
            classes = {class_of(p) for p in world.contents}
            world.stations[verb] = rng.choice(sorted(c for c in classes if (verb, c) not in HELD_OUT))
        world.old = rng.random() < 0.1
        return world


def _room(rng: random.Random, kind: str) -> str:
    if kind in (HEAT, COOL):
        return "kitchen"
    if kind == CLEAN:
        return "kitchen" if rng.random() < 0.75 else "bathroom"
    if kind == LOOK:
        return rng.choice(["bedroom", "bedroom", "livingroom"])
    return rng.choice(["kitchen", "livingroom", "bedroom", "bathroom"])


def _places(rng: random.Random, room: str, size: str, kind: str) -> list[str]:
    least = {"tiny": 4, "small": 7, "large": 16}[size]
    while True:
        places = []
        for name, (low, small, large) in ROOMS[room].items():
            count = rng.randint(low, large if size == "large" else small)
            if size == "tiny":
                count = min(count, rng.randint(0, 2), 2)
                if kind in VERBS and name == TRUE_STATIONS[VERBS[kind]]:
                    count = 1
            places += [f"{name} {n}" for n in range(count, 0, -1)]
        if len(places) >= least:
            return places if size != "tiny" or len(places) <= 9 else sorted(rng.sample(places, 8), key=order)
