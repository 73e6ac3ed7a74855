"""Which commands are admissible: the preconditions of ALFWorld's actions.

Source: alfworld 0.4.2 ``data/alfred.pddl``. Beware what is not there: a microwave or fridge may be closed
while it heats or cools, a lamp in a closed drawer can be used, and only what is in hand can be examined.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siri.envs.alfworld.engine import State

__all__ = ["STATIONS", "Move", "find_moves"]

Move = tuple[str, str, str]
"""(verb, object, receptacle or tool); unused places are empty."""

STATIONS = {"heat": "microwavetype", "cool": "fridgetype"}
"""Treatment → type of receptacle that gives it (that of "clean" depends on the domain)."""
_ABLE = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
_KNIVES = frozenset({"knifetype", "butterknifetype"})

_Pair = tuple[str, Move]


def find_moves(state: State) -> dict[str, Move]:
    """Admissible commands in plain string order, with their meaning.

    The many "go to" commands are sorted once per game; all others sort wholly before or after them.
    """
    game = state.game
    found: list[_Pair] = [("inventory", ("inventory", "", "")), ("look", ("look", "", ""))]
    if game.grammar.help is not None:
        found.append(("help", ("help", "", "")))
    for receptacle in state.here():
        found += _at(state, receptacle)
    if state.held is not None:
        found.append((f"examine {game.names[state.held]}", ("examine object", state.held, "")))
        found += _slicing(state, state.held)
    found.sort()
    first_after = next(index for index, (command, _) in enumerate(found) if command > "go to")
    moves = dict(found[:first_after])
    moves.update((command, ("go to", "", place)) for command, place in game.goto.get(state.location, ()))
    moves.update(found[first_after:])
    return moves


def _at(state: State, receptacle: str) -> Iterator[_Pair]:
    """What can be done at one receptacle."""
    game, static, held = state.game, state.game.static, state.held
    names = game.names
    name = names[receptacle]
    yield f"examine {name}", ("examine", "", receptacle)
    if ("openable", receptacle) in static:
        verb = "close" if ("opened", receptacle) in state.facts else "open"
        yield f"{verb} {name}", (verb, "", receptacle)
    shown = state.shown(receptacle)
    for item in state.contents(receptacle):
        if ("toggleable", item) in static:
            yield f"use {names[item]}", ("use", item, receptacle)
        if shown and held is None and ("pickupable", item) in static:
            yield f"take {names[item]} from {name}", ("take", item, receptacle)
    if held is None:
        return
    if shown and game.fits(held, receptacle):
        yield game.grammar.put.format(o=names[held], r=name), ("put", held, receptacle)
    types = game.receptacle_types.get(receptacle, frozenset())
    for verb, able in _ABLE.items():
        right = not types.isdisjoint(game.sinks) if verb == "clean" else STATIONS[verb] in types
        if right and (able, held) in static:
            yield f"{verb} {names[held]} with {name}", (verb, held, receptacle)


def _slicing(state: State, knife: str) -> Iterator[_Pair]:
    game = state.game
    if _KNIVES.isdisjoint(game.object_types.get(knife, ())):
        return
    for fact in state.facts:
        if (
            fact[0] == "objectatlocation"
            and fact[2] == state.location
            and ("sliceable", fact[1]) in game.static
        ):
            yield f"slice {game.names[fact[1]]} with {game.names[knife]}", ("slice", fact[1], knife)
