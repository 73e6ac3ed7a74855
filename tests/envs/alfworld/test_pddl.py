"""The PDDL reader: what it reads, and that it refuses the rest with one sentence."""

import pytest

from siri.envs.alfworld.pddl import read_expressions, read_problem
from siri.errors import GameError

SMALL = """(define (problem p) (:domain d) ; a comment with ( in it
 (:objects A b - thing C - place loose)
 (:init (in A C) (= (cost) 3) (not (in b C)))
 (:goal (exists (?X - thing) (in ?X C))))"""


def test_problem_is_lowercased_and_typed():
    problem = read_problem(SMALL)
    assert dict(problem.objects) == {"a": "thing", "b": "thing", "c": "place", "loose": "object"}
    assert problem.init == (("in", "a", "c"),)
    assert problem.goal == ("exists", ("?x", "-", "thing"), ("in", "?x", "c"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL[:-1], "open parentheses"),
        (SMALL + ")", "without its"),
        ("(" * 1000 + ")" * 1000, "nested deeper"),
        ("(domain x)", "not one '\\(define"),
        ("", "not one '\\(define"),
        ("(define (:objects) (:init))", "without ':goal'"),
        ("(define (:objects) (:init) (:goal))", "0 goals"),
        ("(define (:objects -) (:init) (:goal (a)))", "'-' without"),
        ("(define (:objects (a)) (:init) (:goal (a)))", "among typed names"),
        ("(define (:objects) (:init a) (:goal (a)))", "init entry"),
        ("(define (:objects) (:init (a (b))) (:goal (a)))", "nested fact"),
        (";" + "x" * 4_000_001, "characters"),
    ],
)
def test_malformed_text_is_refused(text, words):
    with pytest.raises(GameError, match=words) as caught:
        read_problem(text)
    assert "fix:" in str(caught.value)


def test_several_expressions():
    assert read_expressions("a (b ()) ; c") == ("a", ("b", ()))
