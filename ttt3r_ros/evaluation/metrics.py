"""Errors against ground truth: of trajectories, through evo, and of depth. No ROS.

evo is imported only where it is used, so that writing a trajectory does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics, T_from_pose, quaternion_from_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evo.core.trajectory import PoseTrajectory3D

#: Poses whose stamps differ by more than this are not compared; TUM's own tools use the same value.
MAX_STAMP_DIFFERENCE_S = 0.02

#: A path within this range counts as standing still, whose rotation cannot be aligned.
_STANDSTILL_M = 1e-6


@dataclass(frozen=True)
class Trajectory:
    """Poses of one moving body in one fixed frame.

    Attributes:
        stamps_ns: (N,) int64, nanoseconds, strictly increasing.
        positions: (N, 3) float64, meters.
        quaternions_wxyz: (N, 4) float64, unit length.
    """

    stamps_ns: npt.NDArray[np.int64]
    positions: FloatArray
    quaternions_wxyz: FloatArray

    @classmethod
    def from_transforms(cls, stamps_ns: Sequence[int], transforms: Sequence[FloatArray]) -> Trajectory:
        """Return the trajectory of (4, 4) poses ``T_fixed_body``, sorted by stamp; of equal stamps the last is kept."""
        poses = dict(sorted(zip(stamps_ns, transforms, strict=True), key=lambda pose: pose[0]))
        return cls(
            stamps_ns=np.array(list(poses), dtype=np.int64),
            positions=np.array([T[:3, 3] for T in poses.values()], dtype=np.float64).reshape(-1, 3),
            quaternions_wxyz=np.array(
                [quaternion_from_rotation(T[:3, :3]) for T in poses.values()], dtype=np.float64
            ).reshape(-1, 4),
        )

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.stamps_ns)

    def transform(self, index: int) -> FloatArray:
        """Return one pose as the (4, 4) transform ``T_fixed_body``."""
        return T_from_pose(self.positions[index], self.quaternions_wxyz[index])

    def path_length(self) -> float:
        """Return the length of the polyline through all positions [m]."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())


@dataclass(frozen=True)
class TrajectoryError:
    """An estimate compared with ground truth.

    Attributes:
        ate_rmse_m: root mean square of the position error after SE(3) alignment [m].
        ate_rmse_scaled_m: the same after Sim(3) alignment, i.e. with the best single scale [m].
        scale: factor by which that alignment multiplies the estimate; 1 is metric, NaN if nothing moves.
        rpe_translation_m: root mean square error of the translation from one compared pose to the next [m].
        rpe_rotation_deg: the same for the rotation [deg].
        path_length_m: length of the ground truth through the compared poses [m].
        poses: number of compared pairs of poses.
        aligned: the compared part of the estimate, SE(3)-aligned to the ground truth.
        reference: the ground truth at the same poses.
    """

    ate_rmse_m: float
    ate_rmse_scaled_m: float
    scale: float
    rpe_translation_m: float
    rpe_rotation_deg: float
    path_length_m: float
    poses: int
    aligned: Trajectory
    reference: Trajectory


def compare_trajectories(estimate: Trajectory, ground_truth: Trajectory) -> TrajectoryError:
    """Return the absolute and relative errors of an estimate.

    The absolute trajectory error aligns the estimate by least squares (Umeyama, IEEE PAMI 1991, eqs. 34-43) and takes
    the root mean square of what remains, as in Sturm et al., "A Benchmark for the Evaluation of RGB-D SLAM Systems",
    IROS 2012, section IV; the relative pose error is that paper's equation 2 with a distance of one pose.

    Raises:
        UserError: fewer than three poses have a ground-truth pose within `MAX_STAMP_DIFFERENCE_S`.
    """
    from evo.core import metrics, sync

    if len(estimate) < 3 or len(ground_truth) < 3:
        raise UserError(
            f"a trajectory error needs at least 3 poses on each side, got {len(estimate)} estimated"
            f" and {len(ground_truth)} true ones"
        )
    # evo compares stamps as floats: relative to a common start they keep their nanoseconds
    start_ns = min(int(estimate.stamps_ns[0]), int(ground_truth.stamps_ns[0]))
    try:
        reference, compared = sync.associate_trajectories(
            _to_evo(ground_truth, start_ns), _to_evo(estimate, start_ns), max_diff=MAX_STAMP_DIFFERENCE_S
        )
    except sync.SyncException:
        raise UserError(
            f"no estimated pose lies within {MAX_STAMP_DIFFERENCE_S} s of a true one: do both use the same clock?"
        ) from None
    if reference.num_poses < 3:
        raise UserError(
            f"only {reference.num_poses} estimated poses lie within {MAX_STAMP_DIFFERENCE_S} s of true ones,"
            " 3 are needed"
        )

    aligned, _ = _align(compared, reference, with_scale=False)
    scaled, scale = _align(compared, reference, with_scale=True)
    relation = metrics.PoseRelation
    translation, rotation = relation.translation_part, relation.rotation_angle_deg
    return TrajectoryError(
        ate_rmse_m=_rmse(metrics.APE(translation), reference, aligned),
        ate_rmse_scaled_m=_rmse(metrics.APE(translation), reference, scaled),
        scale=scale,
        rpe_translation_m=_rmse(metrics.RPE(translation, 1, metrics.Unit.frames), reference, aligned),
        rpe_rotation_deg=_rmse(metrics.RPE(rotation, 1, metrics.Unit.frames), reference, aligned),
        path_length_m=float(reference.path_length),
        poses=int(reference.num_poses),
        aligned=_from_evo(aligned, start_ns),
        reference=_from_evo(reference, start_ns),
    )


