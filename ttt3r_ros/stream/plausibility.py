"""Whether a camera can have moved as the network says it has."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector

#: A network's poses are noisy: so much of a motion says nothing of its speed, however little time has passed.
SLACK_METRES, SLACK_RADIANS = 0.2, 0.2
#: What no camera that somebody carries or drives does between two frames: three times gravity, and a whip of the head.
MAX_ACCELERATION, MAX_TURN_ACCELERATION = 30.0, 60.0  #: [m/s²], [rad/s²]
#: So many recent deviations from constant velocity tell what is usual here; with fewer, only speed is judged.
RECENT, ENOUGH = 20, 5
#: A deviation below this many of the usual (median) ones is no jump.
UNUSUAL = 10.0


@dataclass(frozen=True)
class MotionMemory:
    """Where the camera was last, how it moved, and how far its last motions were from those of constant velocity."""

    stamp: int | None = None
    T_world_camera: FloatArray | None = None
    velocity: FloatArray | None = None
    deviations: tuple[tuple[float, float], ...] = ()


class MotionCheck:
    """Judges each motion by speed, and by how far it is from going on as before.

    Lengths are those of the odometry, so that a limit in metres means what it says only where its scale does.
    """

    def __init__(self) -> None:
        self.memory = MotionMemory()

    def forget(self) -> None:
        """Say that the next pose does not follow on the last one."""
        self.memory = MotionMemory()

    def resume_at(self, stamp_ns: int) -> None:
        """Say that the camera may have stopped or been carried until now [ns], no faster than it can move."""
        if self.memory.stamp is None or stamp_ns < self.memory.stamp:  # by another clock
            self.forget()
        self.memory = replace(self.memory, velocity=None, deviations=())

    def why_implausible(
        self, T_world_camera: FloatArray, stamp_ns: int, max_speed: float, max_turn_rate: float
    ) -> str | None:
        """Return why this (4, 4) pose cannot follow on the last accepted one, in one clause; None where it can.

        Args:
            T_world_camera: (4, 4) pose.
            stamp_ns: of the frame [ns].
            max_speed: that the camera can have [m/s]; 0 for any.
            max_turn_rate: that it can turn with [rad/s]; 0 for any.
        """
        memory = self.memory
        if memory.T_world_camera is None or memory.stamp is None:
            return None
        seconds = max((stamp_ns - memory.stamp) * 1e-9, 0.0)
        moved = _motion(memory.T_world_camera, T_world_camera)
        metres, radians = _lengths(moved)
        if max_speed and metres > SLACK_METRES + max_speed * seconds:
            return (
                f"the camera seems to have jumped {metres:.2f} m in {seconds:.3f} s "
                f"(max_speed allows {max_speed:g} m/s)"
            )
        if max_turn_rate and radians > SLACK_RADIANS + max_turn_rate * seconds:
            return (
                f"the camera seems to have turned {np.degrees(radians):.0f} degrees in {seconds:.3f} s "
                f"(max_turn_rate allows {max_turn_rate:g} rad/s)"
            )
        if len(memory.deviations) < ENOUGH or memory.velocity is None:
            return None
        usual_metres, usual_radians = (statistics.median(column) for column in zip(*memory.deviations))
        metres, radians = _lengths(moved - memory.velocity * seconds)
        if max_speed and metres > SLACK_METRES + MAX_ACCELERATION * seconds**2 + UNUSUAL * usual_metres:
            return f"the camera seems to have jumped {metres:.2f} m from where its motion would have taken it"
        if max_turn_rate and radians > SLACK_RADIANS + MAX_TURN_ACCELERATION * seconds**2 + UNUSUAL * usual_radians:
            return f"the camera seems to have turned {np.degrees(radians):.0f} degrees out of its motion"
        return None

    def accept(self, T_world_camera: FloatArray, stamp_ns: int) -> None:
        """Go on from this pose."""
        memory = self.memory
        velocity, deviations = memory.velocity, memory.deviations
        if memory.T_world_camera is not None and memory.stamp is not None and stamp_ns > memory.stamp:
            seconds = (stamp_ns - memory.stamp) * 1e-9
            moved = _motion(memory.T_world_camera, T_world_camera)
            if velocity is not None:
                deviations = (*deviations, _lengths(moved - velocity * seconds))[-RECENT:]
            velocity = moved / seconds
        self.memory = MotionMemory(stamp_ns, T_world_camera, velocity, deviations)


def _motion(T_world_0: FloatArray, T_world_1: FloatArray) -> FloatArray:
    """Return the (6,) translation and rotation vector from one pose to the next, in the first one's axes."""
    T_0_1 = inverse(T_world_0) @ T_world_1
    return np.concatenate([T_0_1[:3, 3], rotation_vector(T_0_1[:3, :3])])


def _lengths(motion: FloatArray) -> tuple[float, float]:
    x, y, z, *turn = motion.tolist()
    return math.hypot(x, y, z), math.hypot(*turn)
