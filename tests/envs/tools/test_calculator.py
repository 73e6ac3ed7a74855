"""The calculator against Python's own arithmetic, and units there and back."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.tools import UNITS, calculate, convert
from siri.envs.tools.calculator import ToolError, show

LEAVES = st.integers(0, 99).map(str)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join),
        inner.map(lambda text: f"( {text} )"),
        inner.map(lambda text: f"-{text}" if text[0] != "-" else text),
    ),
    max_leaves=6,
)


def exact(text: str) -> str:
    """Python's expression with exact numbers."""
    return "".join(
        f"Fraction({part})" if part.isdigit() else part for part in text.replace("(", "( ").split()
    )


@given(EXPRESSIONS)
def test_it_computes_as_python_does(text: str) -> None:
    spaced = text.replace("-", " - ").replace("(", " ( ").replace(")", " ) ")
    try:
        expected = eval(exact(spaced), {"Fraction": Fraction})
    except ZeroDivisionError:
        with pytest.raises(ToolError, match="zero"):
            calculate(text)
        return
    assert calculate(text) == expected


@given(st.text(max_size=200))
def test_any_text_is_a_number_or_an_error(text: str) -> None:
    for call in (lambda: calculate(text), lambda: convert(text, "feet", "inches")):
        with suppress(ToolError):
            assert isinstance(call(), Fraction)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 +",
        "2 ** 3",
        "2 3",
        "()",
        "(2",
        "x",
        "1e9",
        "9" * 13,
        "(" * 60 + "1",
        "1 + " * 60 + "1",
        "٣ + 1",
    ],
)
def test_what_it_cannot_read(text: str) -> None:
    with pytest.raises(ToolError):
        calculate(text)


@given(
    value=st.integers(1, 999),
    units=st.sampled_from([(a, b) for a in UNITS for b in UNITS if UNITS[a][0] == UNITS[b][0]]),
)
def test_units_there_and_back(value: int, units: tuple[str, str]) -> None:
    start, end = units
    there = convert(str(value), start, end)
    assert there * UNITS[end][1] == value * UNITS[start][1]


@pytest.mark.parametrize("call", [("1", "feet", "days"), ("1", "miles", "feet"), ("-1", "feet", "inches")])
def test_what_does_not_convert(call: tuple[str, str, str]) -> None:
    with pytest.raises(ToolError):
        convert(*call)


def test_numbers_in_words() -> None:
    assert [show(Fraction(*pair)) for pair in ((6, 2), (1, 3), (5, 2), (-1, 4))] == [
        "3",
        "0.3333",
        "2.5",
        "-0.25",
    ]
