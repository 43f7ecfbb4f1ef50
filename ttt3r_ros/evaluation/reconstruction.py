"""Errors of a reconstructed cloud as the published evaluation of CUT3R and TTT3R defines them: accuracy, completeness.

Nearest neighbours are exact (SciPy's k-d tree). Open3D, where it is installed, does ICP and normals faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, inverse

Float32Array = npt.NDArray[np.float32]

#: Of ICP: how far apart two points may be [m], when it stops, and after how many steps at most (Open3D's defaults).
ICP_DISTANCE, _ICP_STILL, _ICP_STEPS = 0.1, 1e-6, 30

#: Points that a normal is fitted to.
_NEIGHBOURS = 30

_SIZE_LIMITS = 1e-3, 1e3  # of a predicted cloud, before it is scaled
_CHUNK = 200_000  # points whose neighbours are held at once


@dataclass(frozen=True)
class Normalization:
    """How truth and prediction, both in the first camera's frame, are brought together.

    Attributes:
        truth_shift, predicted_shift: lower medians of z, taken off [m].
        truth_size, predicted_size: lower medians of the distance to the center [m].
    """

    truth_shift: float
    predicted_shift: float
    truth_size: float
    predicted_size: float

    @property
    def scale(self) -> float:
        """What the shifted prediction is multiplied by."""
        return self.truth_size / self.predicted_size


@dataclass(frozen=True)
class CloudErrors:
    """A predicted cloud compared with the true one; `_median` beside the mean.

    Attributes:
        acc: distance from a predicted point to the nearest true one [m].
        comp: from a true point to the nearest predicted one [m].
        nc1, nc2: cosine between the normals there, without sign.
    """

    acc: float
    acc_median: float
    comp: float
    comp_median: float
    nc1: float
    nc1_median: float
    nc2: float
    nc2_median: float


def normalization(truth: Float32Array, predicted: Float32Array) -> Normalization:
    """Return shifts and sizes of the valid points (n, 3) of all views, in the first camera's frame.

    Raises:
        UserError: there is no valid point.
    """
    if not len(truth):
        raise UserError("no pixel of the sequence has a true depth")
    shifts = [lower_median(points[:, 2]) for points in (truth, predicted)]
    sizes = []
    for points, shift in zip((truth, predicted), shifts):
        points = points - np.array([0, 0, shift], dtype=points.dtype)
        center = np.array([lower_median(axis) for axis in points.T], dtype=points.dtype)
        sizes.append(lower_median(np.linalg.norm(points - center, axis=1)))
    return Normalization(shifts[0], shifts[1], sizes[0], float(np.clip(sizes[1], *_SIZE_LIMITS)))


def world_clouds(
    truth: Float32Array, predicted: Float32Array, valid: npt.NDArray[np.bool_], T_world_first: FloatArray, crop: int
) -> tuple[FloatArray, FloatArray]:
    """Bring a prediction to the truth by one shift and one scale, and return the points of the images' centers.

    Args:
        truth: (V, H, W, 3) true points in the world [m].
        predicted: (V, H, W, 3) predicted points, in the frame of the first camera.
        valid: (V, H, W), where there is a true depth.
        T_world_first: (4, 4) true pose of the first camera.
        crop: side of the square in the middle of every image that counts [px].

    Returns:
        Predicted and true cloud (n, 3) in the world.

    Raises:
        UserError: no pixel is valid.
    """
    truth = moved(truth, inverse(T_world_first))
    found = normalization(truth[valid], predicted[valid])
    rows, columns = (slice(side // 2 - crop // 2, side // 2 + crop // 2) for side in valid.shape[1:])
    valid, truth, predicted = valid[:, rows, columns], truth[:, rows, columns], predicted[:, rows, columns]
    shift, back = (np.array([0, 0, s], dtype=np.float32) for s in (found.predicted_shift, found.truth_shift))
    predicted = (predicted[valid] - shift) * np.float32(found.scale) + back
    return moved(predicted.astype(np.float64), T_world_first), moved(truth[valid].astype(np.float64), T_world_first)


def compare_clouds(predicted: FloatArray, truth: FloatArray, *, voxel: float = 0.0) -> CloudErrors:
    """Move the prediction (n, 3) onto the truth (m, 3) by ICP and return the errors.

    Args:
        predicted: the cloud to judge [m].
        truth: the true cloud [m].
        voxel: side of the cubes that each cloud is first reduced to one point of, for speed [m]; 0, as published, for
            none.

    Raises:
        UserError: a cloud is empty.
    """
    if voxel:
        predicted, truth = thinned(predicted, voxel), thinned(truth, voxel)
    if not len(predicted) or not len(truth):
        raise UserError("a cloud without points cannot be compared")
    T, _, _ = icp(predicted, truth)
    predicted = moved(predicted, T)
    normals, true_normals = normals_of(predicted), normals_of(truth)
    acc, nearest_true = _nearest(predicted, truth)
    comp, nearest = _nearest(truth, predicted)
    nc1 = np.abs((normals * true_normals[nearest_true]).sum(axis=1))
    nc2 = np.abs((true_normals * normals[nearest]).sum(axis=1))
    figures = [float(f(values)) for values in (acc, comp, nc1, nc2) for f in (np.mean, np.median)]
    return CloudErrors(*figures)


def icp(
    source: npt.ArrayLike, target: npt.ArrayLike, distance: float = ICP_DISTANCE
) -> tuple[FloatArray, float, float]:
    """Move a cloud onto another by point-to-point ICP without scale (Besl and McKay, IEEE PAMI 1992).

    Args:
        source: (n, 3) to move [m].
        target: (m, 3) [m].
        distance: between points that belong together, at most [m].

    Returns:
        (4, 4) ``T_target_source``, the share of source points that have a partner, and their RMS distance [m].
    """
    points, reference = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if (o3d := _open3d()) is not None:
        result = o3d.pipelines.registration.registration_icp(_cloud(o3d, points), _cloud(o3d, reference), distance)
        return np.asarray(result.transformation), result.fitness, result.inlier_rmse
    from scipy.spatial import cKDTree

    tree, T = cKDTree(reference), np.eye(4)

    def partners(points: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray, float, float]:
        distances, index = tree.query(points, distance_upper_bound=distance, workers=-1)
        near = np.isfinite(distances)
        rmse = float(np.sqrt(np.mean(distances[near] ** 2))) if near.any() else 0.0
        return near, reference[index[near]], float(near.mean()), rmse

    near, pairs, fitness, rmse = partners(points)
    for _ in range(_ICP_STEPS):
        if not near.any():
            break
        update = _rigid(points[near], pairs)
        T, points = update @ T, moved(points, update)
        before = fitness, rmse
        near, pairs, fitness, rmse = partners(points)
        if abs(before[0] - fitness) < _ICP_STILL and abs(before[1] - rmse) < _ICP_STILL:
            break
    return T, fitness, rmse


def normals_of(points: npt.ArrayLike) -> FloatArray:
    """Return (n, 3) unit normals of points (n, 3): the direction in which a point's 30 nearest extend least."""
    cloud = np.asarray(points, dtype=np.float64)
    if (o3d := _open3d()) is not None:
        made = _cloud(o3d, cloud)
        made.estimate_normals()
        return np.asarray(made.normals)
    from scipy.spatial import cKDTree

    tree, normals = cKDTree(cloud), np.empty_like(cloud)
    for start in range(0, len(cloud), _CHUNK):
        _, index = tree.query(cloud[start : start + _CHUNK], k=min(_NEIGHBOURS, len(cloud)), workers=-1)
        near = cloud[index.reshape(len(index), -1)]
        near = near - near.mean(axis=1, keepdims=True)
        normals[start : start + _CHUNK] = np.linalg.eigh(near.transpose(0, 2, 1) @ near)[1][:, :, 0]
    return normals


