"""Which way is up: an IMU levels the odometry frame and keeps roll and pitch from drifting.

At rest an accelerometer measures the specific force that holds it up: 9.8 m/s² upwards; while the robot moves, its own
acceleration is added. A mean over time tells the two apart. It is kept in the axes of the base, and turned with it from
frame to frame. Odometry's own rotation, where that fits the pixels, is better than a gyroscope, whose bias adds up; a
gyroscope that agrees says that it has not jumped, and then the mean may be long (`LONG_MEMORY_S`). Where it does not
agree, or the pixels do not tell, the gyroscope turns the mean. (An IMU's fused orientation tells the same without the
acceleration, and needs a short mean only.)

The first frame is placed so that z is up. Later the odometry frame is turned back, about a horizontal axis through the
robot and by at most `MAX_RATE`: nothing jumps, the position stays, and the heading is left to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, rotation_vector
from ttt3r_ros.stream.covariance import CovarianceModel, at_origin, pose_variances
from ttt3r_ros.stream.odometry import Motion, OdometryState

GRAVITY = 9.80665  #: [m/s²]
#: The mean's time constant [s]: in general, by rotations that pixels and gyroscope agree on, of fused orientations.
#: A longer one follows errors of the rotation more slowly, a shorter one mistakes more acceleration for gravity.
MEMORY_S, LONG_MEMORY_S, FUSED_MEMORY_S = 2.0, 8.0, 0.2
#: A mean that only odometry has turned for so long says no more than odometry [s].
FORGOTTEN_S = 8.0
#: The frame is turned back with this share of the time that is in the mean, at least so slowly [s], and at most this
#: fast [rad/s].
SETTLE, SETTLE_S, MAX_RATE = 0.25, 0.5, 0.1
#: A mean force between two frames whose magnitude is off by more than this is a shock and does not count [m/s²].
MAX_SHOCK = 3.0
#: A gyroscope that differs from the odometry by more than this angle between two frames [rad], or this share of it, is
#: not believed: it may use other units.
MAX_DIFFERENCE, MAX_DIFFERENT_SHARE = 0.1, 0.5
#: Odometry that differs from a gyroscope by more than this between two frames has jumped, though it fits [rad].
JUMP = 0.01
#: Standard deviation of the vertical that an accelerometer gives over minutes, by its bias [rad].
SIGMA = 0.01

UP = np.array([0.0, 0.0, 1.0])  #: in odom's axes

_ROLL_PITCH = slice(3, 5)


@dataclass(frozen=True)
class ImuSamples:
    """What an IMU has measured since the last frame, or for up to a second before the first, in the axes of the base.

    Attributes:
        stamps_ns: (n,) int64, by the camera's clock [ns].
        force: (n, 3) specific force [m/s²]: at rest it points up.
        rate: (n, 3) angular velocity [rad/s]; None without a gyroscope.
        is_fused: whether the force comes from an orientation, so that the robot's own acceleration is not in it.
    """

    stamps_ns: npt.NDArray[np.int64]
    force: FloatArray
    rate: FloatArray | None = None
    is_fused: bool = False

    def __post_init__(self) -> None:
        shape = len(self.stamps_ns), 3
        for values in (self.force, self.rate):
            if values is not None and (values.shape != shape or not np.isfinite(values).all()):
                raise UserError(f"of {shape[0]} IMU samples, forces and rates must be {shape} finite numbers")


@dataclass(frozen=True)
class GravityState:
    """What is carried from frame to frame.

    Attributes:
        force: (3,) mean force, in the axes of the base [m/s²]; None before the first.
        seconds: time that is in it [s].
        silent: time since the last force that is in it [s].
    """

    force: FloatArray | None = None
    seconds: float = 0.0
    silent: float = 0.0


def leveled(state: OdometryState, samples: ImuSamples | None, model: CovarianceModel) -> OdometryState:
    """Return the state before the first frame with a pose whose z is up and whose heading stays.

    After the first frame, or where the samples tell nothing, it is returned as it is.
    """
    if state.T_odom_world is not None or samples is None or not len(samples.force):
        return state
    force = samples.force.mean(axis=0)
    if not _is_gravity(force):
        return state
    T = np.eye(4) if state.T_odom_base is None else state.T_odom_base.copy()
    T[:3, :3] = with_up(T[:3, :3], force)
    P = at_origin(model) if state.covariance is None else state.covariance.copy()
    P[_ROLL_PITCH, :], P[:, _ROLL_PITCH] = 0.0, 0.0
    P[3, 3] = P[4, 4] = SIGMA**2
    return replace(state, T_odom_base=T, covariance=P)


def with_up(R_odom_base: FloatArray, up: FloatArray) -> FloatArray:
    """Return the rotation (3, 3) with the same heading that turns `up`, (3,) in the base, to odom's z."""
    up = up / np.linalg.norm(up)
    upright = abs(up[0]) < 0.999  # else the x axis has no heading, and what is above or below it takes its place
    ahead = np.array([1.0, 0.0, 0.0]) if upright else np.array([0.0, 0.0, -np.sign(up[0])])
    ahead = ahead - (ahead @ up) * up
    ahead /= np.linalg.norm(ahead)
    heading = np.arctan2(R_odom_base[1, 0], R_odom_base[0, 0])
    return np.asarray(turn(np.array([0.0, 0.0, heading])) @ np.stack([ahead, np.cross(up, ahead), up]))


