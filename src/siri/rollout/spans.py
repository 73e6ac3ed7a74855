"""From characters of a text to the tokens that it was decoded from. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

__all__ = ["shifted", "tokens_of_span"]


def tokens_of_span(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str], text: str, span: tuple[int, int]
) -> tuple[int, int]:
    """The tokens that hold a character of ``text[span[0]:span[1]]``, as a half-open range of ``ids``.

    Several tokens may share one character of several bytes; all but the last then decode to replacement
    characters. Each of them counts as holding it. Some tokenizers replace a whole run of bytes, with the
    characters in it, until its last character is complete. Of such a prefix, what a shorter one spelled
    counts, so the text only grows with every token, and a bisection needs few decodes.

    Args:
        ids: token ids, T of them.
        decode: turns ids into text.
        text: ``decode(ids)``.
        span: characters (from, to); an empty span holds no token.

    Returns:
        (first, end) with 0 <= first <= end <= T.
    """
    if span[0] >= span[1]:
        return 0, 0

    def whole(count: int) -> int:
        """Number of characters that the first ``count`` tokens spell in full."""
        most = 0
        while count:
            said = decode(ids[:count])
            full = _shared(said, text)
            most = max(most, full)
            if "\ufffd" not in said[full:]:
                break
            count -= 1
        return most

    def begun(token: int) -> int:
        """Number of characters that the tokens up to ``token`` spell in full or in part."""
        full = whole(token + 1)
        return full + (len(decode(ids[: token + 1])) > full)

    first = bisect_right(range(len(ids)), span[0], key=begun)
    # the fewest tokens that spell the span in full
    end = bisect_left(range(len(ids)), span[1], key=whole)
    return first, max(first, end)


def shifted(span: tuple[int, int], by: int) -> tuple[int, int]:
    """Move a span to a text that begins ``-by`` characters later; cut off what lies before its start."""
    return max(0, span[0] + by), max(0, span[1] + by)


def _shared(a: str, b: str) -> int:
    """Length of the common prefix."""
    if b.startswith(a):
        return len(a)
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
