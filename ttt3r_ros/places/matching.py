"""The independent eye: local features of two keyframes, and the pose that brings them together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.places.graph import Sigmas
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.pieces import Pieces
from ttt3r_ros.places.refinement import Noise, Sight, refined
from ttt3r_ros.places.similarity import Similarity

#: Features of an image at most, and how much better than the second-best match a match must be (Lowe, IJCV 2004).
MAX_FEATURES, RATIO = 600, 0.8
#: Images with fewer columns than this are enlarged to twice their size before features are sought [px].
SMALL_COLUMNS = 400
#: For a first pose, a point may be seen this far from where it should be, as a fraction of the focal length.
LOOSE = 0.03
#: And this far from its epipolar line, likewise; lengths of such a pose that are tried [median depths].
EPIPOLAR, LENGTHS = 0.009, (0.05, 0.2, 0.6)
#: Fewer matches are not worth a pose.
MIN_MATCHES = 20
_ITERATIONS, _CONFIDENCE = 300, 0.999
#: Noise of the matches that agree, see `Noise`: of their pixels, and of their depths at least and at most.
PIXEL_SIGMA, DEPTH_SIGMAS = 0.003, (0.02, 0.2)
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
        sigmas: of the error of the similarity.
    """

    S_old_new: Similarity
    inliers: int
    coverage: int
    share: float
    spread: float
    sigmas: Sigmas


def features_of(keyframe: Keyframe) -> Features:
    """Find a keyframe's local features."""
    gray = cv2.cvtColor(keyframe.image, cv2.COLOR_RGB2GRAY)
    factor = 2 if gray.shape[1] < SMALL_COLUMNS else 1
    if factor > 1:
        gray = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    sift = cv2.SIFT_create(nfeatures=MAX_FEATURES, contrastThreshold=0.02)  # type: ignore[attr-defined]
    found, descriptors = sift.detectAndCompute(gray, None)
    if descriptors is None:
        return Features(np.empty((0, 2)), np.empty((0, 3)), np.empty((0, 128), np.float32))
    places = np.array([key.pt for key in found], dtype=np.float64).reshape(-1, 2)
    pixels = keyframe.pixel_map.to_network((places + 0.5) / factor - 0.5)
    inside = ((pixels >= 0) & (pixels <= np.array(keyframe.pixel_map.size) - 1)).all(axis=1)
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return Features(pixels[inside], keyframe.points(pixels[inside]), rooted[inside].astype(np.float32))


def match(old: Keyframe, new: Keyframe, features_old: Features, features_new: Features) -> Pieces[Match | None]:
    """Find the pose between two keyframes that their features agree on; None where there is none.

    Matches must be mutual. RANSAC finds first poses, which `refined` improves; the best one counts. What agrees with it
    tells how exact the network's depths are here, and that decides how much they count in the pose.

    Args:
        old, new: the keyframes.
        features_old, features_new: theirs.
    """
    pairs = _mutual(features_old.descriptors, features_new.descriptors)
    known = np.isfinite(features_old.points[pairs[:, 0], 2]) & np.isfinite(features_new.points[pairs[:, 1], 2])
    pairs = pairs[known]
    yield
    if len(pairs) < MIN_MATCHES:
        return None
    sights = (
        Sight(features_old.points[pairs[:, 0]], features_old.pixels[pairs[:, 0]], old.intrinsics.matrix()),
        Sight(features_new.points[pairs[:, 1]], features_new.pixels[pairs[:, 1]], new.intrinsics.matrix()),
    )
    starts = yield from _first_poses(*sights)
    if not starts:
        return None
    if len(starts) > 1:
        fits = []
        for start in starts:
            yield
            fits.append(refined(*sights, start, steps=6))
        starts = [min(fits, key=lambda fit: fit.cost).S_old_new]
    yield
    best = refined(*sights, starts[0])
    yield
    if best.fits.sum() < MIN_MATCHES:
        return None
    seen_old, seen_new = (sight.of(best.fits) for sight in sights)
    ratios = np.log(best.S_old_new.apply(seen_new.points)[:, 2] / seen_old.points[:, 2])
    spread = float(1.4826 * np.median(np.abs(ratios - np.median(ratios))))
    exact = refined(seen_old, seen_new, best.S_old_new, noise=Noise(PIXEL_SIGMA, float(np.clip(spread, *DEPTH_SIGMAS))))
    return Match(
        S_old_new=exact.S_old_new,
        inliers=int(best.fits.sum()),
        coverage=min(_cells(seen_old.pixels, old), _cells(seen_new.pixels, new)),
        share=float(best.fits.mean()),
        spread=spread,
        sigmas=exact.sigmas,
    )


def _first_poses(old: Sight, new: Sight) -> Pieces[list[Similarity]]:
    """Find poses to start from, by RANSAC: from either one's points, and from pixels alone with a few lengths.

    A wall's depth that is tilted by an error has a pose of its own that fits almost as well as the right one, so one
    start is not enough.
    """
    depth = float(np.median(old.points[:, 2]))
    poses = _by_pixels(old, new, [share * depth for share in LENGTHS])
    if poses is None:
        return []
    yield
    starts = [_by_points(old, new), *(Similarity.of(T) for T in poses)]
    yield
    if (other := _by_points(new, old)) is not None:
        starts.append(other.inverse())
    return [start for start in starts if start is not None]


def _by_points(old: Sight, new: Sight) -> Similarity | None:
    """Return the pose that most matches agree on, from the old points and the new pixels."""
    try:
        found, rotation, translation, chosen = cv2.solvePnPRansac(
            old.points, new.pixels, new.K, None,
            iterationsCount=_ITERATIONS, reprojectionError=LOOSE * new.K[0, 0], confidence=_CONFIDENCE,
            flags=cv2.SOLVEPNP_EPNP,
        )  # fmt: skip
    except cv2.error:
        return None  # a degenerate set of points
    if not found or chosen is None or len(chosen) < MIN_MATCHES:
        return None
    T_new_old = np.eye(4)
    T_new_old[:3, :3], T_new_old[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    seen_by_new = old.points @ T_new_old[:3, :3].T + T_new_old[:3, 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.log(seen_by_new[chosen.ravel(), 2] / new.points[chosen.ravel(), 2])
    ratios = ratios[np.isfinite(ratios)]
    return Similarity.of(inverse(T_new_old), float(np.exp(np.median(ratios)))) if len(ratios) else None


def _by_pixels(old: Sight, new: Sight, lengths: list[float]) -> list[FloatArray] | None:
    """Return the poses T_old_new (4, 4) of the epipolar geometry, with translations of these lengths.

    None where too few matches have any such geometry in common: then they show different things.
    """
    rays_new, rays_old = ((sight.pixels - sight.K[:2, 2]) / sight.K[[0, 1], [0, 1]] for sight in (new, old))
    try:
        E, mask = cv2.findEssentialMat(rays_new, rays_old, np.eye(3), cv2.RANSAC, _CONFIDENCE, EPIPOLAR)
        if E is None or E.shape != (3, 3):
            return []
        if np.count_nonzero(mask) < MIN_MATCHES:
            return None
        _, R, t, _ = cv2.recoverPose(E, rays_new, rays_old, np.eye(3), mask=mask)
    except cv2.error:
        return []
    result = []
    for length in lengths:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, length * t.ravel()
        result.append(T)
    return result


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


def _cells(pixels: FloatArray, keyframe: Keyframe) -> int:
    cells = np.floor(pixels / np.array(keyframe.pixel_map.size) * GRID).astype(int).clip(0, np.array(GRID) - 1)
    return len(np.unique(cells, axis=0))
