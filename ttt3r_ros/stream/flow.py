"""What two images say of the camera's motion that its pose does not explain.

Points are followed from the image before to this one (`tracks`). Where they should be by the estimated motion and where
they are differ: the motion that explains the difference best is returned. It is a witness of what is still wrong with a
pose, corrected by pixels or not. The depth of all points is taken to be one, so that its lengths are rough.
"""

from __future__ import annotations

import numpy as np

from ttt3r_ros.geometry import FloatArray

#: With fewer points than this nothing can be said.
MIN_POINTS = 16
#: Misfits of more than so many times the median count less (Huber 1964).
OUTLIER = 2.0


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
