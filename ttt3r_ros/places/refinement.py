"""The similarity between two views from matched pixels and uncertain depths, by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.places.graph import Sigmas
from ttt3r_ros.places.similarity import Similarity

#: Errors of neighboring depths are alike, so that many matches tell less than as many independent ones would.
INFLATION = 5.0
#: Longest step of an iteration, of each unknown [rad, m, logarithm].
MAX_STEP = 0.5
#: A match fits if both of its whitened residuals are shorter than this.
MAX_ERROR = 3.0
STEPS = 12
#: Squared residual at which a match counts half.
_HALF = 4.0


@dataclass(frozen=True)
class Noise:
    """Standard deviations: of a pixel, as a fraction of the focal length, and of the logarithm of a depth."""

    pixel: float
    depth: float


#: Of any match of any network.
ANY = Noise(0.006, 0.2)


@dataclass(frozen=True)
class Sight:
    """What a keyframe sees at N matches.

    Attributes:
        points: (N, 3) in its camera frame [m].
        pixels: (N, 2) where it sees them.
        K: (3, 3).
    """

    points: FloatArray
    pixels: FloatArray
    K: FloatArray

    def of(self, chosen: npt.NDArray[np.bool_]) -> Sight:
        """Return the same at some of the matches, (N,)."""
        return Sight(self.points[chosen], self.pixels[chosen], self.K)


@dataclass(frozen=True)
class Fit:
    """A similarity that fits two sights.

    Attributes:
        S_old_new: from the new camera to the old one.
        fits: (N,) bool, which matches fit it.
        cost: robust sum of squares.
        sigmas: of its error.
    """

    S_old_new: Similarity
    fits: npt.NDArray[np.bool_]
    cost: float
    sigmas: Sigmas


def refined(old: Sight, new: Sight, S_old_new: Similarity, *, steps: int = STEPS, noise: Noise = ANY) -> Fit:
    """Return the similarity that fits points and pixels of both views best, from a first one.

    Gauss-Newton on its seven unknowns with Cauchy weights. A residual is that of a point's projection, whitened by two
    errors: that of the pixel, in all directions, and that of the point's depth, which moves the projection along the
    epipolar line. So depths decide only what pixels leave open. Taken at their word, those of a small network turn the
    pose by several degrees.
    """
    S, H = S_old_new, np.eye(7)
    for _ in range(steps):
        H, g = 1e-9 * np.eye(7), np.zeros(7)
        residuals = _residuals(old, new, S, noise)
        weight = 1.0 / (1.0 + _squared(residuals) / _HALF)
        for part in residuals:
            jacobian = part.jacobian()
            weighted = (jacobian * weight[:, None, None]).reshape(-1, 7)
            H += weighted.T @ jacobian.reshape(-1, 7)
            g += weighted.T @ part.whitened.ravel()
        step = np.linalg.solve(H, -g)
        length = float(np.abs(step).max())
        if not np.isfinite(length):
            break
        step *= min(1.0, MAX_STEP / max(length, 1e-12))
        turned = np.asarray(cv2.Rodrigues(step[:3])[0], np.float64)
        S = S @ Similarity(float(np.exp(step[6])), turned, np.asarray(step[3:6], np.float64))
        if length < 1e-4:
            break
    error = _squared(_residuals(old, new, S, noise))
    variances = np.diag(np.linalg.inv(H)) * INFLATION**2
    rotation, translation = (float(np.sqrt(variances[part].max())) for part in (slice(0, 3), slice(3, 6)))
    sigmas = Sigmas(rotation, S.scale * translation, float(np.sqrt(variances[6])))
    return Fit(S, error < MAX_ERROR**2, float(np.log1p(error / _HALF).sum()), sigmas)


@dataclass(frozen=True)
class _Residual:
    """Of the projections of N points that one camera knows into another one.

    Attributes:
        whitened: (N, 2).
        points: (N, 3) in the new camera's frame.
        by_points: (N, 2, 3) derivative of the whitened ones by these.
    """

    whitened: FloatArray
    points: FloatArray
    by_points: FloatArray

    def jacobian(self) -> FloatArray:
        """Return the derivative (N, 2, 7) by δ in ``S @ exp(δ)``: rotation, translation, logarithm of the scale.

        A point p of the new camera's moves by ω × p + u + λ·p.
        """
        turned = np.cross(self.points[:, None], self.by_points)
        grown = (self.by_points @ self.points[..., None])[..., 0]
        return np.concatenate([turned, self.by_points, grown[..., None]], axis=2)


def _squared(residuals: tuple[_Residual, _Residual]) -> FloatArray:
    """Return the larger of both squared residuals of each match, (N,)."""
    to_old, to_new = (np.sum(part.whitened**2, axis=1) for part in residuals)
    return np.asarray(np.maximum(to_old, to_new))


def _residuals(old: Sight, new: Sight, S: Similarity, noise: Noise) -> tuple[_Residual, _Residual]:
    """Return those of the new camera's points in the old image, and of the old camera's points in the new image."""
    there, back = S.apply(new.points), S.inverse()
    here = back.apply(old.points)
    to_old, by_there = _whitened(there, there - S.t, old, noise)
    to_new, by_here = _whitened(here, here - back.t, new, noise)
    # if the new camera moves, what it sees moves along in the old frame, and what the old one sees moves against it
    return _Residual(to_old, new.points, by_there @ (S.scale * S.R)), _Residual(to_new, here, -by_here)


def _whitened(points: FloatArray, ray: FloatArray, seer: Sight, noise: Noise) -> tuple[FloatArray, FloatArray]:
    """Return the whitened residual (N, 2) of points' projections, and its derivative (N, 2, 3) by the points.

    Args:
        points: (N, 3) in the seer's camera frame.
        ray: (N, 3), their derivative by the logarithm of their depth in the other camera.
        seer: the camera.
        noise: of pixels and depths.
    """
    z = points[:, 2]
    behind = z < 1e-3
    safe = np.where(behind, 1.0, z)
    focal = seer.K[[0, 1], [0, 1]]
    residual = points[:, :2] / safe[:, None] * focal + seer.K[:2, 2] - seer.pixels
    projection = np.zeros((len(points), 2, 3))
    projection[:, 0, 0], projection[:, 1, 1] = focal[0] / safe, focal[1] / safe
    projection[:, :, 2] = -points[:, :2] / safe[:, None] ** 2 * focal
    along = (projection @ ray[..., None])[..., 0] * noise.depth
    sigma = noise.pixel * focal[0]
    length = np.linalg.norm(along, axis=1)
    direction = along / np.maximum(length, 1e-12)[:, None]
    shorter = direction * (1.0 - 1.0 / np.sqrt(1.0 + (length / sigma) ** 2))[:, None]
    residual = (residual - shorter * np.sum(direction * residual, axis=1)[:, None]) / sigma
    by_points = (projection - shorter[..., None] * (direction[:, None] @ projection)) / sigma
    residual[behind], by_points[behind] = 1e3, 0.0
    return residual, by_points
