"""A map of colored points with bounded size: one point per occupied voxel, a cube of space.

Adding a frame costs time proportional to its own points, whatever the map holds. When the map is full, the voxels
double in size until it is at most half full: the map keeps everything it has seen, only coarser. Coarsening takes time
proportional to the map, and becomes rarer as the voxels grow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.mapping.key_table import Int64Array, KeyTable

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

#: Smallest capacity: coarsening never merges the eight voxels around the origin, and they must fit into half the map.
MIN_MAX_POINTS = 16
#: A voxel's mean weighs its past as at most this many points, so that it keeps following changes.
MAX_COUNT = 1000.0

#: Bits of a voxel's index along each axis; three indices make its key. Indices start at 1 − _REACH, so no key is 0.
_BITS = 21
_REACH = 1 << (_BITS - 1)
_MASK = (1 << _BITS) - 1
_COLUMNS = 7  # x y z, r g b, confidence


@dataclass(frozen=True)
class MapPoints:
    """The points of a map, one per voxel, in the order in which the voxels were first seen.

    Attributes:
        positions: (N, 3) float32, meters, mean of the points in the voxel.
        colors: (N, 3) uint8 RGB, mean likewise.
        confidences: (N,) float32, mean likewise.
    """

    positions: Float32Array
    colors: npt.NDArray[np.uint8]
    confidences: Float32Array


NO_POINTS = MapPoints(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))


@dataclass(frozen=True)
class MapState:
    """Everything a map carries from one `VoxelMap.insert` to the next.

    Attributes:
        voxel_size: side of the voxels [m].
        keys: (N,) int64, keys of the voxels.
        counts: (N,) float32, weight of each mean, at most `MAX_COUNT`.
        means: (N, 7) float32, of position, color and confidence.
    """

    voxel_size: float
    keys: Int64Array
    counts: Float32Array
    means: Float32Array


@dataclass(frozen=True)
class _Voxels:
    """Distinct voxels: keys (N,), number of points in each (N,), and the sums over these points (7, N)."""

    keys: Int64Array
    counts: Float64Array
    sums: Float64Array

    def doubled(self) -> _Voxels:
        """Return the voxels of twice the size that contain these."""
        keys = np.zeros_like(self.keys)
        for shift in (2 * _BITS, _BITS, 0):
            keys |= (((self.keys >> shift & _MASK) >> 1) + _REACH // 2) << shift
        return _gathered(keys, self.counts, self.sums)


class VoxelMap:
    """The map. Not thread-safe."""

    def __init__(self, voxel_size: float, max_points: int) -> None:
        """Make an empty map.

        Args:
            voxel_size: initial side of a voxel [m], > 0.
            max_points: largest number of voxels, >= `MIN_MAX_POINTS`. Each takes at most 90 bytes, and three times as
                much while a full map becomes coarser.

        Raises:
            ValueError: an argument is out of range.
        """
        if not (voxel_size > 0 and max_points >= MIN_MAX_POINTS):
            raise ValueError(
                f"a map needs voxel_size > 0 and max_points >= {MIN_MAX_POINTS}, got {voxel_size} and {max_points}"
            )
        self._finest, self._max_points = voxel_size, max_points
        self.clear()

    def clear(self) -> None:
        """Remove all points and restore the initial voxel size."""
        self.voxel_size = self._finest
        self._empty()

    def __len__(self) -> int:
        return len(self._table)

    def insert(self, positions: Float32Array, colors: npt.NDArray[np.uint8], confidences: Float32Array) -> None:
        """Add points.

        Args:
            positions: (M, 3) meters. Points that are not finite, or more than a million voxels away from the origin
                along an axis, are ignored.
            colors: (M, 3) RGB.
            confidences: (M,).
        """
        columns = np.empty((_COLUMNS, len(positions)))
        columns[:3], columns[3:6], columns[6] = positions.T, colors.T, confidences
        with np.errstate(invalid="ignore", over="ignore"):
            numbers = np.floor(columns[:3] / self.voxel_size)
            usable = np.abs(numbers).max(axis=0) < _REACH  # false for NaN
        if not usable.all():
            columns, numbers = columns[:, usable], numbers[:, usable]
        x, y, z = numbers.astype(np.int64) + _REACH
        self._merge(_gathered(x << 2 * _BITS | y << _BITS | z, np.ones(len(x)), columns))

    def points(self) -> MapPoints:
        """Return a copy of the map's points."""
        means = self._means[: len(self)]
        return MapPoints(means[:, :3].copy(), np.rint(means[:, 3:6]).astype(np.uint8), means[:, 6].copy())

    def state(self) -> MapState:
        """Return a copy of the map's state."""
        size = len(self)
        return MapState(
            self.voxel_size, self._keys[:size].copy(), self._counts[:size].copy(), self._means[:size].copy()
        )

    def resume(self, state: MapState) -> None:
        """Continue from the state of a map with the same capacity.

        Raises:
            ValueError: the state exceeds this map's capacity.
        """
        self._empty()
        size = len(state.keys)
        self._table.add(state.keys)
        self.voxel_size = state.voxel_size
        self._keys[:size], self._counts[:size], self._means[:size] = state.keys, state.counts, state.means

    def _merge(self, voxels: _Voxels) -> None:
        indices = self._table.find(voxels.keys)
        while len(self) + np.count_nonzero(indices < 0) > self._max_points:
            voxels = self._coarsen(voxels)
            indices = self._table.find(voxels.keys)
        new = indices < 0
        indices[new] = self._table.add(voxels.keys[new])
        self._keys[indices[new]] = voxels.keys[new]
        before = self._counts[indices]
        means = self._means[indices]
        means += ((voxels.sums - means.T * voxels.counts) / (before + voxels.counts)).T
        self._means[indices] = means
        self._counts[indices] = np.minimum(before + voxels.counts, MAX_COUNT)

    def _coarsen(self, arriving: _Voxels) -> _Voxels:
        """Double the voxels until the map is at most half full; return the arriving ones, doubled as often."""
        counts = self._counts[: len(self)].astype(np.float64)
        voxels = _Voxels(self._keys[: len(self)], counts, self._means[: len(self)].T * counts)
        while True:
            voxels, arriving = voxels.doubled(), arriving.doubled()
            self.voxel_size *= 2
            if 2 * len(voxels.keys) <= self._max_points:
                break
        self._empty()
        self._merge(voxels)
        return arriving

    def _empty(self) -> None:
        self._table = KeyTable(self._max_points)
        self._keys = np.zeros(self._max_points, dtype=np.int64)  # by index in the table
        self._counts = np.zeros(self._max_points, dtype=np.float32)
        self._means = np.zeros((self._max_points, _COLUMNS), dtype=np.float32)


def _gathered(keys: Int64Array, counts: Float64Array, sums: Float64Array) -> _Voxels:
    """Add up the counts and sums of equal keys."""
    unique, inverse = np.unique(keys, return_inverse=True)
    added = np.empty((1 + len(sums), len(unique)))
    for row, column in enumerate((counts, *sums)):
        added[row] = np.bincount(inverse, weights=column, minlength=len(unique))
    return _Voxels(unique, added[0], added[1:])
