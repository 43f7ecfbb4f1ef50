"""The independent eye: local features of two keyframes, and the pose that brings them together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.similarity import Similarity

#: Features of an image at most, and how much better than the second-best match a match must be (Lowe, IJCV 2004).
MAX_FEATURES, RATIO = 600, 0.8
#: Images with fewer columns than this are enlarged to twice their size before features are sought [px].
SMALL_COLUMNS = 400
#: A point may be seen this far from where it should be, as a fraction of the focal length.
TOLERANCE = 0.012
#: Fewer matches are not worth a pose.
MIN_MATCHES = 10
_ITERATIONS, _CONFIDENCE = 300, 0.999
#: Inliers are counted in the cells of a grid this fine.
GRID = (4, 4)


@dataclass(frozen=True)
class Features:
    """Local features of a keyframe.

    Attributes:
        pixels: (N, 2) (x, y) in the network's image.
        points: (N, 3) that the keyframe sees there [m], camera frame; NaN where unknown.
        descriptors: (N, 128) float32, square roots of SIFT histograms (Arandjelović and Zisserman, CVPR 2012).
    """

    pixels: FloatArray
    points: FloatArray
    descriptors: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """How the features of a new keyframe fit those of an old one.

    Attributes:
        S_old_new: from the new keyframe's camera to the old one's, each in its own meters.
        inliers: number of matches that agree with the pose both ways.
        coverage: the fewest cells of a 4 x 4 grid over either image that have inliers.
        share: inliers among the matches.
        spread: of the inliers' ratios of depth, as standard deviation of the logarithm.
    """

    S_old_new: Similarity
    inliers: int
    coverage: int
    share: float
    spread: float


def features_of(keyframe: Keyframe) -> Features:
    """Find a keyframe's local features."""
    gray = cv2.cvtColor(keyframe.image, cv2.COLOR_RGB2GRAY)
    factor = 2 if gray.shape[1] < SMALL_COLUMNS else 1
    if factor > 1:
        gray = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=0.02)
    found, descriptors = sift.detectAndCompute(gray, None)
    if descriptors is None:
        return Features(np.empty((0, 2)), np.empty((0, 3)), np.empty((0, 128), np.float32))
    places = np.array([key.pt for key in found], dtype=np.float64).reshape(-1, 2)
    pixels = keyframe.pixel_map.to_network((places + 0.5) / factor - 0.5)
    inside = ((pixels >= 0) & (pixels <= np.array(keyframe.pixel_map.size) - 1)).all(axis=1)
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return Features(pixels[inside], keyframe.points(pixels[inside]), rooted[inside].astype(np.float32))


def match(old: Keyframe, new: Keyframe, features_old: Features, features_new: Features) -> Match | None:
    """Return the pose between two keyframes that their features agree on; None where there is none.

    Matches must be mutual. RANSAC finds the pose from the old keyframe's points and the new one's pixels; inliers must
    also see the new keyframe's points at the old one's pixels, once these have the scale that most of them agree on.
    """
    pairs = _mutual(features_old.descriptors, features_new.descriptors)
    pairs = pairs[np.isfinite(features_old.points[pairs[:, 0]]).all(axis=1)] if len(pairs) else pairs
    if len(pairs) < MIN_MATCHES:
        return None
    points_old, pixels_old = features_old.points[pairs[:, 0]], features_old.pixels[pairs[:, 0]]
    points_new, pixels_new = features_new.points[pairs[:, 1]], features_new.pixels[pairs[:, 1]]
    K = new.intrinsics.matrix()
    tolerance_new, tolerance_old = TOLERANCE * new.intrinsics.fx, TOLERANCE * old.intrinsics.fx
    try:
        found, rotation, translation, chosen = cv2.solvePnPRansac(
            points_old, pixels_new, K, None,
            iterationsCount=_ITERATIONS, reprojectionError=tolerance_new, confidence=_CONFIDENCE,
            flags=cv2.SOLVEPNP_EPNP,
        )  # fmt: skip
        if not found or chosen is None or len(chosen) < MIN_MATCHES:
            return None
        some = chosen.ravel()
        rotation, translation = cv2.solvePnPRefineLM(points_old[some], pixels_new[some], K, None, rotation, translation)
    except cv2.error:
        return None  # a degenerate set of points
    T_new_old = np.eye(4)
    T_new_old[:3, :3], T_new_old[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    T_old_new = inverse(T_new_old)
    seen_by_new = points_old @ T_new_old[:3, :3].T + T_new_old[:3, 3]
    fits = _near(seen_by_new, pixels_new, K, tolerance_new) & np.isfinite(points_new).all(axis=1)
    if fits.sum() < MIN_MATCHES:
        return None
    ratios = np.log(seen_by_new[fits, 2] / points_new[fits, 2])
    scale = float(np.exp(np.median(ratios)))
    S_old_new = Similarity.of(T_old_new, scale)
    with np.errstate(invalid="ignore"):
        fits &= _near(S_old_new.apply(points_new), pixels_old, old.intrinsics.matrix(), 2 * tolerance_old)
    if not fits.any():
        return None
    ratios = np.log(seen_by_new[fits, 2] / points_new[fits, 2])
    return Match(
        S_old_new=S_old_new,
        inliers=int(fits.sum()),
        coverage=min(_cells(pixels_old[fits], old), _cells(pixels_new[fits], new)),
        share=float(fits.mean()),
        spread=float(1.4826 * np.median(np.abs(ratios - np.median(ratios)))),
    )


def _mutual(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return (M, 2) indices of descriptors that are each other's best match, clearly better than the second."""
    if len(a) < 2 or len(b) < 2:
        return np.empty((0, 2), np.int64)
    product = a @ b.T  # of unit vectors: the larger, the closer
    best_b, best_a = product.argmax(axis=1), product.argmax(axis=0)
    rows = np.arange(len(a))
    second = np.partition(product, -2, axis=1)[:, -2]
    distance, other = 1 - product[rows, best_b], 1 - second
    chosen = (best_a[best_b] == rows) & (distance < RATIO**2 * other)
    return np.stack([rows[chosen], best_b[chosen]], axis=1)


def _near(points: FloatArray, pixels: FloatArray, K: FloatArray, tolerance: float) -> npt.NDArray[np.bool_]:
    """Return which points (N, 3) a camera sees within a tolerance [px] of pixels (N, 2)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = points[:, :2] / points[:, 2:] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
        return np.asarray((points[:, 2] > 0) & (np.linalg.norm(seen - pixels, axis=1) < tolerance))


def _cells(pixels: FloatArray, keyframe: Keyframe) -> int:
    cells = np.floor(pixels / np.array(keyframe.pixel_map.size) * GRID).astype(int).clip(0, np.array(GRID) - 1)
    return len(np.unique(cells, axis=0))
