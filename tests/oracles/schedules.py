"""Schedules as walks over the iterations, in fractions. No torch, no siri."""

from __future__ import annotations

from fractions import Fraction


def rise(k: int, start: int, length: int, peak: Fraction) -> Fraction:
    """0 before ``start``; from there on one step of peak / length an iteration, until peak is reached."""
    value = Fraction(0)
    for now in range(min(start, k), k + 1):
        if now >= start and value < peak:
            value += peak / length
    return value


def share(k: int, start: int, length: int) -> Fraction:
    """How much of a fall of ``length`` iterations after ``start`` is over at k."""
    past = [now for now in range(start + 1, k + 1) if now <= start + length]
    return Fraction(len(past), length)


def fall(k: int, start: int, length: int, peak: Fraction, end: Fraction) -> Fraction:
    """peak, then a straight line to end."""
    done = share(k, start, length)
    return peak * (1 - done) + end * done


def half_cosine(k: int, start: int, length: int, peak: Fraction, end: Fraction) -> float:
    """peak, then half a cosine to end; the cosine as its power series."""
    angle = Fraction(884279719003555, 281474976710656) * share(k, start, length)  # π to 53 bits
    term, cosine = Fraction(1), Fraction(0)
    for n in range(16):
        cosine += term
        term = -term * angle * angle / ((2 * n + 1) * (2 * n + 2))
    return float(end + (peak - end) * (1 + cosine) / 2)
