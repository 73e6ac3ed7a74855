"""Wins of past iterations, to be distilled again.

L_int is a cross-entropy on fixed tokens, so it does not need fresh rollouts. A proven skill's win of a few
iterations ago teaches the plain policy as well as a win of now. Distilled only once, a win moves the policy
by a fraction of an optimizer step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from siri.errors import CheckpointError
from siri.training.rows import Row, Span, TopK

__all__ = ["Replay", "Replayed"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """Wins of one past iteration that a later iteration distils again."""

    iteration: int
    """The iteration of the wins."""
    skills: tuple[str, ...]
    """Ids of the skills that the winning rollouts saw."""
    rows: int
    tokens: int
    """Number of tokens that count."""


class Replay:
    """Keeps the rows of L_int of the last ``iterations`` iterations; checkpoints save them as plain data.

    Rows are kept whatever the status of their skills, because the groups that a skill wins also prove it.
    ``rows`` returns those whose skills are proven at the time of the call, or all of them for ``None``.

    Args:
        iterations: number of iterations that a row is kept; 0 keeps none.
    """

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self._kept: dict[int, list[Row]] = {}

    def add(self, iteration: int, rows: Sequence[Row]) -> None:
        """Keep the ``int`` rows among ``rows``; drop rows that are too old for iteration + 1."""
        self._kept[iteration] = [row for row in rows if row.kind == "int"]
        self._kept = {k: kept for k, kept in self._kept.items() if k > iteration - self.iterations}

    def rows(self, proven: Collection[str] | None) -> list[Row]:
        """Return the rows whose skills are all in ``proven``, oldest first."""
        return [row for _, row in self._wanted(proven)]

    def given(self, proven: Collection[str] | None) -> tuple[Replayed, ...]:
        """Count the tokens of what ``rows`` returns, by iteration and skills."""
        found = dict[tuple[int, tuple[str, ...]], list[Row]]()
        for k, row in self._wanted(proven):
            found.setdefault((k, row.skills), []).append(row)
        return tuple(
            Replayed(k, skills, len(rows), sum(row.tokens for row in rows))
            for (k, skills), rows in found.items()
        )

    def _wanted(self, proven: Collection[str] | None) -> Iterator[tuple[int, Row]]:
        known = None if proven is None else frozenset(proven)
        for k, kept in sorted(self._kept.items()):
            yield from ((k, row) for row in kept if known is None or known.issuperset(row.skills))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {str(k): [_plain(row) for row in kept] for k, kept in sorted(self._kept.items())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            CheckpointError: the state has another form.
        """
        try:
            self._kept = {int(k): [_row(data) for data in kept] for k, kept in state.items()}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"got a replay that cannot be read ({error!r}), expected what Replay.state_dict returned; "
                "fix: another checkpoint"
            ) from error


def _plain(row: Row) -> dict[str, Any]:
    bare = replace(row, spans=tuple(replace(span, top=None) for span in row.spans))
    data = asdict(bare)
    for span, plain in zip(row.spans, data["spans"], strict=True):
        if span.top is not None:
            plain["top"] = {"ids": span.top.ids.tolist(), "logprobs": span.top.logprobs.tolist()}
    return data


def _row(data: Mapping[str, Any]) -> Row:
    spans = tuple(
        Span(
            start=int(span["start"]),
            logprobs=tuple(span["logprobs"]),
            advantage=_values(span["advantage"]),
            weight=_values(span["weight"]),
            mask=None if span["mask"] is None else tuple(span["mask"]),
            rollout=None if span["rollout"] is None else tuple(span["rollout"]),
            top=_top(span.get("top")),
        )
        for span in data["spans"]
    )
    return Row(data["kind"], tuple(data["ids"]), spans, tuple(data["skills"]))


def _top(data: Mapping[str, Any] | None) -> TopK | None:
    if data is None:
        return None
    return TopK(np.asarray(data["ids"], np.int32), np.asarray(data["logprobs"], np.float32))


def _values(value: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
