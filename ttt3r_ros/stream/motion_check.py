"""Whether a camera can have moved as the network says it has."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector

#: A network's poses are noisy: so much of a motion says nothing of its speed, however little time has passed.
SLACK_METERS, SLACK_RADIANS = 0.2, 0.2
#: What no camera that somebody carries or drives does between two frames: three times gravity, and a whip of the head.
MAX_ACCELERATION, MAX_TURN_ACCELERATION = 30.0, 60.0  #: [m/s²], [rad/s²]
#: So many recent deviations from constant velocity tell what is usual here; with fewer, only speed is judged.
MAX_DEVIATIONS, MIN_DEVIATIONS = 20, 5
#: A deviation below this many of the usual (median) ones is no jump.
UNUSUAL = 10.0


@dataclass(frozen=True)
class MotionState:
    """Where the camera was last, how it moved, and how far its last motions were from those of constant velocity.

    Lengths are those of the odometry, so that a limit in meters means what it says only where its scale does.
    """

    stamp_ns: int | None = None
    T_world_camera: FloatArray | None = None
    velocity: FloatArray | None = None
    deviations: tuple[tuple[float, float], ...] = ()


def check(
    state: MotionState, T_world_camera: FloatArray, stamp_ns: int, max_speed: float, max_turn_rate: float
) -> str | None:
    """Return why a pose cannot follow on the last accepted one, in one clause; None where it can.

    A motion is judged by its speed, and by how far it is from going on as before.

    Args:
        state: after the last accepted pose.
        T_world_camera: (4, 4) pose.
        stamp_ns: of the frame [ns].
        max_speed: of the camera [m/s]; 0 for any.
        max_turn_rate: of the camera [rad/s]; 0 for any.
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
        return f"the camera seems to have jumped {meters:.2f} m from where its motion would have taken it"
    if max_turn_rate and radians > SLACK_RADIANS + MAX_TURN_ACCELERATION * seconds**2 + UNUSUAL * usual_radians:
        return f"the camera seems to have turned {np.degrees(radians):.0f} degrees out of its motion"
    return None


def accepted(state: MotionState, T_world_camera: FloatArray, stamp_ns: int) -> MotionState:
    """Return the state after a pose that is used."""
    velocity, deviations = state.velocity, state.deviations
    if state.T_world_camera is not None and state.stamp_ns is not None and stamp_ns > state.stamp_ns:
        seconds = (stamp_ns - state.stamp_ns) * 1e-9
        moved = _motion(state.T_world_camera, T_world_camera)
        if velocity is not None:
            deviations = (*deviations, _lengths(moved - velocity * seconds))[-MAX_DEVIATIONS:]
        velocity = moved / seconds
    return MotionState(stamp_ns, T_world_camera, velocity, deviations)


def resumed(state: MotionState, stamp_ns: int) -> MotionState:
    """Return the state of a camera that may have stopped or been carried until now [ns], no faster than it can move."""
    if state.stamp_ns is None or stamp_ns < state.stamp_ns:  # by another clock
        return MotionState()
    return replace(state, velocity=None, deviations=())


def _motion(T_world_0: FloatArray, T_world_1: FloatArray) -> FloatArray:
    """Return the (6,) translation and rotation vector from one pose to the next, in the first one's axes."""
    T_0_1 = inverse(T_world_0) @ T_world_1
    return np.concatenate([T_0_1[:3, 3], rotation_vector(T_0_1[:3, :3])])


def _lengths(motion: FloatArray) -> tuple[float, float]:
    x, y, z, *turn = motion.tolist()
    return math.hypot(x, y, z), math.hypot(*turn)
