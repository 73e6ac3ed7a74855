"""Demonstrations for the embedded policy: a noisy explorer in household worlds with ALFWorld's wording.

The explorer uses only what its transcript has shown. Its procedures are often wrong under the plain prompt;
under a skill it does what the text says, right or wrong.

Held out: no skill and no summary here ever pairs heat with a microwave, cool with a fridge or clean with a
sink basin. Following and summarising are learnt in counterfactual worlds, in which another station does the
job; the true pairs are left for SIRI to find. ``check_held_out`` enforces it for every text.
"""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.expert import destinations, target_objects
from siri.envs.alfworld.games import load_game
from siri.envs.alfworld.generator import generate_games
from siri.envs.alfworld.rooms import tables
from siri.policies.tiny import CONDITIONS
from siri.skills.writers.prompts import summary_text
from siri.types import Task

HELD_OUT = frozenset({("heat", "microwave"), ("cool", "fridge"), ("clean", "sinkbasin")})
"""(verb, station) pairs that no skill text of the training data contains."""

PICK, LOOK, CLEAN, HEAT, COOL, TWO = KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
VERBS = {CLEAN: "clean", HEAT: "heat", COOL: "cool"}
TRUE_STATIONS = {"heat": "microwave", "cool": "fridge", "clean": "sinkbasin"}
HABITS = {"heat": "stoveburner", "cool": "sinkbasin", "clean": "countertop"}
"""Wrong stations of the base whose plain success is rare."""
OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})
SPLIT = "train"

# Room -> receptacle class: (least, most) in a small room, most in a large one.
ROOMS: dict[str, dict[str, tuple[int, int, int]]] = {
    "kitchen": {
        "cabinet": (1, 4, 20),
        "coffeemachine": (1, 1, 1),
        "countertop": (1, 2, 3),
        "diningtable": (0, 1, 2),
        "drawer": (0, 3, 12),
        "fridge": (1, 1, 1),
        "garbagecan": (1, 1, 1),
        "microwave": (1, 1, 1),
        "shelf": (0, 2, 4),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 1, 1),
        "stoveburner": (1, 4, 4),
        "toaster": (1, 1, 1),
    },
    "livingroom": {
        "armchair": (0, 2, 2),
        "cabinet": (0, 2, 6),
        "coffeetable": (0, 1, 2),
        "desk": (0, 1, 1),
        "diningtable": (0, 1, 1),
        "drawer": (0, 3, 10),
        "dresser": (0, 1, 1),
        "garbagecan": (1, 1, 1),
        "ottoman": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 3, 10),
        "sidetable": (1, 2, 3),
        "sofa": (1, 1, 2),
        "tvstand": (0, 1, 1),
    },
    "bedroom": {
        "armchair": (0, 1, 1),
        "bed": (1, 1, 1),
        "desk": (1, 1, 2),
        "drawer": (1, 4, 10),
        "dresser": (0, 1, 1),
        "garbagecan": (1, 1, 1),
        "laundryhamper": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 3, 8),
        "sidetable": (1, 2, 3),
        "sofa": (0, 1, 1),
    },
    "bathroom": {
        "bathtubbasin": (0, 1, 1),
        "cabinet": (1, 4, 8),
        "cart": (0, 1, 1),
        "countertop": (1, 1, 2),
        "drawer": (0, 2, 6),
        "garbagecan": (1, 1, 1),
        "handtowelholder": (0, 2, 2),
        "laundryhamper": (0, 1, 1),
        "shelf": (0, 2, 4),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 2, 2),
        "toilet": (1, 1, 1),
        "toiletpaperhanger": (1, 1, 1),
        "towelholder": (0, 2, 2),
    },
}
_KITCHEN_HOMES = {
    "apple bread egg lettuce potato tomato": "countertop diningtable fridge garbagecan sinkbasin sidetable",
    "bowl cup mug plate": "cabinet countertop diningtable shelf sinkbasin coffeemachine fridge",
    "butterknife fork knife ladle spatula spoon": "countertop drawer diningtable sinkbasin",
    "kettle pan pot": "stoveburner cabinet countertop sinkbasin diningtable",
    "dishsponge cloth": "sinkbasin countertop drawer cabinet",
    "peppershaker saltshaker": "cabinet countertop drawer shelf diningtable",
    "glassbottle soapbottle winebottle spraybottle": "cabinet countertop garbagecan shelf fridge",
    "papertowelroll book creditcard statue vase houseplant": "countertop shelf diningtable sidetable",
}
_LIVING_HOMES = {
    "book laptop newspaper": "coffeetable sofa desk diningtable armchair sidetable",
    "box pillow": "sofa armchair coffeetable diningtable ottoman",
    "cellphone creditcard keychain remotecontrol watch": "coffeetable sidetable sofa drawer tvstand safe",
    "candle houseplant plate statue tissuebox vase wateringcan": "shelf sidetable dresser tvstand",
    "pen pencil": "drawer sidetable desk",
}
_BEDROOM_HOMES = {
    "alarmclock bowl mug pen pencil vase": "desk sidetable shelf dresser",
    "book cd cellphone creditcard keychain": "desk drawer shelf sidetable bed safe",
    "laptop pillow teddybear box": "bed desk armchair sofa",
    "cloth tissuebox": "laundryhamper drawer dresser shelf",
}
_BATHROOM_HOMES = {
    "candle spraybottle tissuebox": "toilet countertop shelf cabinet cart",
    "cloth": "bathtubbasin countertop cabinet laundryhamper cart",
    "handtowel": "handtowelholder",
    "towel": "towelholder",
    "soapbar soapbottle": "bathtubbasin countertop cabinet sinkbasin garbagecan shelf",
    "toiletpaper": "toilet toiletpaperhanger cabinet drawer garbagecan countertop",
    "dishsponge": "sinkbasin cabinet cart",
}


