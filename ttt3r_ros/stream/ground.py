"""A robot on its wheels, or feet, moves along the ground: where it stands on a plane, its height does not drift.

Where TF tells how the camera stands over the ground, it also tells which way is up there, and which point of the ground
lies below the camera. As long as that direction is what it was at first, the robot moves on a plane: what odometry has
of a motion across it is an error, and is taken out; roll and pitch come back to the plane within `SETTLE_M`. A ramp
turns that direction, and stairs climb faster than any error: then nothing is taken out until the robot is as level as
at first.

How far off the plane the robot seems to stand is seen at every frame: odometry's error, and what the ground is uneven.
Both together are no less than the error, so that their mean square along the way bounds what the covariance says of
roll and pitch.

Where a robot that stands level climbs, by its odometry, faster than any error, these are stairs or an error after all,
which the ground does not tell: the height that it climbs within a frame is as uncertain as it is high (frames count as
independent, so that over the many of true stairs little is added). Where it leaves the plane that it stands on faster
than robots climb stairs (`MAX_RISE`), odometry has jumped: that frame neither lifts nor tilts it.

Nothing jumps, since only motions are changed, and the pose of a robot that stands stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.covariance import pose_variances
from ttt3r_ros.stream.gravity import informed, turn
from ttt3r_ros.stream.odometry import Motion, OdometryState

#: The ground is the first plane as long as the direction up is within this angle [rad], and odometry climbs less than
#: this share of the way, in a mean along so many metres.
MAX_TILT, MAX_CLIMB, CLIMB_M = math.radians(2.0), 0.2, 0.5
#: No robot leaves the plane that it stands on, a ramp's as well, faster than this [m/s]: four stairs in a second.
MAX_RISE = 0.7
#: Roll and pitch come back to the plane along this way [m].
SETTLE_M = 2.0
#: Standard deviation of a level floor's height along a metre [m], and so of its tilt along one [rad].
UNEVEN = 0.005


@dataclass(frozen=True)
class GroundState:
    """What is carried from frame to frame, in odom's axes.

    Attributes:
        first: (3,) normal of the plane on which the robot began, and of those that it is on since; None before the
            first frame.
        foot: (3,) the point of the ground below the last camera; None where the next frame does not follow on it.
        climb: mean of what odometry climbs, over the way.
        tilt: mean square of the angle about each axis in the plane by which the robot seems to stand off it, along
            `SETTLE_M` [rad²]; at first that of a floor that is uneven by `UNEVEN`.
        at_first: variance of roll and pitch where the plane was found, by which it is wrong as well [rad²].
    """

    first: FloatArray | None = None
    foot: FloatArray | None = None
    climb: float = 0.0
    tilt: float = UNEVEN**2
    at_first: float = 0.0


def interrupted(state: GroundState) -> GroundState:
    """Return the state where the next frame does not follow on the last one."""
    return replace(state, foot=None, climb=0.0)


def corrected(
    state: GroundState,
    before: OdometryState,
    motion: Motion,
    after: OdometryState,
    T_base_camera: FloatArray,
    T_ground_camera: FloatArray | None,
    *,
    is_floor_seen: bool,
    is_level: bool,
) -> tuple[Motion, OdometryState, GroundState]:
    """Take out of a frame's motion what leads away from the plane that the robot is on.

    Args:
        state: after the last frame.
        before: odometry after the last frame.
        motion: the robot's odometry at this frame.
        after: odometry after this frame.
        T_base_camera: (4, 4) mount of the camera.
        T_ground_camera: (4, 4) pose of the camera over the ground; None where it is not known.
        is_floor_seen: whether a floor has been seen where that says that it is.
        is_level: whether odom's z is up, and roll and pitch are known from elsewhere.

    Returns:
        The motion, odometry after this frame, and the state after it.
    """
    if T_ground_camera is None or after.T_odom_world is None or after.covariance is None:
        return motion, after, interrupted(state)
    T_odom_camera = motion.T_odom_base @ T_base_camera
    up = T_odom_camera[:3, :3] @ T_ground_camera[2, :3]
    foot = T_odom_camera[:3, 3] - T_ground_camera[2, 3] * up
    if state.first is None:
        state = replace(state, first=up, at_first=_tilt_variance(after.covariance + after.since(), up))
    first = np.array([0.0, 0.0, 1.0]) if is_level else state.first
    assert first is not None
    state = replace(state, first=first)
    if state.foot is None or before.covariance is None:
        return motion, after, replace(state, foot=foot)
    stood, seconds = _stood(before, after, up), (after.stamp_ns - before.stamp_ns) * 1e-9
    if is_floor_seen and abs((foot - state.foot) @ (stood + up) / 2) > MAX_RISE * seconds > 0.0:
        rotation = np.zeros(3) if is_level else _rotation(up, stood)
        stays = foot - (foot - state.foot) @ stood * stood
        motion, after = _led(motion, after, foot, stays, rotation)
        across = (MAX_RISE * seconds) ** 2 * np.outer(stood, stood)
        motion, after = _with_variance(motion, after, across, np.outer(rotation, rotation))
        foot, up = stays, up if is_level else stood
    moved = foot - state.foot
    climbed = float(moved @ first)
    way = float(np.linalg.norm(moved - climbed * first))
    state = replace(state, foot=foot, climb=state.climb * math.exp(-way / CLIMB_M) + climbed / CLIMB_M)
    off = _angle(up, first)
    if not is_floor_seen or off >= MAX_TILT:
        return motion, after, state
    if abs(state.climb) > MAX_CLIMB:
        return *_with_variance(motion, after, climbed**2 * np.outer(first, first)), state
    share = 1.0 - math.exp(-way / SETTLE_M)
    gain, tilt = 0.0 if is_level else share, state.tilt + share * (off**2 / 2 - state.tilt)
    level = foot - climbed * first
    motion, after = _led(motion, after, foot, level, gain * _rotation(up, first))
    state = replace(state, foot=level, tilt=tilt)
    height = float(first @ (before.covariance[:3, :3] + before.since()[:3, :3]) @ first)
    after = _on_plane(after, height + UNEVEN**2 * way, first)
    if not is_level:
        after = _upright(after, gain, state.at_first + tilt, state.at_first + max(tilt, off**2 / 2), first)
    return *_with_variance(motion, after), state


def _stood(before: OdometryState, after: OdometryState, up: FloatArray) -> FloatArray:
    """Return where up (3,) was before a motion, by a robot that stands on the ground as it does after it."""
    assert before.T_odom_base is not None
    assert after.T_odom_base is not None
    return np.asarray(before.T_odom_base[:3, :3] @ after.T_odom_base[:3, :3].T @ up)


def _angle(a: FloatArray, b: FloatArray) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def _rotation(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the rotation vector (3,) of the shortest way from one direction (3,) to another [rad]."""
    axis = np.cross(a, b)
    return np.asarray(axis / max(float(np.linalg.norm(axis)), 1e-12) * _angle(a, b))


