"""What two images say of the camera's motion that its pose does not explain.

Points on a grid are followed from the image before to this one (pyramidal Lucas-Kanade, Bouguet 2001, there and back).
Where they should be by the estimated motion and where they are differ: the motion that explains the difference best is
returned. It is a witness, not a correction: the depth of all points is taken to be one, so that its lengths are rough.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray

FloatImage = npt.NDArray[np.float32]

#: Across and down, so many points are followed.
GRID = (10, 8)
#: A point that does not come back to within this distance is lost [px].
MAX_RETURN = 1.0
#: With fewer points than this nothing can be said.
MIN_POINTS = 16
#: Misfits of more than so many times the median count less (Huber 1964).
OUTLIER = 2.0
_WINDOW, _LEVELS = (15, 15), 4


def followed(before: FloatImage, after: FloatImage) -> tuple[FloatArray, FloatArray]:
    """Return where (n, 2) points of an image are, and where they are in the next one, as shares of width and height.

    Args:
        before, after: (h, w) float32, gray.
    """
    height, width = after.shape
    if before.shape != after.shape:
        return np.zeros((0, 2)), np.zeros((0, 2))
    images = [np.clip(image, 0, 255).astype(np.uint8) for image in (before, after)]
    x = (np.arange(GRID[0]) + 0.5) * width / GRID[0]
    y = (np.arange(GRID[1]) + 0.5) * height / GRID[1]
    start = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 1, 2).astype(np.float32)
    there, found = _follow(images[0], images[1], start)
    back, found_back = _follow(images[1], images[0], there)
    size = np.array([width, height])
    known = found & found_back & (np.linalg.norm(back - start, axis=-1)[:, 0] < MAX_RETURN)
    known &= ((there[:, 0] >= 0) & (there[:, 0] < size)).all(axis=1)
    return start[known, 0] / size, there[known, 0] / size


def _follow(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], start: FloatImage) -> tuple[FloatImage, Any]:
    """Return where points (n, 1, 2) of an image are in the next one, and whether each (n,) was found."""
    nothing: Any = None  # OpenCV allocates it; its annotations do not know that
    stop, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, nothing, winSize=_WINDOW, maxLevel=_LEVELS)
    return np.asarray(stop, np.float32), np.asarray(found)[:, 0] == 1


def unexplained(before: FloatArray, after: FloatArray, T_before_after: FloatArray, depth: float) -> FloatArray | None:
    """Return the motion that the images tell of beside the one that was estimated; None where they tell nothing.

    Turns, and motion along the optical axis: sideways motion cannot be told from turns where all points have one depth.

    Args:
        before, after: (n, 2) slopes x/z and y/z of the rays to the same points, in the frames of both cameras.
        T_before_after: (4, 4) estimated pose of the camera in the frame of the camera before.
        depth: typical of the points [m].

    Returns:
        (6,) translation [m] and rotation vector [rad] in the axes of the camera before, to be applied after the
        estimated motion: ``T_true ≈ exp(unexplained) · T_before_after``.
    """
    if len(before) < MIN_POINTS or not depth > 0:
        return None
    rays = np.column_stack([after, np.ones(len(after))])
    points = depth * rays @ T_before_after[:3, :3].T + T_before_after[:3, 3]
    z = np.maximum(points[:, 2], 0.1 * depth)
    x, y = points[:, 0] / z, points[:, 1] / z
    misfit = np.concatenate([before[:, 0] - x, before[:, 1] - y])
    J = np.concatenate(
        [np.column_stack([-x / z, -x * y, 1 + x * x, -y]), np.column_stack([-y / z, -1 - y * y, x * y, x])]
    )
    weights, found = np.ones(len(misfit)), np.zeros(4)
    for _ in range(4):
        found = np.linalg.solve(J.T @ (J * weights[:, None]) + 1e-9 * np.eye(4), J.T @ (weights * misfit))
        left = np.hypot(*(misfit - J @ found).reshape(2, -1))
        limit = OUTLIER * np.median(left) + 1e-6
        weights = np.tile(np.minimum(1.0, limit / np.maximum(left, 1e-9)), 2)
    return np.concatenate([[0.0, 0.0], found])
