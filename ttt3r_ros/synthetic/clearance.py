"""Distance from points on the floor to the nearest object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAP_CELL_M = 0.08
MAP_ORIGIN_M = -0.4  # x and y of the first cell's center
MAP_CELLS = (132, 166)  # rows along y and columns along x: the largest apartment plus a margin

Map = npt.NDArray[np.float32]


def distance_map(
    center: npt.NDArray[np.float64],
    half: npt.NDArray[np.float64],
    yaw: npt.NDArray[np.float64],
    roundness: npt.NDArray[np.float64],
    reach_m: float,
    cells: tuple[int, int] = MAP_CELLS,
) -> Map:
    """Return the map (rows, columns) of horizontal distances [m] to the nearest of N primitives, negative inside.

    Args:
        center, half: (N, 3), meters; ``half`` along the primitives' own axes.
        yaw: (N,) yaw of their x axis.
        roundness: (N,), 1 for round primitives, whose radius is half x.
        reach_m: distances are clamped to this value.
        cells: rows and columns of the map.
    """
    rows, columns = cells
    # positive distances stay squared until the end, so that one root suffices; negative ones are not squared
    out = np.full(cells, reach_m**2, np.float32)
    reach = np.hypot(half[:, 0], half[:, 1]) + reach_m
    first = np.floor((center[:, :2] - reach[:, None] - MAP_ORIGIN_M) / MAP_CELL_M).astype(int).clip(0)
    last = np.ceil((center[:, :2] + reach[:, None] - MAP_ORIGIN_M) / MAP_CELL_M).astype(int).clip(0) + 1
    axis_x = np.arange(columns) * MAP_CELL_M + MAP_ORIGIN_M
    axis_y = np.arange(rows) * MAP_CELL_M + MAP_ORIGIN_M
    aligned = np.abs(np.sin(2 * yaw)) < 1e-9
    size = np.where((np.abs(np.sin(yaw)) > 0.5)[:, None], half[:, [1, 0]], half[:, :2])  # along the world's axes
    for i in range(len(center)):
        part = (slice(first[i, 1], last[i, 1]), slice(first[i, 0], last[i, 0]))
        dx = (axis_x[part[1]] - center[i, 0]).astype(np.float32)[None, :]
        dy = (axis_y[part[0]] - center[i, 1]).astype(np.float32)[:, None]
        if roundness[i]:
            distance = np.hypot(dx, dy) - np.float32(half[i, 0])
            value = np.where(distance > 0, distance * distance, distance)
        else:
            if aligned[i]:
                beyond_x, beyond_y = np.abs(dx) - np.float32(size[i, 0]), np.abs(dy) - np.float32(size[i, 1])
            else:
                c, s = np.float32(np.cos(yaw[i])), np.float32(np.sin(yaw[i]))
                beyond_x = np.abs(c * dx + s * dy) - np.float32(half[i, 0])
                beyond_y = np.abs(c * dy - s * dx) - np.float32(half[i, 1])
            value = np.maximum(beyond_x, 0.0) ** 2 + np.maximum(beyond_y, 0.0) ** 2
            value += np.minimum(np.maximum(beyond_x, beyond_y), 0.0)
        np.minimum(out[part], value, out=out[part])
    return np.where(out > 0, np.sqrt(np.maximum(out, 0.0)), out)


def cells_for(size_m: tuple[float, float]) -> tuple[int, int]:
    """Return rows and columns of the map of a place of this width and depth; apartments all have the same."""
    width, depth = size_m
    rows, columns = (int(np.ceil((m - 2 * MAP_ORIGIN_M) / MAP_CELL_M)) + 1 for m in (depth, width))
    return max(rows, MAP_CELLS[0]), max(columns, MAP_CELLS[1])


def lookup(field: Map, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the map's values at points in meters, world frame, interpolated between cells."""
    column = np.clip((np.asarray(x) - MAP_ORIGIN_M) / MAP_CELL_M, 0, field.shape[1] - 1.001)
    row = np.clip((np.asarray(y) - MAP_ORIGIN_M) / MAP_CELL_M, 0, field.shape[0] - 1.001)
    c, r = column.astype(int), row.astype(int)
    fx, fy = column - c, row - r
    upper = field[r, c] * (1 - fx) + field[r, c + 1] * fx
    lower = field[r + 1, c] * (1 - fx) + field[r + 1, c + 1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float64)
