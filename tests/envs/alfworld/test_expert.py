"""The expert wins every kind, and its helpers tell the truth."""

import os
import random

import pytest

from siri.envs.alfworld.engine import State
from siri.envs.alfworld.expert import (
    Expert,
    destinations,
    receptacle_of,
    solve,
    station_type,
    stations,
    target_objects,
)
from siri.envs.alfworld.games import KINDS, load_game, load_tasks, parse_game
from siri.envs.alfworld.generator import generate_games
from tests.envs.alfworld import cases, edges, house


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_wins_every_kind(kind, old):
    commands = solve(parse_game(house.content(kind, old=old)))
    assert commands is not None
    assert len(commands) <= 9  # two objects: go, open, take, go, move; go, take, go, move


def test_plan_shrinks_by_one_with_each_command():
    game = parse_game(house.content("pick_two_obj_and_place"))
    state, expert = State(game), Expert(game)
    lengths = []
    while plan := expert.plan(state):
        lengths.append(len(plan))
        assert state.step(expert.next_command(state))[1]
    assert lengths == list(range(lengths[0], 0, -1))
    assert state.won
    assert expert.next_command(state) == "look"


def test_recovers_from_a_detour():
    game = parse_game(house.content("pick_heat_then_place_in_recep"))
    state, expert = State(game), Expert(game)
    for command in ("go to countertop 1", "take knife 1 from countertop 1", "go to desk 1"):
        state.step(command)
    for _ in range(12):
        state.step(expert.next_command(state))
        if state.won:
            break
    assert state.won


def test_solve_gives_up_within_its_limit():
    assert solve(parse_game(house.content("pick_two_obj_and_place")), max_steps=2) is None


def test_helpers():
    game = parse_game(house.content("pick_heat_then_place_in_recep"))
    assert target_objects(game) == ("apple_bar_1", "apple_bar_2")
    assert destinations(game) == ("fridge_bar_1",)
    assert station_type(game) == "heat"
    assert stations(game, "heat") == ("microwave_bar_1",)
    assert stations(game, "clean") == ("sink_bar_1_bar_sinkbasin",)
    assert station_type(parse_game(house.content("pick_two_obj_and_place"))) is None
    state = State(game)
    assert receptacle_of(state, "apple_bar_2") == "fridge_bar_1"
    assert receptacle_of(state, "nothing") is None


@pytest.mark.skipif("ALFWORLD_DATA" not in os.environ, reason="ALFWORLD_DATA names no real games")
def test_wins_the_real_games():
    tasks = load_tasks(os.environ["ALFWORLD_DATA"], split="valid_seen")
    assert sum(solve(load_game(task.source)) is not None for task in tasks) >= 0.95 * len(tasks)


@pytest.mark.parametrize("pair", range(0, len(cases.PAIRS), 4))
def test_plans_for_goals_with_negation(pair, tmp_path):
    """A thing must leave every receptacle of one kind, and the hand be empty or hold another thing."""
    kind, room = cases.PAIRS[pair]
    (task,) = generate_games(
        1, seed=pair, split="train", kinds=[kind], rooms=[room], scale=0.2, directory=tmp_path
    )
    content = edges.with_features(edges.read(task.source), ["logic"], random.Random(pair))
    game = parse_game(content)
    assert not State(game).won
    commands = solve(game)
    assert commands is not None
    assert len(commands) <= 8  # go, open, take, go, open, put, and what must be opened or closed
