"""A map of coloured points of bounded size: one point for each cube of space in which something was seen.

A frame costs what its own points cost, whatever the map holds. When the map is full the cubes double in size until it
is at most half full: nothing that was seen is forgotten, it only becomes coarser. That costs as much as the map is
large, and comes the more rarely the larger the cubes are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.mapping.key_table import Int64Array, KeyTable

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

SMALLEST_MAP = 16  #: points: the eight cubes around the origin never become one, and half of the map must suffice
#: Points that a cube's mean counts at most, so that it goes on following what changes.
MOST_COUNTED = 1000.0

#: Bits of a cube's number along each axis; three of them make its key. Numbers start at 1 − REACH: no key is 0.
_BITS = 21
_REACH = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
_COLUMNS = 7  # x y z, r g b, confidence


@dataclass(frozen=True)
class MapPoints:
    """The points of a map, one for each cube, in the order of their cubes' first sight.

    Attributes:
        positions: (N, 3) float32, metres, mean of what was seen in the cube.
        colours: (N, 3) uint8 RGB, mean likewise.
        confidences: (N,) float32, mean likewise.
    """

    positions: Float32Array
    colours: npt.NDArray[np.uint8]
    confidences: Float32Array


@dataclass(frozen=True)
class MapState:
    """All that a map carries from one `VoxelMap.insert` to the next.

    Attributes:
        voxel_size: side of its cubes [m].
        keys: (N,) int64, the cubes.
        counts: (N,) float32, points that count in each.
        means: (N, 7) float32, of position, colour and confidence.
    """

    voxel_size: float
    keys: Int64Array
    counts: Float32Array
    means: Float32Array


@dataclass(frozen=True)
class _Cubes:
    """Some cubes, each once: their keys, the number of points in each, and the sums over those, (7, N)."""

    keys: Int64Array
    counts: Float64Array
    sums: Float64Array

    def doubled(self) -> _Cubes:
        """Return the cubes of twice the size that hold these."""
        keys = np.zeros_like(self.keys)
        for shift in (2 * _BITS, _BITS, 0):
            keys |= (((self.keys >> shift & _MASK) >> 1) + _REACH // 2) << shift
        return _gathered(keys, self.counts, self.sums)


class VoxelMap:
    """The map. Not safe for use from several threads at once."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        """Make an empty map.

        Args:
            voxel_size: side of a cube [m], > 0.
            max_points: most cubes that are kept, >= `SMALLEST_MAP`; at most 90 bytes of memory for each, and three
                times as much for the moment in which a full map becomes coarser.

        Raises:
            ValueError: one of them is out of range.
        """
        if not (voxel_size > 0 and max_points >= SMALLEST_MAP):
            raise ValueError(f"cubes of {voxel_size} m, {max_points} of them, are no map")
        self._finest, self._max_points = voxel_size, max_points
        self.clear()

    def clear(self) -> None:
        """Forget all points; cubes have their first size again."""
        self.voxel_size = self._finest
        self._empty()

    def __len__(self) -> int:
        return len(self._table)

    def insert(self, positions: Float32Array, colours: npt.NDArray[np.uint8], confidences: Float32Array) -> None:
        """Take in points.

        Args:
            positions: (M, 3) metres. Those that are not finite, or more than a million cubes away from the origin along
                an axis, are left out.
            colours: (M, 3) RGB.
            confidences: (M,).
        """
        columns = np.empty((_COLUMNS, len(positions)))
        columns[:3], columns[3:6], columns[6] = positions.T, colours.T, confidences
        with np.errstate(invalid="ignore", over="ignore"):
            numbers = np.floor(columns[:3] / self.voxel_size)
            usable = np.abs(numbers).max(axis=0) < _REACH  # false for NaN
        if not usable.all():
            columns, numbers = columns[:, usable], numbers[:, usable]
        x, y, z = numbers.astype(np.int64) + _REACH
        self._merge(_gathered(x << 2 * _BITS | y << _BITS | z, np.ones(len(x)), columns))

    def points(self) -> MapPoints:
        """Return a copy of what the map holds."""
        means = self._means[: len(self)]
        return MapPoints(means[:, :3].copy(), np.rint(means[:, 3:6]).astype(np.uint8), means[:, 6].copy())

    def state(self) -> MapState:
        """Return a copy of all that the map carries."""
        size = len(self)
        return MapState(
            self.voxel_size, self._keys[:size].copy(), self._counts[:size].copy(), self._means[:size].copy()
        )

    def resume(self, state: MapState) -> None:
        """Go on as the map whose state this is, which had room for as many points.

        Raises:
            ValueError: there is no room for it.
        """
        self._empty()
        size = len(state.keys)
        self._table.add(state.keys)
        self.voxel_size = state.voxel_size
        self._keys[:size], self._counts[:size], self._means[:size] = state.keys, state.counts, state.means

    def _merge(self, cubes: _Cubes) -> None:
        indices = self._table.find(cubes.keys)
        while len(self) + np.count_nonzero(indices < 0) > self._max_points:
            cubes = self._coarsen(cubes)
            indices = self._table.find(cubes.keys)
        new = indices < 0
        indices[new] = self._table.add(cubes.keys[new])
        self._keys[indices[new]] = cubes.keys[new]
        before = self._counts[indices]
        means = self._means[indices]
        means += ((cubes.sums - means.T * cubes.counts) / (before + cubes.counts)).T
        self._means[indices] = means
        self._counts[indices] = np.minimum(before + cubes.counts, MOST_COUNTED)

    def _coarsen(self, arriving: _Cubes) -> _Cubes:
        """Double the cubes until they take at most half of the room; return those that arrive, doubled as often."""
        counts = self._counts[: len(self)].astype(np.float64)
        cubes = _Cubes(self._keys[: len(self)], counts, self._means[: len(self)].T * counts)
        while True:
            cubes, arriving = cubes.doubled(), arriving.doubled()
            self.voxel_size *= 2
            if 2 * len(cubes.keys) <= self._max_points:
                break
        self._empty()
        self._merge(cubes)
        return arriving

    def _empty(self) -> None:
        self._table = KeyTable(self._max_points)
        self._keys = np.zeros(self._max_points, dtype=np.int64)  # of each index
        self._counts = np.zeros(self._max_points, dtype=np.float32)
        self._means = np.zeros((self._max_points, _COLUMNS), dtype=np.float32)


def _gathered(keys: Int64Array, counts: Float64Array, sums: Float64Array) -> _Cubes:
    """Add up what shares a key."""
    unique, inverse = np.unique(keys, return_inverse=True)
    added = np.empty((1 + len(sums), len(unique)))
    for row, column in enumerate((counts, *sums)):
        added[row] = np.bincount(inverse, weights=column, minlength=len(unique))
    return _Cubes(unique, added[0], added[1:])