def corrected(
    state: GravityState,
    before: OdometryState,
    motion: Motion,
    after: OdometryState,
    samples: ImuSamples | None,
    unseen: FloatArray | float = 0.0,
    *,
    is_fitted: bool = False,
) -> tuple[Motion, OdometryState, GravityState]:
    """Turn a frame's pose toward the vertical that the IMU gives.

    Args:
        state: after the last frame.
        before: odometry after the last frame.
        motion: the robot's odometry at this frame.
        after: odometry after this frame.
        samples: since the last frame; None or empty where there are none.
        unseen: covariance (6, 6) of what the camera may have moved by unseen.
        is_fitted: whether the motion fits the pixels.

    Returns:
        `motion`, `after` and `state`, corrected.
    """
    seconds = (after.stamp_ns - before.stamp_ns) * 1e-9
    if before.T_odom_world is None or not seconds > 0:
        return motion, after, GravityState()
    state = _with_samples(state, before, motion.T_odom_base, seconds, samples, is_fitted=is_fitted)
    if state.force is None or after.T_odom_world is None or after.covariance is None:
        return motion, after, state
    T = motion.T_odom_base
    up = T[:3, :3] @ state.force
    axis = np.array([up[1], -up[0], 0.0])  # up × z
    angle = float(np.arctan2(np.linalg.norm(axis), up[2]))
    settle = max(SETTLE * state.seconds, SETTLE_S)
    wanted = angle * (1 - float(np.exp(-seconds / settle)))
    turned = min(wanted, MAX_RATE * seconds)
    C = np.eye(4)
    C[:3, :3] = turn(axis / max(float(np.linalg.norm(axis)), 1e-12) * turned)
    C[:3, 3] = T[:3, 3] - C[:3, :3] @ T[:3, 3]
    P, tails = after.covariance, after.tails.copy()
    if turned == wanted:  # else it is still on its way
        is_own = samples is not None and (samples.is_fused or (samples.rate is not None and not is_fitted))
        memory = settle if is_own else max(state.seconds, settle)  # else the mean has odometry's errors
        gain = 1 - float(np.exp(-seconds / memory))
        P = informed(P, gain)
        tails[_ROLL_PITCH] *= 1 - gain
    after = replace(after, T_odom_world=C @ after.T_odom_world, T_odom_base=C @ T, covariance=P, tails=tails)
    covariances = replace(motion.covariances, pose=pose_variances(P, after.since() + unseen))
    return replace(motion, T_odom_base=C @ T, covariances=covariances), after, state


