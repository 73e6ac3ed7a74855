"""A tiny hand-written house, as the text of a game file."""

from __future__ import annotations

import json
from pathlib import Path

from siri.envs.alfworld.variants import logic

FIXTURES = Path(__file__).parent / "fixtures"

# receptacle: (type, location, openable); two cabinets share a point
RECEPTACLES = {
    "Fridge_bar_1": ("FridgeType", "loc_bar_1", True),
    "Microwave_bar_1": ("MicrowaveType", "loc_bar_2", True),
    "Sink_bar_1_bar_SinkBasin": ("SinkBasinType", "loc_bar_3", False),
    "CounterTop_bar_1": ("CounterTopType", "loc_bar_4", False),
    "Cabinet_bar_1": ("CabinetType", "loc_bar_5", True),
    "Cabinet_bar_2": ("CabinetType", "loc_bar_5", True),
    "Drawer_bar_1": ("DrawerType", "loc_bar_6", True),
    "Desk_bar_1": ("DeskType", "loc_bar_7", False),
    "Shelf_bar_1": ("ShelfType", None, False),
}
# object: (type, receptacle, properties)
FOOD = "pickupable cleanable heatable coolable sliceable"
DISH = "pickupable cleanable heatable coolable isReceptacleObject"
OBJECTS = {
    "Apple_bar_1": ("AppleType", "CounterTop_bar_1", FOOD),
    "Apple_bar_2": ("AppleType", "Fridge_bar_1", FOOD),
    "Mug_bar_1": ("MugType", "Cabinet_bar_1", DISH),
    "Mug_bar_2": ("MugType", "Drawer_bar_1", DISH),
    "Knife_bar_1": ("KnifeType", "CounterTop_bar_1", "pickupable cleanable"),
    "Book_bar_1": ("BookType", "Cabinet_bar_2", "pickupable"),
    "DeskLamp_bar_1": ("DeskLampType", "Drawer_bar_1", "toggleable"),
}
PAIRS = [("Cabinet_bar_1", "Mug_bar_2")]
START = "loc_bar_0"

PLACE = """(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
  (inReceptacle ?o ?r) (objectType ?o {item}) (receptacleType ?r {place}) {more})))))"""
TWO = """(:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and
  (objectType ?o1 {item}) (receptacleType ?r {place}) (inReceptacle ?o1 ?r)
  (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {item}) (receptacleType ?r {place})
    (inReceptacle ?o2 ?r))))))))"""
LIGHT = """(:goal (and
  (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
    (objectType ?ot DeskLampType) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)
    (atLocation ?a ?l) (inReceptacle ?ot ?r)))
  (exists (?o - object ?a - agent) (and (objectType ?o {item}) (holds ?a ?o)))))"""

GOALS = {
    "pick_and_place_simple": (
        "put a book in desk.",
        PLACE.format(item="BookType", place="DeskType", more=""),
    ),
    "look_at_obj_in_light": ("look at book under the desklamp.", LIGHT.format(item="BookType")),
    "pick_clean_then_place_in_recep": (
        "put a clean mug in cabinet.",
        PLACE.format(item="MugType", place="CabinetType", more="(cleanable ?o) (isClean ?o)"),
    ),
    "pick_heat_then_place_in_recep": (
        "put a hot apple in fridge.",
        PLACE.format(item="AppleType", place="FridgeType", more="(heatable ?o) (isHot ?o)"),
    ),
    "pick_cool_then_place_in_recep": (
        "put a cool apple in countertop.",
        PLACE.format(item="AppleType", place="CounterTopType", more="(coolable ?o) (isCool ?o)"),
    ),
    "pick_two_obj_and_place": ("put two mug in desk.", TWO.format(item="MugType", place="DeskType")),
}


def grammar(task: str, *, old: bool = False) -> str:
    """The grammar text; ``old`` gives that of data 2.1.1."""
    return logic("2.1.1" if old else "current")[1].replace("UNKNOWN GOAL.", task)


def problem(goal: str, *, extra: str = "") -> str:
    """The PDDL problem text of the house, with ``goal`` and ``extra`` initial facts."""
    kinds = sorted({kind for kind, *_ in RECEPTACLES.values()})
    classes = sorted({kind for kind, *_ in OBJECTS.values()})
    places = sorted({START, *(where for _, where, _ in RECEPTACLES.values() if where)})
    typed = [f"{n} - receptacle" for n in RECEPTACLES] + [f"{n} - object" for n in OBJECTS]
    typed += [f"{n} - rtype" for n in kinds] + [f"{n} - otype" for n in classes]
    typed += [f"{n} - location" for n in places] + ["agent1 - agent", "Candle - object"]
    facts = [f"atLocation agent1 {START}", *(f"canContain {k} {c}" for k in kinds for c in classes)]
    for name, (kind, where, openable) in RECEPTACLES.items():
        facts.append(f"receptacleType {name} {kind}")
        facts += [f"receptacleAtLocation {name} {where}"] if where else []
        facts += [f"openable {name}"] if openable else []
    for name, (kind, where, properties) in OBJECTS.items():
        facts += [f"objectType {name} {kind}", f"inReceptacle {name} {where}"]
        facts += [f"objectAtLocation {name} {RECEPTACLES[where][1]}"]
        facts += [f"{word} {name}" for word in properties.split()]
    facts += [f"inReceptacle {item} {place}" for place, item in PAIRS]
    init = "\n".join(f"({fact})" for fact in facts)
    lines = "\n".join(typed)
    return f"(define (problem house) (:domain alfred)\n(:objects {lines})\n(:init {init} {extra})\n{goal})\n"


def content(kind: str, *, old: bool = False, extra: str = "") -> dict[str, object]:
    """The decoded JSON of a game file for one kind of task."""
    task, goal = GOALS[kind]
    return {
        "pddl_domain": logic("2.1.1" if old else "current")[0],
        "grammar": grammar(task, old=old),
        "pddl_problem": problem(goal, extra=extra),
        "solvable": True,
    }


def write(folder: Path, kind: str, *, name: str = "trial_1", old: bool = False) -> Path:
    """Write a game in the official layout below ``folder``."""
    path = folder / f"{kind}-A-None-B-1" / name / "game.tw-pddl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content(kind, old=old)), encoding="utf-8")
    return path
