"""Errors of a camera's path as the published evaluation of CUT3R and TTT3R defines them: after Sim(3) alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, quaternion_from_rotation

if TYPE_CHECKING:
    from evo.core.trajectory import PosePath3D


@dataclass(frozen=True)
class PoseErrors:
    """An estimated path compared with the true one, pose by pose.

    Attributes:
        ate: root mean square of the position error after Sim(3) alignment [m].
        rpe_translation: root mean square of the error of the motion from one pose to the next [m], aligned and scaled.
        rpe_rotation: the same for the rotation [deg].
    """

    ate: float
    rpe_translation: float
    rpe_rotation: float


def pose_errors(estimate: FloatArray, truth: FloatArray) -> PoseErrors:
    """Compare two paths of equally many poses, paired by index.

    The estimate is brought onto the truth by the similarity of Umeyama (IEEE PAMI 1991, eqs. 34-43); the relative pose
    error (Sturm et al., IROS 2012, eq. 2) is of neighbouring poses.

    Args:
        estimate: (N, 4, 4) camera-to-world, in any world and scale.
        truth: (N, 4, 4) camera-to-world [m].

    Raises:
        UserError: a true pose is not finite, or the path is too short or straight for an alignment.
        ValueError: the numbers of poses differ.
    """
    from evo.core.geometry import GeometryException
    from evo.core.metrics import APE, RPE, PoseRelation, StatisticsType, Unit

    if len(estimate) != len(truth):
        raise ValueError(f"paths of equally many poses are compared, got {len(estimate)} and {len(truth)}")
    if len(truth) < 3:
        raise UserError(f"{len(truth)} poses are too few for an alignment, 3 are needed")
    bad = np.flatnonzero(~np.isfinite(truth).all(axis=(1, 2)))
    if len(bad):
        raise UserError(f"the true pose of frame {bad[0]} is not finite")
    reference, compared = _path(truth), _path(estimate)
    try:
        compared.align(reference, correct_scale=True)
    except GeometryException:
        raise UserError("the camera stands still or moves exactly on a line, which no similarity aligns") from None
    relation = PoseRelation

    def rmse(metric: APE | RPE) -> float:
        metric.process_data((reference, compared))
        return float(metric.get_statistic(StatisticsType.rmse))

    return PoseErrors(
        ate=rmse(APE(relation.translation_part)),
        rpe_translation=rmse(RPE(relation.translation_part, 1, Unit.frames, all_pairs=True)),
        rpe_rotation=rmse(RPE(relation.rotation_angle_deg, 1, Unit.frames, all_pairs=True)),
    )


def _path(poses: FloatArray) -> PosePath3D:
    from evo.core.trajectory import PosePath3D

    return PosePath3D(
        positions_xyz=np.array(poses[:, :3, 3], dtype=np.float64),
        orientations_quat_wxyz=np.array([quaternion_from_rotation(T[:3, :3]) for T in poses]),
    )