def _led(
    motion: Motion, after: OdometryState, foot: FloatArray, to: FloatArray, rotation: FloatArray
) -> tuple[Motion, OdometryState]:
    """Return a motion, and odometry after it, that leads a foot (3,) to another point, turned by a rotation vector."""
    assert after.T_odom_world is not None
    C = np.eye(4)
    C[:3, :3] = turn(rotation)
    C[:3, 3] = to - C[:3, :3] @ foot
    T_odom_base, T_odom_world = C @ motion.T_odom_base, C @ after.T_odom_world
    after = replace(after, T_odom_world=T_odom_world, T_odom_base=T_odom_base)
    return replace(motion, T_odom_base=T_odom_base), after


def _with_variance(
    motion: Motion, after: OdometryState, position: FloatArray | float = 0.0, rotation: FloatArray | float = 0.0
) -> tuple[Motion, OdometryState]:
    """Return a motion with the variances of odometry after it, both with covariances (3, 3) of its pose more."""
    assert after.covariance is not None
    P = after.covariance.copy()
    P[:3, :3] += position
    P[3:6, 3:6] += rotation
    pose = pose_variances(P, after.since())
    return replace(motion, covariances=replace(motion.covariances, pose=pose)), replace(after, covariance=P)


def _tilt_variance(P: FloatArray, normal: FloatArray) -> float:
    """Return the variance of the rotation about an axis at right angles to a normal (3,), mean of all such axes."""
    return float(np.trace(P[3:6, 3:6]) - normal @ P[3:6, 3:6] @ normal) / 2


def _on_plane(after: OdometryState, variance: float, normal: FloatArray) -> OdometryState:
    """Return odometry with the covariance of a motion along a plane.

    Args:
        after: this motion, as if it were free.
        variance: of the distance from the plane [m²].
        normal: (3,) of the plane.
    """
    assert after.covariance is not None
    across = np.outer(normal, normal)
    A = np.eye(len(after.covariance))
    A[:3, :3] -= across
    P = A @ after.covariance @ A.T
    P[:3, :3] += across * variance
    return replace(after, covariance=P, error=A @ after.error, tails=A @ after.tails)


def _upright(after: OdometryState, gain: float, tilt: float, largest: float, normal: FloatArray) -> OdometryState:
    """Return odometry whose roll and pitch have come back to a plane.

    Args:
        after: before that.
        gain: share of their error that was taken out.
        tilt: variance that stays of it in the long run [rad²].
        largest: that their variance can have, about each axis [rad²].
        normal: (3,) of the plane.
    """
    assert after.covariance is not None
    level = np.eye(3) - np.outer(normal, normal)
    P, kept = informed(after.covariance, gain, normal, tilt), 1.0 - gain
    told = _tilt_variance(P, normal)
    A = np.eye(len(P))
    if told > largest:
        A[3:6, 3:6] -= (1.0 - math.sqrt(largest / told)) * level
        P, kept = A @ P @ A.T, kept * math.sqrt(largest / told)
    T = np.eye(len(P))
    T[3:6, 3:6] -= (1.0 - kept) * level
    return replace(after, covariance=P, tails=T @ after.tails)
