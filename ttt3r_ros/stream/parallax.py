"""How far a camera has moved beside the depth that it sees: the pixels tell.

Points seen at one frame, the *keyframe*, are followed by optical flow (pyramidal Lucas-Kanade) to a later one. With the
points as the network saw them, p, and the motion between the two frames, R and t, they must appear where R·p + t
projects to. Two questions are answered by least squares with Cauchy's weights:

* Where t is known in metres, from another odometry: with R·p + ρ·t, 1/ρ is true over seen depth (`length`).
* Which t fits the depth? (`motion`)

A rotation that corrects R is found with them, so that R need not be good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.estimate import Estimate
from ttt3r_ros.stream.gray import GrayImage, find_again
from ttt3r_ros.stream.pose_fit import linearized

#: So many corners are followed, and this far apart [share of the width].
MAX_CORNERS, MIN_CORNERS, APART = 200, 20, 0.025
#: A corner that flow brings back farther from where it was is lost [px].
MAX_RETURN = 0.5
#: Across and down, in so many cells corners are spread.
CELLS = 8, 6
#: Of a corner's point, at least: confidence, and depth over its median.
MIN_CONFIDENCE = 1.2
#: Iterations of the least squares, and the residual that is noise at least [px of the network's image].
ITERATIONS, MIN_NOISE = 8, 0.1
#: Standard deviation of ρ, at least, as a share of it: depth's errors that corners have in common; and the largest of
#: use.
MIN_SIGMA, MAX_SIGMA = 0.1, 0.15
#: Standard deviation of a motion, at most, as a share of the depth.
MAX_SHARE = 0.02


@dataclass(frozen=True)
class Corners:
    """What is easily followed of a keyframe.

    Attributes:
        pixels: (n, 2) float32 of its gray image.
        points: (n, 3) seen there, in the camera's frame, as published [m].
    """

    pixels: npt.NDArray[np.float32]
    points: FloatArray


@dataclass(frozen=True)
class Followed:
    """Points of a keyframe, and where a later frame sees them.

    Attributes:
        points: (n, 3) in the keyframe's camera [m].
        rays: (n, 2) x/z and y/z in the later camera.
        focal: of the rays, for noise in pixels [px].
    """

    points: FloatArray
    rays: FloatArray
    focal: float


@dataclass(frozen=True)
class Length:
    """ρ, 0 or more, its standard deviation, and the angle by which the given rotation was off [rad]."""

    rho: float
    sigma: float
    turned: float


@dataclass(frozen=True)
class Moved:
    """A motion that fits the depth: (4, 4) from the keyframe's camera to the later one; standard deviation [m]."""

    T_later_key: FloatArray
    sigma: float


def corners_of(
    image: GrayImage,
    estimate: Estimate,
    visible: npt.NDArray[np.uint8] | None = None,
    *,
    most: int = MAX_CORNERS,
    apart: float = APART,
    per_cell: int | None = None,
) -> Corners | None:
    """Return the corners of a frame's gray image; None where too few have points.

    Args:
        image: the gray image.
        estimate: of the frame.
        visible: (h, w), 1 at the pixels that may be corners; None where all may.
        most: so many at most.
        apart: how far apart, as a share of the width.
        per_cell: so many at most in each of `CELLS`, so that nothing that is rich in detail takes them all.
    """
    if estimate.points is None or estimate.confidence is None or estimate.intrinsics is None:
        return None
    found: Any = cv2.goodFeaturesToTrack(
        image, 0 if per_cell else most, 0.005, max(apart * image.shape[1], 2), mask=visible
    )
    if found is None:  # where there are none, whatever its types say
        return None
    corners = np.asarray(found, np.float32).reshape(-1, 2)
    if per_cell:
        corners = _spread(corners, image, per_cell)[:most]
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


def _spread(corners: npt.NDArray[np.float32], image: GrayImage, per_cell: int) -> npt.NDArray[np.float32]:
    """Return the first so many of the corners (n, 2) in each cell of an image, the best ones of all cells first."""
    column, row = (corners * CELLS / image.shape[::-1]).astype(int).T
    cell = row * CELLS[0] + column
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], cell[order])
    rank = np.empty(len(cell), int)
    rank[order] = np.arange(len(cell)) - first
    chosen = np.argsort(rank, kind="stable")
    return corners[chosen[rank[chosen] < per_cell]]


