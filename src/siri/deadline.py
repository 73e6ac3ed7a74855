"""Calls that may take only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


def within(seconds: float | None, function: Callable[[], T]) -> T:
    """What ``function`` returns or raises, if it does so in time.

    It runs in a thread of its own, because only that can be left behind: Python cannot stop a call from
    outside. A call that is late keeps running, unheard, until it ends or the process does.

    Args:
        seconds: it may take; None calls it right here, and waits for ever.
        function: without arguments.

    Raises:
        TimeoutError: it was not done in time.
    """
    if seconds is None:
        return function()
    found: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            found.append(function())
        except BaseException as error:  # noqa: BLE001 (raised again by the caller's thread)
            raised.append(error)

    thread = threading.Thread(target=call, name="siri-within", daemon=True)
    thread.start()
    # a wait of more than some years overflows the clock
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if raised:
        raise raised[0]
    if not found:
        raise TimeoutError(f"not done within {seconds:g} s")
    return found[0]
