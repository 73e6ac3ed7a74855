"""YAML of settings: what is read, and what is refused in a few words."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siri.strict_yaml import StrictYAMLError, load_strict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-6", 1e-6),
        ("a: 1.5e+6", 1.5e6),
        ("a: .5", 0.5),
        ("a: -3", -3),
        ("a: 1_000", 1000),
        ("a: 010", "010"),
        ("a: 0x10", "0x10"),
        ("a: yes", "yes"),
        ("a: on", "on"),
        ("a: true", True),
        ("a: 'true'", "true"),
        ("a: '1'", "1"),
        ("a: 1:30", "1:30"),
        ("a: 2024-05-01", "2024-05-01"),
        ("a: None", None),
        ("a: ~", None),
        ("a:", None),
        ("a: [x, 2, {b: 3}]", ["x", 2, {"b": 3}]),
        ("a: .inf", math.inf),
        ("a: Größe # comment", "Größe"),
        ("a: |\n  two\n  lines\n", "two\nlines\n"),
        ("a: <<", "<<"),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, value: Any) -> None:
    assert load_strict(text) == {"a": value}
    assert type(load_strict(text)["a"]) is type(value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_nothing_is_none(text: str) -> None:
    assert load_strict(text) is None


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "'a' twice in line 3"),
        ("s:\n  a: 1\n  a: 1", "'a' twice in line 3"),
        (BOMB, "an anchor"),
        ("a: *x", "an alias"),
        ("x: &x {b: 1}\na:\n  <<: *x", "an anchor"),
        ("a: !!python/object/apply:os.system ['true']", "a tag"),
        ("a: !!binary aGk=", "a tag"),
        ("a: 1\n---\na: 2", "found another document"),
        ("[" * 5000, "nesting"),
        ("a: {" * 100, "nesting"),
        (f"a: {'9' * 5000}", "5,000 digits"),
        ("1: 2", "not a word"),
        ("? [a]\n: 2", "not a word"),
        ("a:\n\tb: 1", r"'\\t'"),
        ("a: [1", "line"),
        ("a: \x1b", "not allowed"),
        ("x" * 1_000_001, "characters"),
    ],
)
def test_the_rest_is_refused_in_a_few_words(text: str, said: str) -> None:
    with pytest.raises(StrictYAMLError, match=said) as error:
        load_strict(text)
    assert len(str(error.value)) < 200


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(StrictYAMLError):
        load_strict(text)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=40)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | floats | words
trees = st.recursive(scalars, lambda s: st.lists(s) | st.dictionaries(words, s), max_leaves=20)


@settings(deadline=None)
@given(st.dictionaries(words, trees))
def test_json_is_read_as_it_is(data: dict[str, Any]) -> None:
    assert load_strict(json.dumps(data)) == data
