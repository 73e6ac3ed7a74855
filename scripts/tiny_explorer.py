"""A noisy explorer that plays a world by a plan, and uses only what its transcript has shown."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tiny_plans import Plan
from tiny_rooms import TREATABLE
from tiny_worlds import World, class_of, order

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
                self.put(class_of(self.world.here))
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
            seen = [o for o in self.known if class_of(o) == self.world.item and o not in self.used | missed]
            if seen:
                item = min(seen, key=lambda o: (self.known[o] != self.world.here, order(o)))
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
        preferred = [p for p in fresh if class_of(p) == first]
        if preferred:
            return preferred[-1], FIRST
        homes = self.world.homes.get(self.world.item, ())
        weights = {c: 1.0 if c in homes else 0.12 for c in dict.fromkeys(map(class_of, fresh))}
        chosen = self.rng.choices(list(weights), list(weights.values()))[0]
        return [p for p in fresh if class_of(p) == chosen][-1], CHOOSE

    def take(self, item: str, place: str) -> None:
        self.go(place)
        self.unlock(place)
        self.do(f"take {item} from {place}")
        self.known.pop(item, None)

    def visit(self, kind: str) -> str:
        """Go to the first receptacle of a class; "" when there is none."""
        places = [p for p in self.world.contents if class_of(p) == kind]
        if not places:
            return ""
        if class_of(self.world.here) != kind:
            self.go(places[-1])
        return self.world.here

    def put(self, kind: str) -> None:
        place = self.last[1] if class_of(self.last[1]) == kind and self.used else self.visit(kind)
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
            found = [o for o in self.known if class_of(o) == lamp]
            if found:
                self.go(self.known[found[0]])
                self.do(f"use {found[0]}")
                return
            fresh = [p for p in self.world.contents if p not in self.visited]
            if not fresh:
                raise _Over
            likely = [p for p in fresh if class_of(p) in ("desk", "sidetable", "dresser", "shelf")] or fresh
            place = self.rng.choice(likely)
            self.go(place, CHOOSE)
            self.unlock(place)
