"""How high above the floor a camera is, as a pointmap has it, where the direction up is known.

A floor is where many points lie at one height below the camera and the surface between them faces up. What else does
so (a table, a step, a shelf) is smaller, or lies above a floor that is in view as well: the lowest of the common
heights is taken. How far the points are off it tells how certain it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.alignment import INDEPENDENT
from ttt3r_ros.stream.estimate import Float32Array
from ttt3r_ros.stream.still_check import weighted_median

#: At most so many pixels of a row are looked at, and normals span so many of them.
MAX_COLUMNS, BASELINE = 80, 2
#: A surface is level within this angle [rad].
MAX_TILT = math.radians(30.0)
#: Logarithm of height: a bin of the histogram, and how far from the middle points belong to the floor.
BIN, MARGIN = 0.02, 0.15
#: The smallest share of all pixels that is a floor; a height with this share of the most common one's is common.
MIN_SHARE, COMMON = 0.04, 0.4
#: Standard deviation of a height's logarithm, at least: errors that all points have in common.
MIN_SIGMA = 0.1
#: Confidence beyond this weighs no more.
MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class Floor:
    """A floor in view.

    Attributes:
        height: of the camera above it, in the points' unit.
        sigma: standard deviation of its logarithm.
        share: of all pixels that lie on it.
    """

    height: float
    sigma: float
    share: float


def find_floor(points: Float32Array, confidence: Float32Array, up: FloatArray) -> Floor | None:
    """Return the floor in a pointmap; None where none is seen.

    Args:
        points: (H, W, 3) in the camera's frame, any unit; values that are not finite count as unseen.
        confidence: (H, W) >= 1; points weigh as much as it exceeds 1.
        up: (3,) unit vector, in the camera's frame.
    """
    stride = max(1, -(-points.shape[1] // MAX_COLUMNS))
    some = points[::stride, ::stride].astype(np.float64)
    if min(some.shape[:2]) <= 2 * BASELINE:
        return None
    inner = (slice(BASELINE, -BASELINE),) * 2
    below = -(some[inner] @ up)
    weights = np.clip(confidence[::stride, ::stride][inner].astype(np.float64) - 1.0, 0.0, MAX_WEIGHT)
    with np.errstate(invalid="ignore", divide="ignore"):
        usable = (_cosines(some, up) > math.cos(MAX_TILT)) & (below > 0) & np.isfinite(below) & (weights > 0)
    logs, weights = np.log(below[usable]), weights[usable]
    if len(logs) < MIN_SHARE * below.size:
        return None
    middle = _lowest_common(logs, weights)
    near = np.abs(logs - middle) < MARGIN
    for _ in range(3):
        middle = weighted_median(logs[near], weights[near])
        near = np.abs(logs - middle) < MARGIN
    share = float(near.sum()) / below.size
    if share < MIN_SHARE:
        return None
    spread = 1.48 * weighted_median(np.abs(logs[near] - middle), weights[near])
    return Floor(math.exp(middle), math.hypot(MIN_SIGMA, spread * math.sqrt(math.pi / 2 / INDEPENDENT)), share)


def _cosines(points: FloatArray, up: FloatArray) -> FloatArray:
    """Return the cosines (H − 2·BASELINE, W − 2·BASELINE) between up and the normals, which face the camera."""
    b = BASELINE
    across = points[b:-b, 2 * b :] - points[b:-b, : -2 * b]
    down = points[2 * b :, b:-b] - points[: -2 * b, b:-b]
    normals = np.cross(across, down)
    facing = -np.sign((normals * points[b:-b, b:-b]).sum(-1))
    return np.asarray((normals @ up) * facing / np.linalg.norm(normals, axis=-1))


def _lowest_common(logs: FloatArray, weights: FloatArray) -> float:
    """Return the middle of the lowest (farthest below) peak of the histogram that is common."""
    low = float(logs.min())
    bins = np.bincount(((logs - low) / BIN).astype(int), weights)
    wide = np.convolve(bins, np.ones(7), "same")
    last = int(np.flatnonzero(wide >= COMMON * wide.max())[-1])
    start = max(last - round(MARGIN / BIN), 0)
    return low + (start + int(np.argmax(wide[start : last + 1])) + 0.5) * BIN
