"""What is easily followed of an image: its corners, and the points that the network sees there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.gray import GrayImage

#: So many corners at most, and at least, and this far apart [share of the width].
MAX_CORNERS, MIN_CORNERS, APART = 120, 20, 0.0375
#: Across and down, in so many cells corners are spread, with so many in each at most.
CELLS, PER_CELL = (8, 6), 4
#: Of a corner's point, at least: confidence, and depth over its median.
MIN_CONFIDENCE = 1.2


@dataclass(frozen=True)
class Corners:
    """What is easily followed of a keyframe.

    Attributes:
        pixels: (n, 2) float32 of its gray image.
        points: (n, 3) seen there, in the camera's frame, as published [m].
    """

    pixels: npt.NDArray[np.float32]
    points: FloatArray


def corners_of(image: GrayImage, estimate: Estimate, visible: npt.NDArray[np.uint8] | None = None) -> Corners | None:
    """Return the corners of a frame's gray image; None where too few have points.

    They are spread, so that nothing that is rich in detail takes them all.

    Args:
        image: the gray image.
        estimate: of the frame.
        visible: (h, w), 1 at the pixels that may be corners; None where all may.
    """
    if estimate.points is None or estimate.confidence is None or estimate.intrinsics is None:
        return None
    found: Any = cv2.goodFeaturesToTrack(image, 0, 0.005, max(APART * image.shape[1], 2), mask=visible)
    if found is None:  # where there are none, whatever its types say
        return None
    corners = _spread(np.asarray(found, np.float32).reshape(-1, 2), image)[:MAX_CORNERS]
    rays, pixels = rays_of(corners, image, estimate)
    height, width = estimate.confidence.shape
    column, row = np.rint(pixels).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    corners, rays, column, row = corners[inside], rays[inside], column[inside], row[inside]
    depth = estimate.points[row, column, 2].astype(np.float64)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(depth) & (depth > 0) & (estimate.confidence[row, column] > MIN_CONFIDENCE)
    if usable.sum() < MIN_CORNERS:
        return None
    points = np.column_stack([rays, np.ones(len(rays))])[usable] * depth[usable, None]
    return Corners(corners[usable], points)


def _spread(corners: npt.NDArray[np.float32], image: GrayImage) -> npt.NDArray[np.float32]:
    """Return the first few of the corners (n, 2) in each cell of an image, the best ones of all cells first."""
    column, row = (corners * CELLS / image.shape[::-1]).astype(int).T
    cell = row * CELLS[0] + column
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], cell[order])
    rank = np.empty(len(cell), int)
    rank[order] = np.arange(len(cell)) - first
    chosen = np.argsort(rank, kind="stable")
    return corners[chosen[rank[chosen] < PER_CELL]]


def rays_of(pixels: npt.NDArray[np.float32], image: GrayImage, estimate: Estimate) -> tuple[FloatArray, FloatArray]:
    """Return the rays (n, 2) through pixels of a gray image, and their pixels (n, 2) in the network's image."""
    mapping, camera = estimate.pixel_map, estimate.intrinsics
    assert camera is not None
    shrunk = np.array(mapping.input_size) / np.array(image.shape[::-1])
    seen = mapping.to_network((pixels.astype(np.float64) + 0.5) * shrunk - 0.5)
    return (seen - [camera.cx, camera.cy]) / [camera.fx, camera.fy], seen