@dataclass(frozen=True)
class DepthError:
    """A depth map compared with ground truth, over the pixels valid in both.

    Attributes:
        abs_rel: mean of |estimate − truth| / truth.
        delta_125: fraction of pixels where max(estimate/truth, truth/estimate) < 1.25, in [0, 1].
        scale: factor applied to the estimate first; 1 unless the median was matched.
        pixels: number of compared pixels.
    """

    abs_rel: float
    delta_125: float
    scale: float
    pixels: int


def compare_depth(
    estimate: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], *, match_median: bool = False
) -> DepthError:
    """Return the usual depth errors (Eigen et al., arXiv:1406.2283, section 4.2).

    Args:
        estimate: (H, W) float32, meters; not finite or <= 0 where invalid.
        truth: same shape and conventions.
        match_median: multiply the estimate by median(truth) / median(estimate) first, for estimates without scale.

    Raises:
        ValueError: the shapes differ.
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"depth maps must have the same size to be compared, got {estimate.shape} and {truth.shape}")
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(estimate) & np.isfinite(truth) & (estimate > 0) & (truth > 0)
    if not valid.any():
        return DepthError(float("nan"), float("nan"), 1.0, 0)
    predicted = estimate[valid].astype(np.float64)
    true = truth[valid].astype(np.float64)
    scale = float(np.median(true) / np.median(predicted)) if match_median else 1.0
    predicted *= scale
    ratio = predicted / true
    return DepthError(
        abs_rel=float(np.abs(ratio - 1.0).mean()),
        delta_125=float((np.maximum(ratio, 1.0 / ratio) < 1.25).mean()),
        scale=scale,
        pixels=int(valid.sum()),
    )


def resample_depth(
    depth: npt.NDArray[np.float32], intrinsics: Intrinsics, target: Intrinsics
) -> npt.NDArray[np.float32]:
    """Return the depth along the rays of another camera at the same pose, from the nearest pixel.

    It does not interpolate, because a mean across an object's edge lies on no surface.

    Args:
        depth: (H, W) float32, meters along the optical axis.
        intrinsics: intrinsics of ``depth``.
        target: intrinsics of the result, for example of a crop or a lower resolution.

    Returns:
        (target.height, target.width) float32, NaN outside the first camera's view.
    """
    u = np.rint((np.arange(target.width) - target.cx) * (intrinsics.fx / target.fx) + intrinsics.cx).astype(np.int64)
    v = np.rint((np.arange(target.height) - target.cy) * (intrinsics.fy / target.fy) + intrinsics.cy).astype(np.int64)
    height, width = depth.shape
    seen = ((v >= 0) & (v < height))[:, None] & ((u >= 0) & (u < width))[None, :]
    nearest = depth[np.ix_(v.clip(0, height - 1), u.clip(0, width - 1))]
    return np.where(seen, nearest, np.float32("nan"))


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write a trajectory in the TUM format: ``stamp x y z qx qy qz qw``, seconds and meters, one pose a line."""
    lines = ["# timestamp[s] tx[m] ty[m] tz[m] qx qy qz qw"]
    for stamp, (x, y, z), (qw, qx, qy, qz) in zip(
        trajectory.stamps_ns.tolist(), trajectory.positions, trajectory.quaternions_wxyz, strict=True
    ):
        pose = " ".join(f"{value:.9f}" for value in (x, y, z, qx, qy, qz, qw))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {pose}")
    path.write_text("\n".join(lines) + "\n")


def _to_evo(trajectory: Trajectory, start_ns: int) -> PoseTrajectory3D:
    from evo.core.trajectory import PoseTrajectory3D

    return PoseTrajectory3D(
        positions_xyz=trajectory.positions,
        orientations_quat_wxyz=trajectory.quaternions_wxyz,
        timestamps=(trajectory.stamps_ns - start_ns) * 1e-9,
    )


def _from_evo(trajectory: PoseTrajectory3D, start_ns: int) -> Trajectory:
    return Trajectory(
        stamps_ns=np.rint(trajectory.timestamps * 1e9).astype(np.int64) + start_ns,
        positions=trajectory.positions_xyz,
        quaternions_wxyz=trajectory.orientations_quat_wxyz,
    )


def _align(
    estimate: PoseTrajectory3D, reference: PoseTrajectory3D, *, with_scale: bool
) -> tuple[PoseTrajectory3D, float]:
    """Return an aligned copy of the estimate and the scale it was multiplied by."""
    from copy import deepcopy

    from evo.core.geometry import GeometryException

    aligned = deepcopy(estimate)
    if np.ptp(estimate.positions_xyz, axis=0).max() > _STANDSTILL_M:
        try:
            _, _, scale = aligned.align(reference, correct_scale=with_scale)
        except GeometryException:
            pass  # a straight line: its rotation about itself is undetermined
        else:
            return aligned, float(scale)
    aligned = deepcopy(estimate)
    aligned.align_origin(reference)
    return aligned, float("nan") if with_scale else 1.0


def _rmse(metric: object, reference: PoseTrajectory3D, estimate: PoseTrajectory3D) -> float:
    from evo.core.metrics import PE, StatisticsType

    assert isinstance(metric, PE)
    metric.process_data((reference, estimate))
    return float(metric.get_statistic(StatisticsType.rmse))
