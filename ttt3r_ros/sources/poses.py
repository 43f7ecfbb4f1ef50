"""Reads the true poses of a camera from the files that datasets store with their images."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, T_from_pose, quaternion_from_rotation

#: Returns the (4, 4) pose of the camera in the world for a frame, given its index and its time if known [ns].
PoseLookup = Callable[[int, "int | None"], "FloatArray | None"]

#: Largest time between a frame and a pose that is used without interpolation [s].
_NEAR_S = 0.02
#: Largest time between two poses that are interpolated [s].
_MAX_STEP_S = 0.1
#: Tolerance for rotations, which are stored with few digits.
_ROTATION_TOLERANCE = 0.02


class PoseTrack:
    """Poses over time, interpolated between neighbors."""

    def __init__(self, stamps_ns: Sequence[int], poses: Sequence[FloatArray]) -> None:
        """Sort the poses.

        Args:
            stamps_ns: time of each pose [ns].
            poses: (4, 4) each; poses that are not finite count as unknown.

        Attributes:
            unknown: number of those.
        """
        known = [pose for pose in zip(stamps_ns, poses, strict=True) if np.isfinite(pose[1]).all()]
        self.unknown = len(poses) - len(known)
        in_order = dict(sorted(known, key=lambda pose: pose[0]))
        self._stamps, self._poses = list(in_order), list(in_order.values())

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self._stamps)

    def at(self, stamp_ns: int) -> FloatArray | None:
        """Return the (4, 4) pose at a time [ns]; None if there is no pose near it."""
        after = bisect_left(self._stamps, stamp_ns)
        if after < len(self._stamps) and self._stamps[after] == stamp_ns:
            return self._poses[after]
        if 0 < after < len(self._stamps):
            before_ns, after_ns = self._stamps[after - 1], self._stamps[after]
            if after_ns - before_ns <= _MAX_STEP_S * 1e9:
                share = (stamp_ns - before_ns) / (after_ns - before_ns)
                return interpolate_pose(self._poses[after - 1], self._poses[after], share)
        near = [i for i in (after - 1, after) if 0 <= i < len(self._stamps)]
        nearest = min(near, key=lambda i: abs(self._stamps[i] - stamp_ns), default=None)
        if nearest is None or abs(self._stamps[nearest] - stamp_ns) > _NEAR_S * 1e9:
            return None
        return self._poses[nearest]


def interpolate_pose(T_a: FloatArray, T_b: FloatArray, share: float) -> FloatArray:
    """Return the (4, 4) pose part of the way between two poses, at constant linear and angular velocity.

    Source: Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.
    """
    q_a, q_b = quaternion_from_rotation(T_a[:3, :3]), quaternion_from_rotation(T_b[:3, :3])
    cosine = float(q_a @ q_b)
    if cosine < 0:  # take the shorter arc
        q_b, cosine = -q_b, -cosine
    angle = math.acos(min(cosine, 1.0))
    if angle < 1e-6:
        q = q_a + share * (q_b - q_a)
    else:
        q = (math.sin((1 - share) * angle) * q_a + math.sin(share * angle) * q_b) / math.sin(angle)
    return T_from_pose((1 - share) * T_a[:3, 3] + share * T_b[:3, 3], q)


def read_euroc_poses(path: Path) -> PoseTrack:
    """Read EuRoC's data.csv: time [ns], position [m] and quaternion (w, x, y, z) of the body, and further columns.

    Raises:
        UserError: the file cannot be read in this format.
    """
    stamps, poses = [], []
    for number, line in enumerate(_lines(path), start=1):
        values = line.split(",")
        try:
            stamps.append(int(values[0]))
            poses.append(T_from_pose([float(v) for v in values[1:4]], [float(v) for v in values[4:8]]))
            if len(values) < 8:
                raise ValueError("too few columns")
        except ValueError:
            raise UserError(f"{path}, pose {number}: it does not have the columns of EuRoC's ground truth") from None
    return PoseTrack(stamps, poses)


def read_pose_list(path: Path, count: int) -> PoseTrack | list[FloatArray | None]:
    """Read a file of poses: one per line with time and quaternion (TUM), or one matrix per image.

    Args:
        path: of the file, with lines of 8 numbers (TUM), of 12 or 16 (a row-major 3x4 or 4x4 matrix), or with blocks of
            four lines of 4.
        count: number of images.

    Raises:
        UserError: the file has none of these formats, or its number of matrices differs from that of images.
    """
    rows = [re.split(r"[\s,]+", line) for line in _lines(path)]
    widths = {len(row) for row in rows}
    if widths == {8}:
        return _read_tum(path, rows)
    if widths not in ({4}, {12}, {16}):
        raise UserError(f"{path} contains no poses: use lines of 8 (TUM), 12 or 16 numbers, or 4x4 matrices")
    numbers = _floats(path, " ".join(value for row in rows for value in row))
    size = 12 if widths == {12} else 16
    if len(numbers) != size * count:
        raise UserError(f"{path} contains {len(numbers) / size:g} poses, but there are {count} images")
    return [checked_pose(matrix.reshape(-1, 4)) for matrix in numbers.reshape(count, size)]


def _read_tum(path: Path, rows: list[list[str]]) -> PoseTrack:
    """Read rows of time [s], position [m] and quaternion (x, y, z, w)."""
    stamps, poses = [], []
    for stamp, *values in rows:
        try:
            x, y, z, qx, qy, qz, qw = (float(value) for value in values)
            stamps.append(int(Decimal(stamp).scaleb(9)))
        except (ValueError, ArithmeticError):
            raise UserError(f"{path} contains something other than numbers") from None
        poses.append(T_from_pose((x, y, z), (qw, qx, qy, qz)))
    return PoseTrack(stamps, poses)


def read_pose_matrix(path: Path) -> FloatArray | None:
    """Read a file with one 3x4 or 4x4 matrix; None if it marks the pose as unknown.

    Raises:
        UserError: the file cannot be read in this format.
    """
    numbers = _floats(path, " ".join(_lines(path)))
    if len(numbers) not in (12, 16):
        raise UserError(f"{path} is not a pose: it must contain a 4x4 matrix, but contains {len(numbers)} numbers")
    return checked_pose(numbers.reshape(-1, 4))


def checked_pose(matrix: FloatArray) -> FloatArray | None:
    """Return a (4, 4) pose; None if it is invalid: datasets write infinities or zeros where tracking was lost."""
    R = matrix[:3, :3]
    if (
        not np.isfinite(matrix).all()
        or np.linalg.det(R) < 0.5
        or np.abs(R @ R.T - np.eye(3)).max() > _ROTATION_TOLERANCE
    ):
        return None
    # the nearest rotation, since matrices are stored with few digits
    return T_from_pose(matrix[:3, 3], quaternion_from_rotation(R))


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that are neither empty nor comments."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _floats(path: Path, text: str) -> FloatArray:
    try:
        return np.array([float(value) for value in text.split()], dtype=np.float64)
    except ValueError:
        raise UserError(f"{path} contains something other than numbers") from None
