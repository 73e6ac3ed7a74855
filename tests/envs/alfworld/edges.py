"""Odd things that a game file may hold, added to a generated game's text.

Each feature takes the text of the problem and an RNG, and returns the text changed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Content = dict[str, Any]
Feature = Callable[[str, random.Random], str]

FOOD = "pickupable cleanable heatable coolable sliceable"


def facts(problem: str, predicate: str) -> list[list[str]]:
    """Arguments of every initial fact of a predicate."""
    init = problem[problem.index("(:init") : problem.index("(:goal")]
    return [m.split() for m in re.findall(rf"\({predicate}\s+([^()]*)\)", init)]


def add(problem: str, *, objects: tuple[str, ...] = (), init: tuple[str, ...] = ()) -> str:
    """More objects ("name - type") and initial facts ("predicate arguments")."""
    problem = problem.replace("(:objects\n", "(:objects\n" + "".join(f"        {o}\n" for o in objects), 1)
    return problem.replace("(:init\n", "(:init\n" + "".join(f"        ({f})\n" for f in init), 1)


def drop(problem: str, fact: str) -> str:
    assert f"({fact})" in problem
    return problem.replace(f"({fact})", "", 1)


def replace_goal(problem: str, goal: str) -> str:
    return problem[: problem.index("(:goal")] + f"(:goal {goal})\n)\n"


def place(problem: str, rng: random.Random, *, openable: bool | None = None) -> tuple[str, str, str]:
    """A receptacle: its id, type and location."""
    where, kinds = dict(facts(problem, "receptacleAtLocation")), dict(facts(problem, "receptacleType"))
    can_open = {a[0] for a in facts(problem, "openable")}
    found = [r for r in where if openable is None or (r in can_open) == openable]
    chosen = rng.choice(sorted(found or where))
    return chosen, kinds[chosen], where[chosen]


def thing(
    problem: str, rng: random.Random, kind: str, words: str, at: tuple[str, str, str], *extra: str
) -> str:
    """One more object, in a receptacle that may contain its class."""
    name = f"{kind}_bar__plus_{rng.randrange(99):02d}_dot_{rng.randrange(99):02d}_bar_x{rng.randrange(10**6)}"
    init = [
        f"objectType {name} {kind}Type",
        f"inReceptacle {name} {at[0]}",
        f"objectAtLocation {name} {at[2]}",
    ]
    init += [f"{word} {name}" for word in words.split()]
    init += [f"canContain {at[1]} {kind}Type"]
    init += [fact.replace("IT", name) for fact in extra]
    return add(problem, objects=(f"{name} - object",), init=tuple(dict.fromkeys(init)))


def slicing(problem: str, rng: random.Random) -> str:
    at = place(problem, rng, openable=False)
    problem = thing(problem, rng, "Knife", "pickupable cleanable", at)
    problem = thing(problem, rng, "ButterKnife", "pickupable cleanable", place(problem, rng))
    problem = thing(problem, rng, "Lettuce", FOOD, at)
    return thing(problem, rng, "Tomato", FOOD, place(problem, rng, openable=True))


def treated(problem: str, rng: random.Random) -> str:
    """Things that are hot, cool, clean, sliced from the start."""
    for words in ("isHot", "isCool", "isClean", "isSliced", "isHot isClean", "isCool isClean isSliced"):
        extra = [f"{word} IT" for word in words.split()]
        problem = thing(problem, rng, "Potato", FOOD, place(problem, rng, openable=False), *extra)
    return problem


def lamp_in_closed_drawer(problem: str, rng: random.Random) -> str:
    at = place(problem, rng, openable=True)
    problem = thing(problem, rng, "DeskLamp", "toggleable", at)
    return thing(problem, rng, "FloorLamp", "toggleable pickupable", at, "isToggled IT")


def shared_point(problem: str, rng: random.Random) -> str:
    """Three receptacles that are reached from one point, some of their contents left behind."""
    where = dict(facts(problem, "receptacleAtLocation"))
    chosen = rng.sample(sorted(where), min(3, len(where)))
    for other in chosen[1:]:
        problem = problem.replace(
            f"(receptacleAtLocation {other} {where[other]})",
            f"(receptacleAtLocation {other} {where[chosen[0]]})",
        )
        for item, inside in facts(problem, "inReceptacle"):
            if inside == other and rng.random() < 0.7:
                problem = problem.replace(
                    f"(objectAtLocation {item} {where[other]})",
                    f"(objectAtLocation {item} {where[chosen[0]]})",
                )
    return problem


def receptacle_in_receptacle(problem: str, rng: random.Random) -> str:
    (first, _, _), (second, _, _) = place(problem, rng), place(problem, rng, openable=False)
    if first == second:
        return problem
    return add(problem, init=(f"inReceptacle {first} {second}",))


def bowls(problem: str, rng: random.Random) -> str:
    """Objects that hold objects; what is in them cannot be taken out of them."""
    at = place(problem, rng, openable=False)
    problem = thing(problem, rng, "Bowl", "pickupable cleanable coolable isReceptacleObject", at)
    bowl = facts(problem, "isReceptacleObject")[0][0]
    for kind in ("Egg", "Spoon"):
        problem = thing(problem, rng, kind, FOOD, at, f"inReceptacleObject IT {bowl}")
    return problem


def two_places(problem: str, rng: random.Random) -> str:
    """An object in two receptacles, one whose location is wrong, one in none."""
    inside = facts(problem, "inReceptacle")
    item = rng.choice(inside)[0]
    other = place(problem, rng)
    if [item, other[0]] not in inside:
        problem = add(problem, init=(f"inReceptacle {item} {other[0]}",))
    item, _ = rng.choice(inside)
    problem = add(problem, init=(f"objectAtLocation {item} {place(problem, rng)[2]}",))
    name = f"Book_bar_{rng.randrange(10**6)}"
    extra = (f"objectType {name} BookType", f"pickupable {name}", f"objectAtLocation {name} {other[2]}")
    return add(problem, objects=(f"{name} - object",), init=extra)


def unreachable(problem: str, rng: random.Random) -> str:
    """A receptacle at no location; one that looks openable and is not; one that is open."""
    name = f"Shelf_bar_{rng.randrange(10**6)}"
    problem = add(problem, objects=(f"{name} - receptacle",), init=(f"receptacleType {name} ShelfType",))
    can_open = [a[0] for a in facts(problem, "openable")]
    if can_open:
        problem = add(problem, init=(f"opened {rng.choice(can_open)}",))
    if len(can_open) > 2:
        last = can_open[-1]
        problem = drop(problem, f"openable {last}")
    return problem


def in_hand(problem: str, rng: random.Random) -> str:
    """The agent holds something from the start, standing at a receptacle."""
    name = f"Knife_bar_{rng.randrange(10**6)}"
    at = place(problem, rng, openable=False)
    start = facts(problem, "atLocation")[0][1]
    problem = drop(problem, f"atLocation agent1 {start}")
    facts_ = (f"objectType {name} KnifeType", f"pickupable {name}", f"holds agent1 {name}", "holdsAny agent1")
    problem = add(problem, objects=(f"{name} - object",), init=(*facts_, f"atLocation agent1 {at[2]}"))
    return add(problem, init=(f"canContain {at[1]} KnifeType",))


def bathtub(problem: str, rng: random.Random) -> str:
    start = facts(problem, "atLocation")[0][1]
    name = "Bathtub_bar_1_bar_BathtubBasin"
    known = "BathtubBasinType - rtype" in problem
    objects = (f"{name} - receptacle",) + (() if known else ("BathtubBasinType - rtype",))
    init = (
        f"receptacleType {name} BathtubBasinType",
        f"receptacleAtLocation {name} {start}",
        "canContain BathtubBasinType ClothType",
    )
    problem = add(problem, objects=objects, init=init)
    at = (name, "BathtubBasinType", start)
    return thing(problem, rng, "Cloth", "pickupable cleanable", at)


def won_at_reset(problem: str, rng: random.Random) -> str:
    item, where = rng.choice(facts(problem, "inReceptacle"))
    return replace_goal(problem, f"(or (inReceptacle {item} {where}) (isHot {item}))")


def always_won(problem: str, rng: random.Random) -> str:
    return replace_goal(problem, "(and)")


def logic(problem: str, rng: random.Random) -> str:
    """A goal with every operator: a thing must leave every receptacle of the kind that it stands in."""
    kinds, classes = dict(facts(problem, "receptacleType")), dict(facts(problem, "objectType"))
    reached = {kinds[r] for r in dict(facts(problem, "receptacleAtLocation")) if r in kinds}
    inside = facts(problem, "inReceptacle")
    holders: dict[str, set[str]] = {}
    for item, receptacle in inside:
        holders.setdefault(item, set()).add(kinds.get(receptacle, ""))
    fits = {
        (item, kind)
        for kind, its in facts(problem, "canContain")
        for item in holders
        if classes.get(item) == its
    }
    lit = {item for (item,) in facts(problem, "isToggled")}
    choices = sorted(
        (item, min(held))
        for item, held in holders.items()
        if len(held) == 1 and held <= reached and any((item, kind) in fits for kind in reached - held)
    )
    two, kind = rng.choice(choices)
    one = rng.choice(sorted(holders.keys() - {two} - lit))
    where, _, _ = place(problem, rng)
    problem = add(problem, init=(f"pickupable {one}", f"pickupable {two}"))
    goal = f"""(and
        (or (not (holdsAny agent1)) (exists (?o - object) (and (holds agent1 ?o) (= ?o {one}))))
        (forall (?r - receptacle) (imply (receptacleType ?r {kind}) (not (inReceptacle {two} ?r))))
        (imply (isToggled {one}) (opened {where})))"""
    return replace_goal(problem, goal)


FEATURES: dict[str, Feature] = {
    f.__name__: f
    for f in (
        slicing, treated, lamp_in_closed_drawer, shared_point, receptacle_in_receptacle, bowls, two_places,
        unreachable, in_hand, bathtub, won_at_reset, always_won, logic,
    )
}  # fmt: skip

TASKS = (
    "Put the *clean* mug on the desk, please!",
    "put a mug in/on the counter-top (left one) & go: 100 % done?",
    "PUT  two   Spoons in the drawer..",
    "place Bob's egg, and Ann's egg, in the 'fridge' @ once = won + done ~ ^_^ $5 \u00e9",
)


def odd_task(content: Content, rng: random.Random) -> Content:
    task = rng.choice(TASKS)
    text = re.sub(r'(Your task is to: )[^"]*', lambda m: m.group(1) + task, content["grammar"])
    return content | {"grammar": text}


def with_features(content: Content, names: list[str], rng: random.Random) -> Content:
    """The game with the named features, in this order."""
    problem = content["pddl_problem"]
    for name in names:
        problem = FEATURES[name](problem, rng)
    return content | {"pddl_problem": problem}


def read(path: str) -> Content:
    with open(path, encoding="utf-8") as file:
        loaded: Content = json.load(file)
    return loaded
