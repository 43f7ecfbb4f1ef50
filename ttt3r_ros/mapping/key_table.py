"""A hash table from 64-bit keys to 0, 1, 2, … in insertion order, with operations on whole arrays of keys.

It uses open addressing with linear probing in two arrays that are at most half full. All queried keys probe together,
so a lookup takes a few passes over the query, however many keys the table holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

_EMPTY = 0
#: 2^64 over the golden ratio, made odd: multiplying by it spreads neighboring keys (Fibonacci hashing, Knuth).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF_WORD = np.uint64(32)


class KeyTable:
    """The table. It reserves 24 to 48 bytes per key of capacity, and touches them only as it fills."""

    def __init__(self, capacity: int) -> None:
        """Make an empty table for up to ``capacity`` (>= 1) keys."""
        slots = 1 << (2 * capacity - 1).bit_length()
        self._capacity, self._last_slot = capacity, slots - 1
        self._shift = np.uint64(64 - (slots.bit_length() - 1))
        self._keys = np.zeros(slots, dtype=np.int64)
        self._indices = np.zeros(slots, dtype=np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, keys: Int64Array) -> Int64Array:
        """Return the index of each (positive) key, −1 for keys that are not in the table."""
        found = np.full(len(keys), -1, dtype=np.int64)
        looking, slots = np.arange(len(keys)), self._first_slots(keys)
        while len(looking):
            there = self._keys[slots]
            hit = there == keys[looking]
            found[looking[hit]] = self._indices[slots[hit]]
            go_on = ~hit & (there != _EMPTY)
            looking, slots = looking[go_on], (slots[go_on] + 1) & self._last_slot
        return found

    def add(self, keys: Int64Array) -> Int64Array:
        """Add keys and return their indices.

        Args:
            keys: positive, distinct, not in the table.

        Raises:
            ValueError: the table would exceed its capacity.
        """
        if self._count + len(keys) > self._capacity:
            raise ValueError(f"a table for {self._capacity} keys cannot hold {self._count + len(keys)}")
        added = np.arange(self._count, self._count + len(keys))
        self._count += len(keys)
        looking, slots = np.arange(len(keys)), self._first_slots(keys)
        while len(looking):
            free = self._keys[slots] == _EMPTY
            self._keys[slots[free]] = keys[looking[free]]  # if several keys claim one slot, the last written wins
            settled = self._keys[slots] == keys[looking]
            self._indices[slots[settled]] = added[looking[settled]]
            looking, slots = looking[~settled], (slots[~settled] + 1) & self._last_slot
        return added

    def _first_slots(self, keys: Int64Array) -> Int64Array:
        words = keys.view(np.uint64)
        return (((words ^ (words >> _HALF_WORD)) * _GOLDEN) >> self._shift).astype(np.int64)
