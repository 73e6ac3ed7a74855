"""A key-value cache with one slot per session, for unmodified transformers models.

The key of position p of a row lives at index p of the row's slot, whatever the other rows hold, so the
attention mask is simply "index ≤ position". What a padded query writes beyond a row's end is never seen:
a real token overwrites that index before any query may look at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["SlotCache"]

_CHUNK = 256
"""Positions by which the slots grow."""


@dataclass(slots=True)
class _Address:
    """Where the current forward pass reads and writes; shared by all layers."""

    slots: int
    capacity: int = 0
    rows: slice | Tensor | None = None
    """The slots of the batch's rows, [B]."""
    writes: Tensor | None = None
    """slot * capacity + position of every query, [B * q]."""
    visible: int = 0
    """Keys that the mask covers, kv."""


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, [slots, capacity, heads, head size]."""

    is_sliding = False

    def __init__(self, address: _Address) -> None:
        super().__init__()
        self._address = address

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._grown(self.keys, key_states)
        self.values = self._grown(self.values, value_states)
        self.is_initialized = True

    def _grown(self, old: Tensor | None, like: Tensor) -> Tensor:
        # zeros, not empty: a masked NaN would still poison the weighted sum
        at = self._address
        new = like.new_zeros(at.slots, at.capacity, like.shape[1], like.shape[3])
        if old is not None:
            new[:, : old.shape[1]] = old
        return new

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values, [B, heads, q, d]; return all visible ones, [B, heads, kv, d]."""
        if not self.is_initialized or self.keys.shape[1] != self._address.capacity:
            self.lazy_initialization(key_states, value_states)
        return self._put(self.keys, key_states), self._put(self.values, value_states)

    def _put(self, store: Tensor, new: Tensor) -> Tensor:
        at = self._address
        batch, heads, queries, size = new.shape
        flat = new.transpose(1, 2).reshape(batch * queries, heads * size)
        store.view(-1, heads * size).index_copy_(0, at.writes, flat)
        seen = store[:, : at.visible]
        seen = seen[at.rows] if isinstance(at.rows, slice) else seen.index_select(0, at.rows)
        return seen.transpose(1, 2)

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        return self._address.visible, 0

    def get_seq_length(self) -> int:
        return self._address.visible

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        """The name of ``get_max_length`` in transformers 4."""
        return -1


class SlotCache(Cache):  # type: ignore[misc]
    """``past_key_values`` with ``slots`` rows of their own length each. Call ``address`` before a pass."""

    def __init__(self, layers: int, slots: int) -> None:
        self._address = _Address(slots)
        super().__init__(layers=[_SlotLayer(self._address) for _ in range(layers)])

    def address(self, slots: Tensor, starts: Tensor, queries: int, visible: int) -> Tensor:
        """Aim the next forward pass; returns the positions of its queries, int64 [B, q].

        Args:
            slots: slot of each row, [B], ascending, on the CPU.
            starts: position of each row's first query, [B], on the CPU.
            queries: q, padded ones included.
            visible: kv, at least every start + q.
        """
        at = self._address
        if visible > at.capacity:
            at.capacity = -(-visible // _CHUNK) * _CHUNK
        first, count = int(slots[0]), len(slots)
        contiguous = int(slots[-1]) - first + 1 == count
        at.rows = slice(first, first + count) if contiguous else slots
        positions = starts[:, None] + torch.arange(queries)
        at.writes = (slots[:, None] * at.capacity + positions).flatten()
        at.visible = visible
        return positions

    def to_device(self, device: torch.device) -> None:
        """Move the addresses to the model's device (no-op on the CPU)."""
        at = self._address
        at.writes = None if at.writes is None else at.writes.to(device)
        at.rows = at.rows if isinstance(at.rows, slice) else at.rows.to(device)