def turn(vector: FloatArray) -> FloatArray:
    """Return the rotation (3, 3) of a rotation vector (3,) [rad]."""
    return _turned(np.repeat(vector[None], 3, axis=0), np.eye(3)).T


def _with_samples(
    state: GravityState,
    before: OdometryState,
    T_odom_base: FloatArray,
    seconds: float,
    samples: ImuSamples | None,
    *,
    is_fitted: bool,
) -> GravityState:
    """Return the state after the samples between two frames, the second of which has the pose `T_odom_base`."""
    assert before.T_odom_base is not None
    seen = rotation_vector(before.T_odom_base[:3, :3].T @ T_odom_base[:3, :3])
    shares: FloatArray = np.zeros(0)
    within: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
    if samples is not None:
        shares = ((samples.stamps_ns - before.stamp_ns) * 1e-9 / seconds).astype(np.float64)
        within = (shares > 0) & (shares <= 1)
    rotation: FloatArray = seen
    memory = FUSED_MEMORY_S if samples is not None and samples.is_fused else MEMORY_S
    if samples is not None and samples.rate is not None and within.any() and np.linalg.norm(seen) > 1e-9:
        measured: FloatArray = np.asarray(samples.rate[within].mean(axis=0) * seconds)
        off = float(np.linalg.norm(measured - seen))
        if is_fitted and off <= JUMP:
            memory = memory if samples.is_fused else LONG_MEMORY_S
        elif off < MAX_DIFFERENCE + MAX_DIFFERENT_SHARE * np.linalg.norm(seen):
            rotation = measured
    mean = None if state.force is None else _turned(-rotation[None], state.force[None])[0]
    silent = state.silent + seconds
    is_lost = mean is None or silent > FORGOTTEN_S
    without = GravityState() if is_lost else replace(state, force=mean, silent=silent)
    if samples is None or not within.any():
        return without
    force = _turned((shares[within, None] - 1) * rotation, samples.force[within]).mean(axis=0)
    if not _is_gravity(force):
        return without
    if mean is None:
        return GravityState(force, seconds)
    total = min(state.seconds + seconds, memory)
    return GravityState(mean + min(seconds / total, 1.0) * (force - mean), total)


def _is_gravity(force: FloatArray) -> bool:
    return abs(float(np.linalg.norm(force)) - GRAVITY) < MAX_SHOCK


def _turned(vectors: FloatArray, points: FloatArray) -> FloatArray:
    """Turn points (n, 3), each by its rotation vector of (n, 3) [rad] (Rodrigues)."""
    angles = np.linalg.norm(vectors, axis=1, keepdims=True)
    axes = vectors / np.maximum(angles, 1e-12)
    cosines, sines = np.cos(angles), np.sin(angles)
    along = (axes * points).sum(axis=1, keepdims=True)
    y_z_x, z_x_y = [1, 2, 0], [2, 0, 1]
    across = axes[:, y_z_x] * points[:, z_x_y] - axes[:, z_x_y] * points[:, y_z_x]  # np.cross takes ten times as long
    return np.asarray(points * cosines + across * sines + axes * along * (1 - cosines))


def informed(P: FloatArray, gain: float, up: FloatArray = UP, variance: float = SIGMA**2) -> FloatArray:
    """Return the covariance (7, 7) after a correction of roll and pitch by this share of their error (Joseph's form).

    The measurement's noise is such that `variance` stays of it: successive frames see the same bias. Roll and pitch are
    the rotations about axes that are at right angles to `up`, (3,).
    """
    A, noise, level = np.eye(len(P)), np.zeros_like(P), np.eye(3) - np.outer(up, up)
    A[3:6, 3:6] -= gain * level
    noise[3:6, 3:6] = (1 - (1 - gain) ** 2) * variance * level
    return np.asarray(A @ P @ A.T + noise)
