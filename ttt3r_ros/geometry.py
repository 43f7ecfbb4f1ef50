"""Rigid transforms, quaternions and the pinhole camera, in numpy.

Conventions: ``T_a_b`` is (4, 4) and maps points in frame b to frame a; quaternions are (w, x, y, z);
camera axes are OpenCV's (x right, y down, z forward); lengths are in meters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError

FloatArray = npt.NDArray[np.float64]

#: Rotation from optical axes to body axes (x forward, y left, z up; REP-103) of an upright, forward-looking camera.
R_BODY_OPTICAL: FloatArray = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

#: The default mount: a forward-looking camera at the origin of the base.
T_BASE_CAMERA: FloatArray = np.block([[R_BODY_OPTICAL, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion. Lengths are in pixels; pixel centers lie at integers (ROS and OpenCV)."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def matrix(self) -> FloatArray:
        """Return the (3, 3) camera matrix K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


def T_from_pose(translation: npt.ArrayLike, quaternion_wxyz: npt.ArrayLike) -> FloatArray:
    """Return the (4, 4) transform of a (3,) translation and a (4,) quaternion (w, x, y, z) of any non-zero length."""
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion(quaternion_wxyz)
    T[:3, 3] = np.asarray(translation, dtype=np.float64)
    return T


def T_from_rpy(translation: npt.ArrayLike, roll: float, pitch: float, yaw: float) -> FloatArray:
    """Return the (4, 4) transform of a translation [m] and angles about the fixed axes x, y and z [rad] (REP-103)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin([roll, pitch, yaw]), np.cos([roll, pitch, yaw])
    T = np.eye(4)
    T[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    T[:3, 3] = translation
    return T


def rotation_from_quaternion(quaternion_wxyz: npt.ArrayLike) -> FloatArray:
    """Return the (3, 3) rotation of a (4,) quaternion (w, x, y, z) of any non-zero length."""
    q: list[float] = np.asarray(quaternion_wxyz, dtype=np.float64).tolist()
    norm = math.hypot(*q) or math.nan  # a zero quaternion is not a rotation
    w, x, y, z = (component / norm for component in q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(R: npt.ArrayLike) -> FloatArray:
    """Return the unit quaternion (w, x, y, z), w >= 0, of a (3, 3) rotation.

    Finds the largest of the four squared components first, to avoid dividing by a small number (Shepperd, "Quaternion
    from Rotation Matrix", 1978).
    """
    return np.array(_quaternion(R))


def _quaternion(R: npt.ArrayLike) -> list[float]:
    """See `quaternion_from_rotation`. Plain Python numbers are several times as fast as numpy here."""
    r: list[list[float]] = np.asarray(R, dtype=np.float64).tolist()
    trace = r[0][0] + r[1][1] + r[2][2]
    # values that grow with q_i², for i = w, x, y, z, to find the component that is safest to divide by
    candidates = [trace, r[0][0], r[1][1], r[2][2]]
    largest = candidates.index(max(candidates))
    q = [0.0] * 4
    if largest == 0:
        q = [1.0 + trace, r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]]
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q[0] = r[k][j] - r[j][k]
        q[1 + i] = 1.0 + r[i][i] - r[j][j] - r[k][k]
        q[1 + j] = r[j][i] + r[i][j]
        q[1 + k] = r[k][i] + r[i][k]
    norm = math.copysign(math.hypot(*q), q[0])
    return [component / norm for component in q]


def checked_transform(T: object, name: str) -> FloatArray:
    """Return as float64 what a caller has given as a (4, 4) transform; errors begin with the transform's name.

    Raises:
        UserError: it is not a rigid transform of finite numbers. A rotation may be off by rounding to three digits.
    """
    if T is T_BASE_CAMERA:  # the usual one
        return T_BASE_CAMERA
    try:
        matrix: FloatArray = np.asarray(T, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a (4, 4) array of numbers, not {type(T).__name__}") from None
    if matrix.shape != (4, 4):
        raise UserError(f"{name} must be a (4, 4) transform, but its shape is {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise UserError(f"{name} contains numbers that are not finite")
    R = matrix[:3, :3]
    if np.abs(R @ R.T - np.eye(3)).max() > 5e-3 or np.linalg.det(R) < 0 or matrix[3].tolist() != [0, 0, 0, 1]:
        raise UserError(f"{name} is not a rigid transform: [R t; 0 0 0 1] with a rotation R")
    return matrix


def inverse(T: FloatArray) -> FloatArray:
    """Return the inverse of a (4, 4) rigid transform."""
    T_inv = np.eye(4)
    T_inv[:3, :3] = T[:3, :3].T
    T_inv[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return T_inv


def orthonormal(R: FloatArray) -> FloatArray:
    """Return the rotation nearest to a (3, 3) product of many: `inverse` would double its rounding errors each time."""
    U, _, Vt = np.linalg.svd(R)
    return np.asarray(U @ Vt)


def rotation_vector(R: FloatArray) -> FloatArray:
    """Return the (3,) rotation vector [rad] of a (3, 3) rotation: its axis times its angle in [0, pi]."""
    w, *v = _quaternion(R)
    sine = math.hypot(*v)
    factor = 2.0 if sine < 1e-12 else 2.0 * math.atan2(sine, w) / sine
    return np.array([factor * component for component in v])


def twist_between(
    T_odom_base_0: FloatArray, T_odom_base_1: FloatArray, seconds: float
) -> tuple[FloatArray, FloatArray]:
    """Return the mean velocity between two poses, in the second pose's body frame (nav_msgs/Odometry's twist).

    Args:
        T_odom_base_0: (4, 4) earlier pose.
        T_odom_base_1: (4, 4) later pose.
        seconds: time between them [s], > 0.

    Returns:
        (3,) linear velocity [m/s] and (3,) angular velocity [rad/s].

    Raises:
        ValueError: ``seconds`` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"a velocity needs a positive time between two poses, got {seconds} s")
    R_base_odom = T_odom_base_1[:3, :3].T
    linear = R_base_odom @ (T_odom_base_1[:3, 3] - T_odom_base_0[:3, 3]) / seconds
    angular = rotation_vector(T_odom_base_0[:3, :3].T @ T_odom_base_1[:3, :3]) / seconds
    return linear, angular  # a rotation's own axis is the same in both body frames


