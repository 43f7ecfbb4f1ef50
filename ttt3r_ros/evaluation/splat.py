"""Draws point clouds and lines as a camera would see them, in numpy, for pictures without a window or a GPU."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, Intrinsics, inverse

#: What is nearer to the eye is not drawn [m].
_NEAR_M = 0.1

#: Largest side of a point in the picture [px].
_MAX_POINT_PX = 7

#: Number of fractional bits in OpenCV's coordinates.
_SHIFT = 4


@dataclass(frozen=True)
class Eye:
    """The point of view of a picture.

    Attributes:
        T_world_eye: (4, 4) pose in its optical frame (x right, y down, z forward).
        intrinsics: of the picture.
    """

    T_world_eye: FloatArray
    intrinsics: Intrinsics

    @classmethod
    def looking(cls, position: FloatArray, target: FloatArray, *, width: int, height: int, fov_deg: float) -> Eye:
        """Return an upright eye (z is up) at a position (3,) that looks at a target (3,), not straight up or down [m].

        Sizes are in pixels; the field of view is the vertical one [deg].
        """
        forward = (target - position) / np.linalg.norm(target - position)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        T = np.eye(4)
        T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        T[:3, 3] = position
        focal = height / 2 / np.tan(np.radians(fov_deg) / 2)
        return cls(T, Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height))

    def seen(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return (N, 3) points in the optical frame of the eye [m]."""
        T = inverse(self.T_world_eye)
        return np.asarray(points @ T[:3, :3].T + T[:3, 3], dtype=np.float64)

    def pixels(self, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the (N, 2) pixel coordinates of points in the optical frame of the eye, which lie before it."""
        camera = self.intrinsics
        return seen[:, :2] / seen[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]


def draw_points(
    picture: npt.NDArray[np.uint8],
    eye: Eye,
    points: npt.NDArray[np.floating],
    colors: npt.NDArray[np.uint8],
    *,
    size_m: float,
) -> None:
    """Draw points as squares that face the eye; near ones hide far ones.

    Args:
        picture: (H, W, 3) uint8 RGB, drawn upon.
        eye: its point of view.
        points: (N, 3) meters.
        colors: (N, 3) uint8 RGB.
        size_m: side of a square [m]; in the picture it has between 1 and 7 pixels.
    """
    height, width = picture.shape[:2]
    seen = eye.seen(points)
    before = np.flatnonzero(seen[:, 2] > _NEAR_M)
    order = before[np.argsort(-seen[before, 2])]  # far to near: of equal indices, the last assignment remains
    depth, corner = seen[order, 2], eye.pixels(seen[order])
    side = np.clip(np.rint(eye.intrinsics.fx * size_m / depth), 1, _MAX_POINT_PX).astype(np.int64)
    corner = np.rint(corner - (side[:, None] - 1) / 2)
    inside = ((corner > -_MAX_POINT_PX) & (corner < [width, height])).all(axis=1)
    order, side, corner = order[inside], side[inside], corner[inside].astype(np.int64)
    area = side * side
    which = np.repeat(np.arange(len(order)), area)
    number = np.arange(len(which)) - np.repeat(np.cumsum(area) - area, area)
    x = corner[which, 0] + number % side[which]
    y = corner[which, 1] + number // side[which]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    picture[y[inside], x[inside]] = colors[order[which[inside]]]


def draw_line(
    picture: npt.NDArray[np.uint8],
    eye: Eye,
    points: npt.NDArray[np.floating],
    color: tuple[int, int, int],
    *,
    thickness: int = 2,
) -> None:
    """Draw a polyline over everything that is there.

    Args:
        picture: (H, W, 3) uint8 RGB, drawn upon.
        eye: its point of view.
        points: (N, 3) meters; a segment that reaches behind the eye is cut off.
        color: RGB.
        thickness: in pixels.
    """
    seen = eye.seen(points)
    for start, end in itertools.pairwise(seen):
        clipped = _before_the_eye(start, end)
        if clipped is None:
            continue
        ends = np.clip(eye.pixels(clipped), -1e4, 1e4) * (1 << _SHIFT)
        (x0, y0), (x1, y1) = np.rint(ends).astype(int).tolist()
        cv2.line(picture, (x0, y0), (x1, y1), color, thickness, cv2.LINE_AA, _SHIFT)


def frustum(T_world_camera: FloatArray, intrinsics: Intrinsics, depth_m: float) -> list[npt.NDArray[np.float64]]:
    """Return the lines of a camera's frustum: the image's outline at a depth, and its rays; each (N, 3) in meters."""
    x = (np.array([-0.5, intrinsics.width - 0.5]) - intrinsics.cx) / intrinsics.fx * depth_m
    y = (np.array([-0.5, intrinsics.height - 0.5]) - intrinsics.cy) / intrinsics.fy * depth_m
    corners = np.array([[x[i], y[j], depth_m] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))])
    corners = corners @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    origin = T_world_camera[:3, 3]
    return [corners[[0, 1, 2, 3, 0]], *(np.stack([origin, corner]) for corner in corners)]


def _before_the_eye(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the (2, 3) part of a segment that lies farther than `_NEAR_M`, None if nothing does."""
    if max(start[2], end[2]) <= _NEAR_M:
        return None
    if min(start[2], end[2]) > _NEAR_M:
        return np.stack([start, end])
    cut = start + (end - start) * ((_NEAR_M - start[2]) / (end[2] - start[2]))
    return np.stack([start, cut] if start[2] > _NEAR_M else [cut, end])
