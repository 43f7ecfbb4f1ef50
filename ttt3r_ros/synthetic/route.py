"""The walkable floor of an apartment, and paths on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ttt3r_ros.synthetic.clearance import MAP_CELL_M, lookup

if TYPE_CHECKING:  # a scene's movers walk on its floor
    from ttt3r_ros.synthetic.scene import Scene

CLEARANCE_M = 0.56  # minimum distance to every object
_STEP_M = 2 * MAP_CELL_M  # spacing of the nodes of the path-planning grid
_NEIGHBORS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]

Point = npt.NDArray[np.float64]


class Floor:
    """The part of an apartment's floor that a camera can reach while staying CLEARANCE_M away from every object."""

    def __init__(self, scene: Scene) -> None:
        width, depth = scene.plan.size
        self._distance = scene.distance
        self._x = np.arange(0.0, width, _STEP_M)
        self._y = np.arange(0.0, depth, _STEP_M)
        x, y = np.meshgrid(self._x, self._y)
        self._room = lookup(scene.distance, x, y)
        self._free = _largest_part(self._room > CLEARANCE_M + 0.02)

    def clearance(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the distance to the nearest object [m]."""
        return lookup(self._distance, x, y)

    def spot(self, rng: np.random.Generator, away_from: Point | None = None) -> Point:
        """Return a random place with room to turn, far from another place if one is given."""
        open_ = self._free & (self._room > CLEARANCE_M + 0.08)
        rows, columns = np.nonzero(open_ if open_.any() else self._free)
        picks = rng.integers(0, len(rows), 6)
        places = np.stack([self._x[columns[picks]], self._y[rows[picks]]], axis=1)
        if away_from is None:
            return np.asarray(places[0])
        return np.asarray(places[int(np.argmax(np.hypot(*(places - away_from).T) > 2.5))])

    def way(self, start: Point, goal: Point) -> npt.NDArray[np.float64]:
        """Return a path (n, 2) from start to goal that prefers open space."""
        steps = self._steps_from(self._node(goal))
        row, column = self._node(start)
        nodes = [(row, column)]
        while steps[row, column] > 0.0:
            around = [(row + dy, column + dx) for dy, dx in _NEIGHBORS]
            around = [(r, c) for r, c in around if 0 <= r < len(self._y) and 0 <= c < len(self._x)]
            row, column = min(around, key=lambda node: float(steps[node]))
            nodes.append((row, column))
        way = np.array([(self._x[c], self._y[r]) for r, c in nodes])
        for _ in range(2):  # smooth the staircase of the grid
            way[1:-1] = (way[:-2] + 2 * way[1:-1] + way[2:]) / 4
        return way

    def _node(self, place: Point) -> tuple[int, int]:
        """Return the free node nearest to a place."""
        squared = (self._x[None, :] - place[0]) ** 2 + (self._y[:, None] - place[1]) ** 2
        row, column = divmod(int(np.where(self._free, squared, np.inf).argmin()), len(self._x))
        return row, column

    def _steps_from(self, node: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return the cost of the best path from a node to every other, infinite if there is none (Bellman-Ford)."""
        rows, columns = self._free.shape
        steps = np.full((rows + 2, columns + 2), np.inf)
        inner = steps[1:-1, 1:-1]
        inner[node] = 0.0
        cost = np.where(self._free, 1.0 + 3.0 * np.maximum(0.9 - self._room, 0.0), np.inf)
        lengths = [np.hypot(dy, dx) * cost for dy, dx in _NEIGHBORS]
        while True:
            before = inner.copy()
            for (dy, dx), length in zip(_NEIGHBORS, lengths, strict=True):
                np.minimum(inner, steps[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] + length, out=inner)
            if np.array_equal(before, inner):
                return inner


def _largest_part(free: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest connected part of a mask."""
    left, best = free.copy(), np.zeros_like(free)
    while left.sum() > best.sum():
        part = np.zeros_like(free)
        part.flat[int(left.argmax())] = True
        count = 0
        while count != (count := int(part.sum())):
            for _ in range(8):
                part[1:] |= part[:-1]
                part[:-1] |= part[1:]
                part[:, 1:] |= part[:, :-1]
                part[:, :-1] |= part[:, 1:]
                part &= free
        if count > best.sum():
            best = part
        left &= ~part
    return best