def follow(corners: Corners, start: GrayImage, image: GrayImage, estimate: Estimate) -> Followed | None:
    """Return where a later frame sees the corners of an image; None where it sees too few."""
    if image.shape != start.shape or estimate.intrinsics is None:
        return None
    there, found = find_again(start, image, corners.pixels, corners.pixels)
    back, returned = find_again(image, start, there, there)
    kept = found & returned & (np.linalg.norm(back - corners.pixels, axis=1) < MAX_RETURN)
    if kept.sum() < MIN_CORNERS:
        return None
    rays, _ = rays_of(there[kept], image, estimate)
    return Followed(corners.points[kept], rays, estimate.intrinsics.fx)


def length(seen: Followed, T_later_key: FloatArray) -> Length | None:
    """Return the factor on a motion's length that makes it fit the points; None where they do not tell.

    Args:
        seen: the points.
        T_later_key: (4, 4) from the keyframe's camera to the later one.
    """
    t = T_later_key[:3, 3]
    found = _fitted(seen, T_later_key[:3, :3], np.ones(1), t[:, None])
    if found is None:
        return None
    rotation, (rho,), covariance = found
    rho, sigma = max(float(rho), 0.0), math.sqrt(max(float(covariance[0, 0]), 0.0))
    if not sigma <= MAX_SIGMA:  # NaN compares false
        return None
    turned = cv2.Rodrigues(rotation @ T_later_key[:3, :3].T)[0]
    return Length(rho, math.hypot(MIN_SIGMA * rho, sigma), float(np.linalg.norm(turned)))


def motion(seen: Followed, T_later_key: FloatArray) -> Moved | None:
    """Return the motion that fits the points; None where they do not tell.

    Args:
        seen: the points.
        T_later_key: (4, 4) what it may be about, from the keyframe's camera to the later one.
    """
    found = _fitted(seen, T_later_key[:3, :3], T_later_key[:3, 3], np.eye(3))
    if found is None:
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = found[0], found[1]
    sigma = math.sqrt(max(float(np.trace(found[2])) / 3.0, 0.0))
    if not sigma <= MAX_SHARE * float(np.median(seen.points[:, 2])):
        return None
    return Moved(T, sigma)


def _fitted(
    seen: Followed, R: FloatArray, along: FloatArray, basis: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Fit a rotation, begun at R, and the k coefficients of a translation, begun at `along`, in a basis (3, k).

    Returns:
        The rotation (3, 3), the coefficients (k,) and their covariance (k, k).
    """
    noise, H = math.inf, np.eye(3 + len(along))
    for _ in range(ITERATIONS):
        off, J, ahead = linearized(seen.points, seen.rays, R, basis @ along)
        if ahead.sum() < MIN_CORNERS:
            return None
        off, J = off[ahead], np.concatenate([J[..., :3], J[..., 3:] @ basis], axis=2)[ahead]
        norms = np.linalg.norm(off, axis=1)
        noise = max(1.26 * float(np.median(norms)), MIN_NOISE / seen.focal)  # of one coordinate
        w = 1.0 / (1.0 + np.square(norms / (2.0 * noise)))
        H = np.einsum("n,nij,nik->jk", w, J, J) + 1e-9 * np.eye(3 + len(along))
        step = np.linalg.solve(H, np.einsum("n,nij,ni->j", w, J, off))
        R, along = cv2.Rodrigues(step[:3])[0] @ R, along + step[3:]
    return R, along, np.asarray(np.linalg.inv(H)[3:, 3:] * noise**2, np.float64)


def rays_of(pixels: npt.NDArray[np.float32], image: GrayImage, estimate: Estimate) -> tuple[FloatArray, FloatArray]:
    """Return the rays (n, 2) through pixels of a gray image, and their pixels (n, 2) in the network's image."""
    mapping, camera = estimate.pixel_map, estimate.intrinsics
    assert camera is not None
    shrunk = np.array(mapping.input_size) / np.array(image.shape[::-1])
    seen = mapping.to_network((pixels.astype(np.float64) + 0.5) * shrunk - 0.5)
    return (seen - [camera.cx, camera.cy]) / [camera.fx, camera.fy], seen
