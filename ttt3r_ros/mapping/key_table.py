"""A table from 64-bit keys to 0, 1, 2, … in the order they were added, a whole array of keys at a time.

Open addressing with linear probing in two arrays that are at most half full: all keys take their next step together, so
that a look-up costs a few passes over the keys asked for, however many the table holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

_EMPTY = 0
#: 2^64 over the golden ratio, as an odd number: multiplying by it spreads keys that lie close together (Knuth).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF_WORD = np.uint64(32)


class KeyTable:
    """The table. Its memory is 24 to 48 bytes for each key it has room for, and touched only as it fills."""

    def __init__(self, capacity: int) -> None:
        """Make an empty table with room for so many keys (>= 1)."""
        slots = 1 << (2 * capacity - 1).bit_length()
        self._capacity, self._last_slot = capacity, slots - 1
        self._shift = np.uint64(64 - (slots.bit_length() - 1))
        self._keys = np.zeros(slots, dtype=np.int64)
        self._indices = np.zeros(slots, dtype=np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, keys: Int64Array) -> Int64Array:
        """Return the index of each key, −1 where it has not been added; keys are positive."""
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
            keys: positive, each once, none of them in the table.

        Raises:
            ValueError: there is no room for them.
        """
        if self._count + len(keys) > self._capacity:
            raise ValueError(f"a table for {self._capacity} keys cannot hold {self._count + len(keys)}")
        added = np.arange(self._count, self._count + len(keys))
        self._count += len(keys)
        looking, slots = np.arange(len(keys)), self._first_slots(keys)
        while len(looking):
            free = self._keys[slots] == _EMPTY
            self._keys[slots[free]] = keys[looking[free]]  # of several that want one slot the last written gets it
            settled = self._keys[slots] == keys[looking]
            self._indices[slots[settled]] = added[looking[settled]]
            looking, slots = looking[~settled], (slots[~settled] + 1) & self._last_slot
        return added

    def _first_slots(self, keys: Int64Array) -> Int64Array:
        words = keys.view(np.uint64)
        return (((words ^ (words >> _HALF_WORD)) * _GOLDEN) >> self._shift).astype(np.int64)
