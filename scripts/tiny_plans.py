"""Plans: what to do with the target, step by step. A skill is a plan in words."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tiny_rooms import HABITS, HELD_OUT, LOOK, TRUE_STATIONS, TWO, VERBS, check_held_out
from tiny_worlds import World, class_of

from siri.policies.tiny import CONDITIONS

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
    draw, classes = rng.random(), sorted({class_of(p) for p in world.contents})
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
    classes = sorted({class_of(p) for p in world.contents})
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
