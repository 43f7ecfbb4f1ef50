"""How much of the current view has been seen before: overlap of a frame's points with earlier views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, focal_from_points, inverse, rotation_vector

#: Pointmaps are subsampled to about this many columns; an overlap needs hundreds of points, not hundreds of thousands.
COLUMNS = 32
#: A view has seen a point if its depth at the same pixel differs by at most this fraction.
DEPTH_TOLERANCE = 0.25
#: A view becomes a keyframe if its overlap with the others is below this.
NEW_VIEW = 0.6
#: A view is compared with the keyframes after a motion by this fraction of the depth, or a turn by this angle [rad].
LOOK_DISTANCE, LOOK_ANGLE = 0.1, 0.15


@dataclass(frozen=True)
class View:
    """A frame's subsampled points.

    Attributes:
        T_world_camera: (4, 4) pose of the camera.
        points: (h, w, 3) float32 meters, camera optical frame.
        focal: focal length of the subsampled grid [px], principal point at (w // 2, h // 2).
    """

    T_world_camera: FloatArray
    points: npt.NDArray[np.float32]
    focal: float

    @property
    def median_depth(self) -> float:
        """Median depth of the points in front of the camera [m]; NaN if there are none."""
        depth = self.points[..., 2]
        usable = depth[np.isfinite(depth) & (depth > 0)]
        return float(np.median(usable)) if usable.size else float("nan")


def view_of(points: npt.NDArray[np.float32], T_world_camera: FloatArray) -> View | None:
    """Return the view of a (H, W, 3) pointmap, or None if no focal length fits it."""
    step = max(1, points.shape[1] // COLUMNS)
    thinned = np.nan_to_num(points[step // 2 :: step, step // 2 :: step], posinf=0.0, neginf=0.0)  # 0 is no point
    focal = focal_from_points(thinned)
    return View(T_world_camera, thinned, focal) if focal > 0 else None  # NaN compares false


def overlap(view: View, others: Sequence[View]) -> float:
    """Return the fraction of a view's points that at least one other view has seen; 1 if it has no points."""
    points = view.points.reshape(-1, 3).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0)]
    if not len(points):
        return 1.0
    points_world = points @ view.T_world_camera[:3, :3].T + view.T_world_camera[:3, 3]
    seen = np.zeros(len(points), dtype=bool)
    for other in others:
        seen |= _has_seen(other, points_world)
    return float(seen.mean())


def has_moved(T_world_before: FloatArray, T_world_now: FloatArray, depth: float) -> bool:
    """Return whether a camera that sees things at this depth [m] has moved so far that its view may be a new one."""
    T_before_now = inverse(T_world_before) @ T_world_now
    if np.linalg.norm(rotation_vector(T_before_now[:3, :3])) > LOOK_ANGLE:
        return True
    return bool(np.linalg.norm(T_before_now[:3, 3]) > LOOK_DISTANCE * depth)


def _has_seen(view: View, points_world: FloatArray) -> npt.NDArray[np.bool_]:
    T_camera_world = inverse(view.T_world_camera)
    x, y, z = (points_world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]).T
    height, width = view.points.shape[:2]
    in_front = z > 1e-6
    safe_z = np.where(in_front, z, 1.0)
    # clip before converting to integers: points near the camera plane project to huge coordinates
    column = np.rint(np.clip(view.focal * x / safe_z + width // 2, -1, width)).astype(int)
    row = np.rint(np.clip(view.focal * y / safe_z + height // 2, -1, height)).astype(int)
    inside = in_front & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth = view.points[row * inside, column * inside, 2]
    with np.errstate(invalid="ignore"):
        return np.asarray(inside & (np.abs(z - depth) < DEPTH_TOLERANCE * depth))
