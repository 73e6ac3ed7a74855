"""Wins that are distilled again: which are kept, for how long, and whether they survive a checkpoint."""

from __future__ import annotations

import json

import pytest

from siri.errors import CheckpointError
from siri.training.replay import Replay
from siri.training.rows import Row, Span


def row(number: int, *skills: str, kind="int") -> Row:
    spans = (Span(2, (-0.1, -1 / 3), 0.7, (0.7, 1.4)), Span(5, (-0.2,), -1.0, 0.5, (False,), (-0.3,)))
    return Row(kind, (number, 1, 2, 3, 4, 5), spans, skills)


def test_rows_are_kept_for_so_many_iterations_and_only_those_of_distillation() -> None:
    replay = Replay(2)
    for k in range(4):
        replay.add(k, [row(k, "a"), row(100, kind="rl")])
    assert [r.ids[0] for r in replay.rows({"a"})] == [2, 3]
    replay.add(9, [])
    assert replay.rows({"a"}) == []


def test_skills_are_asked_for_when_the_rows_are() -> None:
    replay = Replay(3)
    replay.add(0, [row(1, "a"), row(2, "a", "b"), row(3, "b")])
    assert replay.rows(set()) == []
    assert [r.ids[0] for r in replay.rows({"a"})] == [1]
    assert [r.ids[0] for r in replay.rows({"b", "a"})] == [1, 2, 3]
    assert [r.ids[0] for r in replay.rows(None)] == [1, 2, 3]
    assert [(lot.skills, lot.rows, lot.tokens) for lot in replay.given({"a"})] == [(("a",), 1, 2)]
    assert [lot.skills for lot in replay.given(None)] == [("a",), ("a", "b"), ("b",)]


def test_nothing_is_kept_without_iterations() -> None:
    replay = Replay(0)
    replay.add(0, [row(1, "a")])
    assert replay.rows({"a"}) == []
    assert replay.state_dict() == {}


def test_state_is_json_and_comes_back_equal() -> None:
    replay, other = Replay(3), Replay(3)
    replay.add(0, [row(1, "a")])
    replay.add(1, [row(2, "b"), row(3, "a", "b")])
    other.load_state_dict(json.loads(json.dumps(replay.state_dict())))
    assert other.rows({"a", "b"}) == replay.rows({"a", "b"})
    for each in (replay, other):
        each.add(3, [])
    assert other.rows({"a", "b"}) == replay.rows({"a", "b"}) != []


@pytest.mark.parametrize("state", [{"x": []}, {"0": [{}]}, {"0": 3}, {"0": [row(1).ids]}, []])
def test_a_state_of_something_else_is_refused(state) -> None:
    with pytest.raises(CheckpointError, match="replay"):
        Replay(1).load_state_dict(state)