def thinned(points: FloatArray, voxel: float) -> FloatArray:
    """Return the mean point of every cube of this side [m] that has any."""
    _, index, counts = np.unique(np.floor(points / voxel), axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(index.reshape(-1), weights=axis) for axis in points.T]
    return (np.stack(sums, axis=1) / counts[:, None]).astype(points.dtype)


def moved(points: Any, T: FloatArray) -> Any:
    """Return points (..., 3) moved by a (4, 4) transform, in their own type."""
    return points @ T[:3, :3].T.astype(points.dtype) + T[:3, 3].astype(points.dtype)


def lower_median(values: npt.NDArray[np.floating]) -> float:
    """Return the element at index (n − 1) // 2 of the sorted values."""
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def _nearest(points: npt.ArrayLike, target: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    from scipy.spatial import cKDTree

    distances, index = cKDTree(np.asarray(target, dtype=np.float64)).query(np.asarray(points, np.float64), workers=-1)
    return distances, index


def _rigid(source: FloatArray, target: FloatArray) -> FloatArray:
    """Return the (4, 4) rigid transform of least squares (Umeyama, IEEE PAMI 1991)."""
    center_a, center_b = source.mean(axis=0), target.mean(axis=0)
    U, _, Vt = np.linalg.svd((target - center_b).T @ (source - center_a))
    R = U @ np.diag([1, 1, np.sign(np.linalg.det(U) * np.linalg.det(Vt))]) @ Vt
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, center_b - R @ center_a
    return T


def _open3d() -> Any:
    """Return Open3D where it is installed, else None."""
    try:
        import open3d
    except ImportError:
        return None
    return open3d


def _cloud(o3d: Any, points: FloatArray) -> Any:
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
