"""What a user's object is called, and what a wrapper of ours has inside."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Wrapper", "inside", "name_of"]


T = TypeVar("T")


class Wrapper(Generic[T]):
    """An object of the small form, completed; ``given`` is the user's own."""

    given: T


def inside(given: object) -> object:
    """The user's own object, where ``given`` is a wrapper around it."""
    return given.given if isinstance(given, Wrapper) else given


def name_of(given: object) -> str:
    """How messages call a user's object."""
    inner = getattr(given, "func", given)  # functools.partial
    inner = inside(inner)
    return str(getattr(inner, "__name__", None) or type(inner).__name__)
