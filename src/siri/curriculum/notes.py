"""What training made of some groups of an iteration, turn by turn: for whoever reads episodes afterwards."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from siri.seeds import derive_seed
from siri.training.learner import Learner
from siri.training.no_learner import NoLearner
from siri.training.rows import Row, Span
from siri.types import Group

__all__ = ["KeptGroup", "Note", "Taught", "Watch", "sampled"]


@dataclass(frozen=True, slots=True)
class Taught:
    """What distillation did to the completion of one turn, one number a token."""

    weights: tuple[float, ...]
    """w ≥ 0; 0 where a token was left out."""
    before: tuple[float, ...]
    """Natural-log probability under the prompt that it was taught under, before the update."""
    after: tuple[float, ...]
    """After it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a turn was worth, and what was taught of it."""

    advantage: float | tuple[float, ...]
    """A of the completion, or of each of its tokens."""
    taught: Taught | None = None


@dataclass(frozen=True, slots=True)
class KeptGroup:
    """A whole group of an iteration with its notes."""

    place: int
    """Its number within the iteration."""
    group: Group
    notes: tuple[tuple[Note, ...], ...]
    """By trajectory, then by turn."""


def sampled(iteration: int, groups: int, *, keep: int, seed: int) -> tuple[int, ...]:
    """Which groups of an iteration are kept whole: ``keep`` at random, in order, whatever their outcome."""
    generator = random.Random(derive_seed("kept groups", seed, iteration))
    return tuple(sorted(generator.sample(range(groups), min(keep, groups))))


class Watch:
    """Looks at the lessons of some groups around an update. Changes nothing that is computed.

    Args:
        groups: all groups of the iteration.
        places: those to look at.
        values: the advantage of every turn of ``groups``, as ``Advantages.by_turn`` has them.
        rows: what is distilled now.
        learner: knows the log-probs. Asking it is a collective, as learning is.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        places: Collection[int],
        *,
        values: Sequence[float | tuple[float, ...]],
        rows: Sequence[Row],
        learner: Learner | NoLearner,
    ) -> None:
        self.groups, self.places, self.learner = groups, sorted(places), learner
        self.values = values
        # a span carries the very tuple of its turn, so identity says whose it is
        own = {
            id(turn.logprobs)
            for place in self.places
            for trajectory in groups[place].trajectories
            for turn in trajectory.turns
        }
        self.rows = [row for row in rows if any(id(span.logprobs) in own for span in row.spans)]
        self.before = learner.score(self.rows) if self.rows else []

    def kept(self) -> tuple[KeptGroup, ...]:
        """The groups with their notes; called after the update."""
        after = self.learner.score(self.rows) if self.rows else []
        taught: dict[int, Taught] = {}
        for row, old, new in zip(self.rows, self.before, after, strict=True):
            for span, first, last in zip(row.spans, old, new, strict=True):
                taught[id(span.logprobs)] = Taught(_weights(span), first, last)
        values = iter(self.values)
        found = list[KeptGroup]()
        for place, group in enumerate(self.groups):
            notes = [list(islice(values, len(trajectory.turns))) for trajectory in group.trajectories]
            if place in self.places:
                pairs = zip(group.trajectories, notes, strict=True)
                whole = tuple(
                    tuple(
                        Note(advantage, taught.get(id(turn.logprobs)) if turn.logprobs else None)
                        for turn, advantage in zip(trajectory.turns, worth, strict=True)
                    )
                    for trajectory, worth in pairs
                )
                found.append(KeptGroup(place, group, whole))
        return tuple(found)


def _weights(span: Span) -> tuple[float, ...]:
    size = len(span.logprobs)
    each = span.weight if isinstance(span.weight, tuple) else (span.weight,) * size
    mask = span.mask or (True,) * size
    return tuple(weight if counts else 0.0 for weight, counts in zip(each, mask, strict=True))
