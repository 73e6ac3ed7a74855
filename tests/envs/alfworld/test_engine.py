"""The engine against transcripts of the reference, and its odd rules one by one.

``transcripts.json`` was recorded from alfworld 0.4.2 on textworld 1.7.0 playing the house of ``house.py``:
each step is [command, feedback, sha256 of the admissible commands, won].
"""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siri.envs.alfworld.engine import NOTHING_HAPPENS, State
from siri.envs.alfworld.games import KINDS, parse_game
from tests.envs.alfworld import house

TRANSCRIPTS = json.loads((house.FIXTURES / "transcripts.json").read_text(encoding="utf-8"))
GAMES = {kind: parse_game(house.content(kind)) for kind in KINDS}


def start(kind="pick_heat_then_place_in_recep", *commands):
    state = State(GAMES[kind])
    for command in commands:
        assert state.step(command)[1], command
    return state


@pytest.mark.parametrize("record", TRANSCRIPTS, ids=lambda r: f"{r['kind']}-{'old' if r['old'] else 'new'}")
def test_plays_as_the_reference_does(record):
    state = State(parse_game(house.content(record["kind"], old=record["old"])))
    assert state.opening() == record["opening"]
    assert state.admissible() == record["first"]
    for command, feedback, digest, won in record["steps"]:
        assert state.step(command)[0] == feedback
        assert hashlib.sha256("\n".join(state.admissible()).encode()).hexdigest()[:8] == digest
        assert state.won is won


def test_opening_lists_reachable_receptacles_only():
    assert start().opening() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1, "
        "a countertop 1, a desk 1, a drawer 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a hot apple in fridge."
    )


def test_look_says_nothing_at_the_start_point():
    feedback, valid = start().step("look")
    assert feedback.endswith("you see nothing.")
    assert valid


@pytest.mark.parametrize("command", ["", "Look", "look  x", "go  to desk 1", "go to desk", "go to shelf 1"])
def test_anything_else_changes_nothing(command):
    state = start()
    before = (state.anchor(), state.admissible())
    assert state.step(command) == (NOTHING_HAPPENS, False)
    assert (state.anchor(), state.admissible()) == before


def test_receptacles_at_one_point_are_all_at_hand():
    state = start("pick_two_obj_and_place", "go to cabinet 1")
    assert {"open cabinet 1", "open cabinet 2", "examine cabinet 2"} <= set(state.admissible())
    assert "go to cabinet 2" not in state.admissible()
    assert (
        state.step("look")[0] == "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing."
    )


def test_spaces_around_a_command_do_not_matter():
    assert start().step("  go to desk 1\n") == ("You arrive at desk 1. On the desk 1, you see nothing.", True)


def test_only_what_is_in_hand_can_be_examined():
    state = start("pick_heat_then_place_in_recep", "go to countertop 1")
    assert not state.step("examine apple 2")[1]
    state.step("take apple 2 from countertop 1")
    assert state.step("examine apple 2") == ("There's nothing special about apple 2.", True)


@pytest.mark.parametrize(
    ("treatments", "words"),
    [
        ("clean", "clean"),
        ("heat", "hot"),
        ("cool", "cold"),
        ("clean heat", "hot and clean"),
        ("clean cool", "cool and clean"),
        ("heat cool", "cold"),
        ("cool heat", "hot"),
        ("slice", None),
        ("slice clean", "clean sliced"),
        ("slice heat", "hot sliced"),
        ("slice cool", "cool sliced"),
        ("slice heat clean", "hot and clean sliced"),
        ("slice cool clean", "cool and clean sliced"),
    ],
)
def test_words_for_a_treated_thing(treatments, words):
    at = {"clean": "sinkbasin 1", "heat": "microwave 1", "cool": "fridge 1"}
    state = start("pick_heat_then_place_in_recep", "go to countertop 1")
    verbs = treatments.split()
    if verbs[0] == "slice":
        for command in ("take {k} from {c}", "slice {a} with {k}", "move {k} to {c}"):
            assert state.step(command.format(k="knife 1", a="apple 2", c="countertop 1"))[1]
        verbs = verbs[1:]
    state.step("take apple 2 from countertop 1")
    for verb in verbs:
        state.step(f"go to {at[verb]}")
        assert state.step(f"{verb} apple 2 with {at[verb]}")[1]
    assert state.step("examine apple 2")[0] == f"This is a {words or 'sliced'} apple 2."


def test_containers_hide_their_state():
    state = start(
        "pick_clean_then_place_in_recep", "go to drawer 1", "open drawer 1", "take mug 1 from drawer 1"
    )
    assert state.step("examine mug 1")[0] == "This is a normal mug 1. In it, you see nothing."


def test_lamp_in_a_closed_drawer_can_be_used_and_never_goes_off():
    state = start("look_at_obj_in_light", "go to drawer 1")
    assert [state.step("use desklamp 1") for _ in range(2)] == [("You turn on the desklamp 1.", True)] * 2


def test_light_then_book_wins_at_the_lamp_and_can_be_undone():
    state = start(
        "look_at_obj_in_light", "go to drawer 1", "use desklamp 1", "go to cabinet 2", "open cabinet 1"
    )
    state.step("take book 1 from cabinet 1")
    assert not state.won
    state.step("go to drawer 1")
    assert state.won
    state.step("go to desk 1")
    assert not state.won


def test_look_names_things_moved_between_receptacles_of_one_point():
    state = start("pick_and_place_simple", "go to cabinet 1", "open cabinet 1", "open cabinet 2")
    for command in ("take book 1 from cabinet 1", "move book 1 to cabinet 2"):
        assert state.step(command)[1]
    assert state.step("look")[0].endswith("Next to it, you see a book 1.")


def test_a_copy_goes_its_own_way():
    state = start("pick_heat_then_place_in_recep", "go to countertop 1", "take apple 2 from countertop 1")
    twin = state.copy()
    assert (twin.anchor(), twin.admissible(), twin.won) == (state.anchor(), state.admissible(), state.won)
    before = state.anchor()
    assert twin.step("move apple 2 to countertop 1")[1]
    assert (state.anchor(), state.held) == (before, "apple_bar_1")
    assert twin.held is None


def test_anchor_forgets_the_way_but_not_the_state():
    first, second = start(), start()
    assert first.anchor() == second.anchor()
    first.step("go to desk 1")
    assert first.anchor() != second.anchor()
    for command in ("go to fridge 1", "open fridge 1", "close fridge 1", "go to desk 1"):
        assert second.step(command)[1]
    assert first.anchor() == second.anchor()
    assert hash(first.anchor()) == hash(second.anchor())


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.integers(0, 10_000), max_size=40))
def test_invariants_of_any_play(kind, choices):
    state = State(GAMES[kind])
    for choice in choices:
        commands = state.admissible()
        assert commands == sorted(set(commands))
        assert state.step(commands[choice % len(commands)])[1]
        facts = state.facts
        assert sum(fact[0] == "atlocation" for fact in facts) == 1
        assert sum(fact[0] == "holds" for fact in facts) == (state.held is not None)
        assert {f[1:] for f in facts if f[0] == "inreceptacle"} == {
            (item, place) for place in state.game.receptacle_types for item in state.contents(place)
        }
    assert state.anchor() == facts_changed(state)


def facts_changed(state):
    return state.facts ^ state.game.dynamic