def _spread(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {item: tuple(homes.split()) for items, homes in table.items() for item in items.split()}


HOMES = {
    "kitchen": _spread(_KITCHEN_HOMES),
    "livingroom": _spread(_LIVING_HOMES),
    "bedroom": _spread(_BEDROOM_HOMES),
    "bathroom": _spread(_BATHROOM_HOMES),
}
_TREATABLE = {
    "heat": "apple bread cup egg mug plate potato tomato",
    "cool": "apple bowl bread cup egg lettuce mug pan plate pot potato tomato winebottle",
    "clean": (
        "apple bowl butterknife cloth cup dishsponge egg fork kettle knife ladle lettuce mug pan plate pot "
        "potato soapbar spatula spoon tomato"
    ),
}
TREATABLE = {verb: tuple(items.split()) for verb, items in _TREATABLE.items()}
GOALS = {
    PICK: ("put a {o} in {r}.", "put some {o} on {r}."),
    LOOK: ("look at {o} under the {l}.", "examine the {o} with the {l}."),
    CLEAN: ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    HEAT: ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    COOL: ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    TWO: ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}
_NO_GOAL = frozenset({"handtowelholder", "towelholder", "toiletpaperhanger", "bathtubbasin", "toaster"})
_PAIR = re.compile(r"(heat|cool|clean) it with the ([a-z]+)")


def check_held_out(text: str) -> str:
    """Return ``text``; raise when it contains a held-out pair."""
    for pair in _PAIR.findall(text):
        if pair in HELD_OUT:
            raise ValueError(f"got held-out pair {pair} in {text!r}, expected none in the training data")
    return text


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
        return f"{room} {_listing(list(self.contents))}.\n\nYour task is to: {self.goal}"

    def closed(self, place: str) -> bool:
        """True when one cannot look inside."""
        return place in self.openable and place not in self.opened

    @property
    def won(self) -> bool:
        """The goal, as ALFWorld tests it."""
        if self.kind == LOOK:
            lamps = [o for o in self.contents.get(self.here, ()) if _class(o) == self.lamp]
            return self.lit and bool(lamps) and _class(self.held) == self.item
        need, verb = 1 + (self.kind == TWO), VERBS.get(self.kind)
        for place, items in self.contents.items():
            if _class(place) == self.goal_place:
                found = [
                    o for o in items if _class(o) == self.item and (not verb or (verb, o) in self.treated)
                ]
                if len(found) >= need:
                    return True
        return False

    def see(self, place: str) -> str:
        """What a look at a receptacle says."""
        if self.closed(place):
            return f"The {place} is closed."
        inside = _listing(self.contents[place])
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
            inside.sort(key=_order)
            return f"You {verb} the {item} {'in/on' if verb == 'put' else 'to'} the {place}."
        able = verb in TREATABLE and _class(item) in TREATABLE[verb]
        if able and item == self.held and self.stations[verb] == _class(place):
            self.treated.add((verb, item))
            self.treated -= {({"heat": "cool", "cool": "heat"}.get(verb, ""), item)}
            return f"You {verb} the {item} using the {place}."
        return "Nothing happens."


def _class(name: str) -> str:
    return name.partition(" ")[0]


def _order(name: str) -> tuple[str, int]:
    kind, _, number = name.partition(" ")
    return kind, -int(number)


def _listing(names: Sequence[str]) -> str:
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
    classes = {_class(place) for place in places}
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

    likely = [p for p in places if _class(p) in homes[item]]
    spots = likely if rng.random() < 0.85 else places
    taken = {_class(add(item, spots))}
    if kind == TWO:
        taken.add(_class(add(item, likely if rng.random() < 0.85 else places)))
    goals = sorted(classes - taken - _NO_GOAL) or sorted(classes - taken)
    goal_place = rng.choice(goals)
    if rng.random() < 0.25 and kind != TWO:
        others = [p for p in likely if _class(p) != goal_place]
        if others:
            add(item, others)
    lamp = ""
    if kind == LOOK:
        lamp = "desklamp" if rng.random() < 0.85 else "floorlamp"
        add(lamp, [p for p in places if _class(p) in ("desk", "sidetable", "dresser", "shelf")] or places)
    for _ in range(rng.randint(*{"tiny": (2, 6), "small": (6, 14), "large": (15, 40)}[size])):
        other = rng.choice(list(homes))
        if other != item:
            add(other, [p for p in places if _class(p) in homes[other]] or places)
    for inside in contents.values():
        inside.sort(key=_order)
    stations = dict(TRUE_STATIONS)
    if counterfactual and verb:
        stations[verb] = rng.choice(sorted(c for c in classes if (verb, c) not in HELD_OUT))
    goal = rng.choice(GOALS[kind]).format(o=item, r=goal_place, l=lamp)
    openable = frozenset(p for p in places if _class(p) in OPENABLE)
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
    item = _class(game.names[target_objects(game)[0]])
    goal_place = "" if lamp else _class(game.names[destinations(game)[0]])
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
            classes = {_class(p) for p in world.contents}
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
            return places if size != "tiny" or len(places) <= 9 else sorted(rng.sample(places, 8), key=_order)


# Plans: what to do with the target, step by step. A skill is a plan in words.

Step = tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Where to search first, and the steps after taking."""

    first: str
    steps: tuple[Step, ...]

    def words(self) -> str:
        """The strategy of a skill."""
        clauses = [f"search the {self.first} first"] if self.first else []
        clauses.append("take it")
        for step in self.steps:
            if step[0] in VERBS.values():
                clauses.append(f"{step[0]} it with the {step[1]}")
            elif step[0] == "use":
                clauses.append(f"use the {step[1]}")
            elif step[0] == "put":
                clauses.append("move it to the goal")
            elif step[0] == "repeat":
                clauses.append("then repeat with the second one")
        if not clauses[-1].startswith("then "):
            clauses[-1] = f"then {clauses[-1]}"
        return ", ".join(clauses) + "."


def skill_text(kind: str, plan: Plan) -> str:
    """A whole skill, checked against the held-out pairs."""
    return check_held_out(f"When {CONDITIONS[kind]}: {plan.words()}")


def plain_plan(rng: random.Random, world: World, *, right: float | None = None) -> Plan:
    """What the base does without advice: mostly wrong on the kinds that need a procedure.

    By default a tenth of the attempts has the right station, and the wrong ones hit it by chance. With
    ``right`` exactly that share has it, and all others are of one wrong habit a verb.
    """
    draw, classes = rng.random(), sorted({_class(p) for p in world.contents})
    verb = VERBS.get(world.kind)
    if verb:
        if draw < (0.10 if right is None else right):
            return Plan("", ((verb, TRUE_STATIONS[verb]), ("put",)))
        if right is not None:
            habit = ((verb, HABITS[verb]),) if HABITS[verb] in classes and draw > 0.5 else ()
            return Plan("", (*habit, ("put",)))
        if draw < 0.45:
            return Plan("", (("put",),))
        if draw < 0.90:
            return Plan("", ((verb, rng.choice(classes)), ("put",)))
        other = rng.choice(sorted(set(VERBS.values()) - {verb}))
        return Plan("", ((other, rng.choice(classes)), ("put",)))
    if world.kind == LOOK:
        if draw < 0.35:
            return Plan("", (("use", world.lamp),))
        return Plan("", (("visit", rng.choice(classes)), ("drop",)))
    if world.kind == TWO:
        return Plan("", (("put",), ("repeat",))) if draw < 0.3 else Plan("", (("put",), ("again",)))
    return Plan("", (("put",),))


def skill_plan(rng: random.Random, world: World, *, right: bool) -> Plan:
    """A plan to be told in words: right in this (counterfactual) world, or wrong."""
    classes = sorted({_class(p) for p in world.contents})
    likely = [c for c in classes if c in world.homes.get(world.item, ())] or classes
    first = rng.choice(likely if right or rng.random() < 0.5 else classes)
    verb = VERBS.get(world.kind)
    if verb:
        if right:
            return Plan(first, ((verb, world.stations[verb]), ("put",)))
        if rng.random() < 0.25:
            return Plan(first, (("put",),))
        told = verb if rng.random() < 0.6 else rng.choice(sorted(VERBS.values()))
        return Plan(first, ((told, rng.choice([c for c in classes if (told, c) not in HELD_OUT])), ("put",)))
    if world.kind == LOOK:
        if right or rng.random() < 0.5:
            return Plan(first, (("use", world.lamp),))
        told = rng.choice(sorted(VERBS.values()))
        place = rng.choice([c for c in classes if (told, c) not in HELD_OUT])
        return Plan(first, ((told, place), ("use", world.lamp)))
    if world.kind == TWO:
        return Plan(first, (("put",), ("repeat",))) if right else Plan(first, (("put",),))
    if right or rng.random() < 0.5:
        return Plan(first, (("put",),))
    told = rng.choice(sorted(VERBS.values()))
    place = rng.choice([c for c in classes if (told, c) not in HELD_OUT])
    return Plan(first, ((told, place), ("put",)))


# Playing

DO, CHOOSE, NOISE, FIRST = "do", "choose", "noise", "first"
"""How an action is learnt: fully; its verb (the rest is a free choice); not at all; verb and class."""


class _Over(Exception):
    pass


@dataclass
class Explorer:
    """Plays one world by a plan; records (command, how it is learnt, observation)."""

    world: World
    rng: random.Random
    limit: int
    noise: float = 1.0
    turns: list[tuple[str, str, str]] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    """Object -> receptacle, as seen."""
    used: set[str] = field(default_factory=set)
    """Targets that were put where they belong."""
    last: tuple[str, str] = ("", "")
    """Last (object, receptacle) put."""

    def play(self, plans: Callable[[], Plan], *, tries: float = 0.5) -> None:
        """Follow plans, one after another, until won or out of steps or of patience."""
        try:
            plan = plans()
            while True:
                self.follow(plan)
                if self.rng.random() > tries:
                    break
                plan = plans()
        except _Over:
            pass

    def follow(self, plan: Plan) -> None:
        """One plan from taking to the end."""
        self.fetch(plan.first)
        for step in plan.steps:
            if step[0] in TREATABLE:
                if self.rng.random() < 0.03 * self.noise:
                    self.do(f"go to {self.world.here}", NOISE)
                place = self.visit(step[1])
                if place:
                    self.do(f"{step[0]} {self.world.held} with {place}")
            elif step[0] == "use":
                self.light(step[1])
            elif step[0] == "put":
                self.put(self.world.goal_place)
            elif step[0] == "visit":
                self.visit(step[1])
            elif step[0] == "drop":
                self.put(_class(self.world.here))
            elif step[0] == "repeat":
                self.used.add(self.last[0])
                self.fetch(plan.first)
                self.put(self.world.goal_place)
            elif step[0] == "again":
                self.take(*self.last)
                self.put(self.world.goal_place)

    def do(self, command: str, how: str = DO) -> str:
        if len(self.turns) >= self.limit:
            raise _Over
        if self.world.old:
            command = re.sub(r"^move (.*) to ", r"put \1 in/on ", command)
        seen = self.world.step(command)
        self.turns.append((command, how, seen))
        if self.world.won:
            raise _Over
        return seen

    def go(self, place: str, how: str = DO) -> None:
        if place != self.world.here:
            self.do(f"go to {place}", how)
            self.note(place)

    def note(self, place: str) -> None:
        self.visited.add(place)
        if not self.world.closed(place):
            for item in self.world.contents[place]:
                self.known[item] = place

    def unlock(self, place: str) -> None:
        if self.world.closed(place):
            self.do(f"open {place}")
            self.note(place)

    def fetch(self, first: str) -> None:
        """Find a target and take it."""
        missed, how = set[str](), ""
        while True:
            seen = [o for o in self.known if _class(o) == self.world.item and o not in self.used | missed]
            if seen:
                item = min(seen, key=lambda o: (self.known[o] != self.world.here, _order(o)))
                if self.rng.random() < 0.04 * self.noise:
                    missed.add(item)
                    how = NOISE
                    continue
                self.take(item, self.known[item])
                return
            self.blunder()
            place, choice = self.next_place(first)
            self.go(place, how or choice)
            how = ""
            self.unlock(place)

    def blunder(self) -> None:
        """Now and then a command that is refused, so that the way back is learnt (the command is not)."""
        here, item = self.world.here, self.world.item
        if here and self.rng.random() < 0.12 * self.noise:
            wrong = (
                f"take {item} {self.rng.choice((1, 1, 1, 2, 3))} from {here}",
                f"take {item} 1 from {here}",
                f"go to {here}",
                f"open {here}",
                f"move {item} 1 to {here}",
            )
            self.do(self.rng.choice(wrong), NOISE)

    def next_place(self, first: str) -> tuple[str, str]:
        places = [p for p in self.world.contents if p != self.world.here]
        fresh = [p for p in places if p not in self.visited]
        if self.rng.random() < 0.02 * self.noise or not fresh:
            return self.rng.choice(places), NOISE if fresh else CHOOSE
        preferred = [p for p in fresh if _class(p) == first]
        if preferred:
            return preferred[-1], FIRST
        homes = self.world.homes.get(self.world.item, ())
        weights = {c: 1.0 if c in homes else 0.12 for c in dict.fromkeys(map(_class, fresh))}
        chosen = self.rng.choices(list(weights), list(weights.values()))[0]
        return [p for p in fresh if _class(p) == chosen][-1], CHOOSE

    def take(self, item: str, place: str) -> None:
        self.go(place)
        self.unlock(place)
        self.do(f"take {item} from {place}")
        self.known.pop(item, None)

    def visit(self, kind: str) -> str:
        """Go to the first receptacle of a class; "" when there is none."""
        places = [p for p in self.world.contents if _class(p) == kind]
        if not places:
            return ""
        if _class(self.world.here) != kind:
            self.go(places[-1])
        return self.world.here

    def put(self, kind: str) -> None:
        place = self.last[1] if _class(self.last[1]) == kind and self.used else self.visit(kind)
        if not place:
            raise _Over
        self.go(place)
        self.unlock(place)
        item = self.world.held
        self.do(f"move {item} to {place}")
        self.known[item] = place
        self.last = item, place

    def light(self, lamp: str) -> None:
        """Go where the lamp is, search it if need be, and use it."""
        while True:
            found = [o for o in self.known if _class(o) == lamp]
            if found:
                self.go(self.known[found[0]])
                self.do(f"use {found[0]}")
                return
            fresh = [p for p in self.world.contents if p not in self.visited]
            if not fresh:
                raise _Over
            likely = [p for p in fresh if _class(p) in ("desk", "sidetable", "dresser", "shelf")] or fresh
            place = self.rng.choice(likely)
            self.go(place, CHOOSE)
            self.unlock(place)


# Episodes as weighted segments

Segment = tuple[str, str, str]
"""(role, text, how it is learnt)."""
SUMMARY = "summary"


def episode(
    rng: random.Random, worlds: Worlds, *, progress: float, right: float | None = None
) -> list[Segment]:
    """One training example at ``progress`` (0 to 1) of the run, as segments of a transcript."""
    draw = rng.random()
    size = "tiny" if progress < 0.3 or (progress < 0.4 and draw < 0.5) else "small"
    if progress > 0.4 and rng.random() < 0.06:
        size = "large"
    mode = rng.random()
    if mode < 0.40:
        return _plain(rng, worlds, size, progress, right)
    if mode < 0.85:
        return _skilled(rng, worlds, size, progress)
    return summary(rng, worlds, size)


def _limit(size: str) -> int:
    return 45 if size == "large" else 25


def _transcript(explorer: Explorer, opening: str) -> list[Segment]:
    segments: list[Segment] = [("user", opening, "")]
    for command, how, seen in explorer.turns:
        segments += [("assistant", command, how), ("user", seen, "")]
    return segments[:-1]


def _plain(
    rng: random.Random, worlds: Worlds, size: str, progress: float, right: float | None
) -> list[Segment]:
    world = worlds.draw(rng, kind=rng.choice(KINDS), size=size)
    opening = world.opening()
    explorer = Explorer(world, rng, _limit(size), noise=1.0 if progress < 0.5 else 0.6)
    explorer.play(lambda: plain_plan(rng, world, right=right))
    return _transcript(explorer, opening)


def _skilled(rng: random.Random, worlds: Worlds, size: str, progress: float) -> list[Segment]:
    kind = rng.choice([*KINDS, CLEAN, HEAT, COOL])
    world = worlds.draw(rng, kind=kind, size=size, counterfactual=rng.random() < 0.75)
    verb = VERBS.get(kind)
    right = rng.random() < 0.5 and (verb is None or (verb, world.stations[verb]) not in HELD_OUT)
    plan = skill_plan(rng, world, right=right)
    texts = [skill_text(kind, plan)]
    if rng.random() < 0.12:
        texts.insert(rng.randint(0, 1), _other_skill(rng, kind))
    opening = world.opening() + "".join(f"\n\nSkill: {text}" for text in texts)
    explorer = Explorer(world, rng, _limit(size), noise=1.0 if progress < 0.5 else 0.6)
    explorer.play(lambda: plan, tries=0.3)
    return _transcript(explorer, opening)


def _other_skill(rng: random.Random, kind: str) -> str:
    other = rng.choice([k for k in KINDS if k != kind])
    world = sample_world(rng, kind=other, counterfactual=True)
    return skill_text(other, skill_plan(rng, world, right=other in VERBS))


def summary(rng: random.Random, worlds: Worlds, size: str) -> list[Segment]:
    while True:
        kind = rng.choice([*KINDS, CLEAN, HEAT, COOL])
        world = worlds.draw(rng, kind=kind, size=size, counterfactual=True)
        verb = VERBS.get(kind)
        detour = verb is not None and rng.random() < 0.3
        plan = skill_plan(rng, world, right=True)
        plan = Plan("", plan.steps)
        plans = iter([plain_plan(rng, world), plain_plan(rng, world)]) if detour else iter(())

        def following(plans: Iterator[Plan] = plans, plan: Plan = plan) -> Plan:
            return next(plans, plan)

        explorer = Explorer(world, rng, 40)
        explorer.play(following, tries=1.0)
        takes = [c for c, _, _ in explorer.turns if c.startswith(f"take {world.item} ")]
        if not world.won or not takes:
            continue
        first = _class(takes[0].partition(" from ")[2])
        commands = [c for c, _, seen in explorer.turns if seen != "Nothing happens."]
        text = skill_text(kind, Plan(first, plan.steps))
        return [("user", summary_text(world.goal, commands), ""), ("assistant", text, SUMMARY)]
