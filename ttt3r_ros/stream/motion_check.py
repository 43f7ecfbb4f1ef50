"""Rejects poses that the camera cannot have reached."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector

#: Tolerance for pose noise, which is independent of the time between frames.
SLACK_METERS, SLACK_RADIANS = 0.2, 0.2
#: No carried or driven camera accelerates faster: three times gravity, and a whip of the head [m/s², rad/s²].
MAX_ACCELERATION, MAX_TURN_ACCELERATION = 30.0, 60.0
#: Over less time than this, noise of poses and of stamps tells no velocity [s].
MIN_SECONDS = 0.008
#: Recent deviations from constant velocity that define what is usual; below the minimum, only speed is checked.
MAX_DEVIATIONS, MIN_DEVIATIONS = 20, 5
#: A deviation is a jump only above this multiple of the usual (median) one.
UNUSUAL = 10.0


@dataclass(frozen=True)
class MotionState:
    """The camera's last pose, its velocity, and its last deviations from constant velocity.

    Lengths are in the odometry's scale, so limits in meters are only as accurate as that scale.
    """

    stamp_ns: int | None = None
    T_world_camera: FloatArray | None = None
    velocity: FloatArray | None = None
    deviations: tuple[tuple[float, float], ...] = ()


def check(
    state: MotionState, T_world_camera: FloatArray, stamp_ns: int, max_speed: float, max_turn_rate: float
) -> str | None:
    """Return why a pose cannot follow the last accepted one, in one clause, or None if it can.

    The check looks at the speed of the motion and at its deviation from constant velocity.

    Args:
        state: state after the last accepted pose.
        T_world_camera: (4, 4) pose.
        stamp_ns: stamp of the frame [ns].
        max_speed: maximum speed of the camera [m/s]; 0 for no limit.
        max_turn_rate: maximum turn rate of the camera [rad/s]; 0 for no limit.
    """
    if state.T_world_camera is None or state.stamp_ns is None:
        return None
    seconds = max((stamp_ns - state.stamp_ns) * 1e-9, 0.0)
    moved = _motion(state.T_world_camera, T_world_camera)
    meters, radians = _lengths(moved)
    if max_speed and meters > SLACK_METERS + max_speed * seconds:
        return f"the camera seems to have jumped {meters:.2f} m in {seconds:.3f} s (max_speed allows {max_speed:g} m/s)"
    if max_turn_rate and radians > SLACK_RADIANS + max_turn_rate * seconds:
        return (
            f"the camera seems to have turned {np.degrees(radians):.0f} degrees in {seconds:.3f} s "
            f"(max_turn_rate allows {max_turn_rate:g} rad/s)"
        )
    if len(state.deviations) < MIN_DEVIATIONS or state.velocity is None:
        return None
    usual_meters, usual_radians = (statistics.median(column) for column in zip(*state.deviations))
    meters, radians = _lengths(moved - state.velocity * seconds)
    if max_speed and meters > SLACK_METERS + MAX_ACCELERATION * seconds**2 + UNUSUAL * usual_meters:
        return f"the camera seems to have jumped {meters:.2f} m from its predicted position"
    if max_turn_rate and radians > SLACK_RADIANS + MAX_TURN_ACCELERATION * seconds**2 + UNUSUAL * usual_radians:
        return f"the camera seems to have turned {np.degrees(radians):.0f} degrees from its predicted orientation"
    return None


def accepted(state: MotionState, T_world_camera: FloatArray, stamp_ns: int) -> MotionState:
    """Return the state after an accepted pose."""
    velocity, deviations = state.velocity, state.deviations
    if state.T_world_camera is not None and state.stamp_ns is not None and stamp_ns > state.stamp_ns:
        seconds = (stamp_ns - state.stamp_ns) * 1e-9
        moved = _motion(state.T_world_camera, T_world_camera)
        if velocity is not None:
            deviations = (*deviations, _lengths(moved - velocity * seconds))[-MAX_DEVIATIONS:]
        velocity = moved / seconds if seconds >= MIN_SECONDS else None
    return MotionState(stamp_ns, T_world_camera, velocity, deviations)


def held(state: MotionState, stamp_ns: int) -> MotionState:
    """Return the state of a camera that has stood where it was until now [ns]."""
    return replace(state, stamp_ns=stamp_ns, velocity=None if state.velocity is None else np.zeros(6))


def resumed(state: MotionState, stamp_ns: int) -> MotionState:
    """Return the state after an interruption until now [ns], in which the camera may have moved at any legal speed."""
    if state.stamp_ns is None or stamp_ns < state.stamp_ns:  # a different clock
        return MotionState()
    return replace(state, velocity=None, deviations=())


def _motion(T_world_0: FloatArray, T_world_1: FloatArray) -> FloatArray:
    """Return the translation and rotation vector (6,) from one pose to the next, in the first pose's axes."""
    T_0_1 = inverse(T_world_0) @ T_world_1
    return np.concatenate([T_0_1[:3, 3], rotation_vector(T_0_1[:3, :3])])


def _lengths(motion: FloatArray) -> tuple[float, float]:
    x, y, z, *turn = motion.tolist()
    return math.hypot(x, y, z), math.hypot(*turn)