def unproject(depth: npt.NDArray[np.float32], intrinsics: Intrinsics) -> npt.NDArray[np.float32]:
    """Return the points seen by a pinhole camera.

    Args:
        depth: (H, W) float32, along the optical axis [m]; NaN stays NaN.
        intrinsics: for images of the same size.

    Returns:
        (H, W, 3) float32 points in the camera's optical frame [m].
    """
    rays_x, rays_y = rays(intrinsics)
    points = np.empty((*depth.shape, 3), dtype=np.float32)
    np.multiply(depth, rays_x, out=points[..., 0])
    np.multiply(depth, rays_y, out=points[..., 1])
    points[..., 2] = depth
    return points


def rays(intrinsics: Intrinsics) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x/z (1, W) for each column of pixels and y/z (H, 1) for each row."""
    rays_x = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    rays_y = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    return rays_x[None, :].astype(np.float32), rays_y[:, None].astype(np.float32)


def focal_from_points(points: npt.NDArray[np.float32]) -> float:
    """Return the focal length [px] that best explains a pointmap, by Weiszfeld's iteration (robust to outliers).

    Minimizes the sum over pixels of ``|pixel − c − f·(x/z, y/z)|`` with the principal point c at (W//2, H//2), as in
    DUSt3R-style pointmaps; ratios that are not finite count as 0.

    Args:
        points: (H, W, 3) float32 points in the camera's optical frame [m].

    Returns:
        The focal length; NaN if no pixel has a usable ratio.
    """
    height, width = points.shape[:2]
    u, v = np.meshgrid(np.arange(width) - width // 2, np.arange(height) - height // 2)
    pixels = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (points[..., :2] / points[..., 2:]).reshape(-1, 2).astype(np.float64)
    ratios = np.where(np.isfinite(ratios), ratios, 0.0)
    pixel_dot_ratio = (pixels * ratios).sum(axis=1)
    ratio_squared = (ratios * ratios).sum(axis=1)
    total = ratio_squared.sum()
    if not total > 0:
        return float("nan")
    focal = pixel_dot_ratio.sum() / total
    for _ in range(10):  # reweightings after the least-squares solution
        weights = 1.0 / np.maximum(np.linalg.norm(pixels - focal * ratios, axis=1), 1e-8)
        focal = (weights * pixel_dot_ratio).sum() / (weights * ratio_squared).sum()
    return float(focal)
