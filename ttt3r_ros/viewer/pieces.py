"""Sends a cloud in pieces, so that a large map that grows costs only what has changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.mapping.voxel_map import MapPoints

#: Points in a piece: a quarter of a megabyte on the wire.
PIECE_POINTS = 16_384

#: A piece is sent again once one of its points has moved this far [m].
_TOLERANCE_M = 0.05


@dataclass(frozen=True)
class Piece:
    """Part of a cloud: its number, (N, 3) float32 positions [m] and (N, 3) uint8 colors; N may be 0."""

    number: int
    positions: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8]


class Pieces:
    """Remembers what has been sent of a cloud whose points keep their order."""

    def __init__(self) -> None:
        """Nothing has been sent."""
        self._sent: list[npt.NDArray[np.float32]] = []
        self._next = 0

    def changed(self, cloud: MapPoints, min_confidence: float, *, at_most: int) -> list[Piece]:
        """Return pieces that differ from what has been sent, and take them for sent.

        Args:
            cloud: everything that there is now.
            min_confidence: points with less are left out.
            at_most: number of pieces to return; the others have their turn in the next calls.
        """
        count = max(len(self._sent), -(-len(cloud.positions) // PIECE_POINTS))
        self._sent += [np.empty((0, 3), np.float32)] * (count - len(self._sent))
        found: list[Piece] = []
        for offset in range(count):
            number = (self._next + offset) % count
            part = slice(number * PIECE_POINTS, (number + 1) * PIECE_POINTS)
            kept = cloud.confidences[part] >= min_confidence
            positions = cloud.positions[part][kept]
            if not _differ(positions, self._sent[number]):
                continue
            self._sent[number] = positions
            found.append(Piece(number, positions, cloud.colors[part][kept]))
            if len(found) == at_most:
                self._next = (number + 1) % count
                break
        return found


def thinned(cloud: MapPoints, max_points: int) -> MapPoints:
    """Return a cloud of at most so many points: every n-th of them, in their order."""
    every = -(-len(cloud.positions) // max_points) or 1
    if every == 1:
        return cloud
    return MapPoints(cloud.positions[::every], cloud.colors[::every], cloud.confidences[::every])


def _differ(new: npt.NDArray[np.float32], old: npt.NDArray[np.float32]) -> bool:
    return len(new) != len(old) or bool(len(new) and np.abs(new - old).max() > _TOLERANCE_M)
