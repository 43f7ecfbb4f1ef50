"""The motion that fits points seen before to where they are seen now, by least squares.

Points p of one camera, as the network saw them, must appear in the other at R·p + t. Gauss-Newton with Cauchy's weights
finds R and t in two rounds:

1. Errors of all pixels count the same. Nothing but a very wide prior holds the motion, so that the network may be wrong
   by much.
2. An error along the line on which a wrong depth moves a point counts less, by as much as the depth is uncertain, so
   that depth decides only what pixels leave open. The lines are those of the first round: were they recomputed, a
   longer motion would excuse any error. What pixels leave open altogether, the network's motion decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, orthonormal

#: Standard deviation of the logarithm of a point's depth.
DEPTH_SIGMA = 0.15
#: Iterations of the two rounds, and the step below which a round ends [rad, and m per m of depth].
ITERATIONS, TOLERANCE = (8, 4), 1e-4
#: Longest step of one iteration [rad, and m per m of depth].
MAX_TURN, MAX_SHIFT = 0.2, 0.3
#: In the first round the motion may be off by so much [rad, and m per m of depth].
FREE = 10.0, 0.3
#: A squared error counts half from this multiple of its usual size on, and not as a fit from that one on.
HALF, FITS = 2.0, 9.0
#: A motion has been found where the last step was smaller than this, so many points fit, the same as a share of them,
#: and the usual error is below so many times the noise.
MAX_LAST_STEP, MIN_POINTS, MIN_SHARE, MAX_NOISE = 5e-3, 20, 0.5, 10.0
#: Where fewer points than this share fit closely, the covariance grows no more.
MIN_CLOSE = 0.3
#: Added to the information [1/rad², 1/m²]: what pixels leave open is uncertain by a radian and a metre, not more.
_LEAST_INFORMATION = 1.0
#: Median of the squared length of a two-dimensional error of unit variance.
_MEDIAN = 1.386


@dataclass(frozen=True)
class Prior:
    """What is known of a motion without the pixels: (4, 4), and standard deviations [m, rad]."""

    T: FloatArray
    metres: float
    radians: float


@dataclass(frozen=True)
class Fit:
    """A motion that fits.

    Attributes:
        T: (4, 4), like the prior's.
        fits: (n,) which points fit it.
        covariance: (6, 6) of its error, a rotation vector in front of the rotation and a translation, by the points
            alone: larger where fewer of them, or less well, agree. Its size is relative: errors that points have in
            common are not in it.
    """

    T: FloatArray
    fits: npt.NDArray[np.bool_]
    covariance: FloatArray


def fit(points: FloatArray, rays: FloatArray, prior: Prior, noise: float) -> Fit | None:
    """Return the motion that fits points to rays; None where none does, or too few points tell.

    Args:
        points: (n, 3) in the frame of the camera before [m].
        rays: (n, 2) slopes x/z and y/z of the rays to them, in the frame of the camera now.
        prior: of the transform from the camera before to the camera now.
        noise: of a slope, standard deviation.
    """
    if len(points) < MIN_POINTS:
        return None
    depth = float(np.median(points[:, 2]))
    R, t = prior.T[:3, :3], prior.T[:3, 3]
    length = np.array([1.0, 1.0, 1.0, depth, depth, depth])  # of the six unknowns' steps
    longest = np.repeat([MAX_TURN, MAX_SHIFT], 3)
    to_white: FloatArray | None = None
    step, fits, usual, close = np.zeros(6), np.zeros(len(points), bool), math.inf, 0.0
    information: FloatArray = np.eye(6)
    for iterations in ITERATIONS:
        sigmas = (FREE[0], FREE[1] * depth) if to_white is None else (prior.radians, prior.metres)
        held = np.repeat(np.square(np.reciprocal(sigmas)), 3)
        for _ in range(iterations):
            errors, J, ahead = linearized(points, rays, R, t)
            if ahead.sum() < MIN_POINTS:
                return None
            if to_white is None:
                errors, J = errors / noise, J / noise
            else:
                errors, J = (to_white @ errors[..., None])[..., 0], to_white @ J
            squared = np.square(errors).sum(axis=1)
            usual = max(1.0, float(np.median(squared[ahead])) / _MEDIAN)
            fits, close = ahead & (squared < FITS * usual), float((ahead & (squared < HALF * usual)).mean())
            weights = ahead / (1.0 + squared / (HALF * usual)) / usual
            weighted = (J * weights[:, None, None]).reshape(-1, 6)
            off = np.concatenate([cv2.Rodrigues(R @ prior.T[:3, :3].T)[0][:, 0], t - prior.T[:3, 3]])
            information = weighted.T @ J.reshape(-1, 6)
            step = np.linalg.solve(information + np.diag(held), weighted.T @ errors.ravel() - held * off)
            step = step * min(1.0, float((longest / np.maximum(np.abs(step / length), 1e-12)).min()))
            R, t = cv2.Rodrigues(step[:3])[0] @ R, t + step[3:]
            if np.abs(step / length).max() < TOLERANCE:
                break
        to_white = whitening(points, R, t, noise)
    found = np.abs(step / length).max() < MAX_LAST_STEP and usual < MAX_NOISE**2
    if not found or fits.sum() < max(MIN_POINTS, MIN_SHARE * len(points)):  # NaN compares false
        return None
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = orthonormal(R), t
    covariance = np.linalg.inv(information + _LEAST_INFORMATION * np.eye(6)) / max(close, MIN_CLOSE) ** 2
    return Fit(T, fits, np.asarray(covariance, np.float64))


def linearized(
    points: FloatArray, rays: FloatArray, R: FloatArray, t: FloatArray
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return errors (n, 2), rays less projections; the projections' derivatives (n, 2, 6); which points are ahead.

    The six are those of a rotation vector in front of R, and of t.
    """
    X = points @ R.T
    x, y, z = (X + t).T
    ahead = z > 0.1 * points[:, 2]
    z = np.where(ahead, z, points[:, 2])
    u, v, w = x / z, y / z, 1.0 / z
    J = np.zeros((len(points), 2, 6))
    J[:, 0, 3] = J[:, 1, 4] = w
    J[:, 0, 5], J[:, 1, 5] = -u * w, -v * w
    a, b, c = X.T
    J[:, 0, 0], J[:, 0, 1], J[:, 0, 2] = -u * b * w, (c + u * a) * w, -b * w
    J[:, 1, 0], J[:, 1, 1], J[:, 1, 2] = -(c + v * b) * w, v * a * w, a * w
    return rays - np.column_stack([u, v]), J, ahead


def whitening(points: FloatArray, R: FloatArray, t: FloatArray, noise: float) -> FloatArray:
    """Return what makes errors (n, 2) of unit variance, (n, 2, 2): errors of pixels, and of points' depths."""
    Y = points @ R.T + t
    z = np.maximum(Y[:, 2:], 0.1 * points[:, 2:])
    along = (Y[:, :2] / z * t[2] - t[:2]) / z * DEPTH_SIGMA  # what one standard deviation of depth moves a ray by
    squared = np.square(along).sum(axis=1)
    shrink = (1.0 - 1.0 / np.sqrt(1.0 + squared / noise**2)) / np.maximum(squared, 1e-20)
    return np.asarray((np.eye(2) - shrink[:, None, None] * along[:, :, None] * along[:, None, :]) / noise)
