"""How far an estimated path is from the true one. What evo says, for machines that do not have it; a test compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt3r_ros.geometry import FloatArray


@dataclass(frozen=True)
class PathError:
    """An estimate compared with ground truth, all pose by pose.

    Attributes:
        ate_m: root mean square of the position error after rigid alignment, without scale.
        rpe_rotation_deg: root mean square of the error of the rotation from one pose to the next.
        path_m: length of the true path.
    """

    ate_m: float
    rpe_rotation_deg: float
    path_m: float


def path_error(estimate: FloatArray, truth: FloatArray) -> PathError:
    """Compare poses (N, 4, 4) ``T_world_camera`` with the true ones; the worlds may differ."""
    p, q = estimate[:, :3, 3], truth[:, :3, 3]
    R = _aligning_rotation(p - p.mean(0), q - q.mean(0))
    miss = (p - p.mean(0)) @ R.T - (q - q.mean(0))
    steps, true_steps = (np.linalg.inv(T[:-1]) @ T[1:] for T in (estimate, truth))
    return PathError(
        ate_m=float(np.sqrt(np.square(miss).sum(1).mean())),
        rpe_rotation_deg=float(np.sqrt(np.square(_angles_deg(steps.swapaxes(1, 2), true_steps)).mean())),
        path_m=float(np.linalg.norm(np.diff(q, axis=0), axis=1).sum()),
    )


def _aligning_rotation(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return the (3, 3) R that brings centred points p (N, 3) closest to q (Kabsch; Umeyama, PAMI 1991, eq. 40)."""
    U, _, Vt = np.linalg.svd(q.T @ p)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    return np.asarray(U @ sign @ Vt)


def _angles_deg(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the angles [deg] of the rotations a·b of (N, 4, 4) transforms."""
    R = a[:, :3, :3] @ b[:, :3, :3]
    axis = np.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], axis=1)
    trace = np.trace(R, axis1=1, axis2=2)
    return np.asarray(np.rad2deg(np.arctan2(np.linalg.norm(axis, axis=1), trace - 1)))
