"""From camera poses in the stream's world to the robot's pose and velocity in the odometry frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt3r_ros.covariance import Covariances, covariances
from ttt3r_ros.geometry import FloatArray, inverse, twist_between


@dataclass(frozen=True)
class Motion:
    """The robot's odometry at one frame.

    Attributes:
        T_odom_base: (4, 4) pose.
        twist: linear [m/s] and angular [rad/s] velocity, (3,) each, in the base frame; zero where it is not known.
        covariances: of both.
    """

    T_odom_base: FloatArray
    twist: tuple[FloatArray, FloatArray]
    covariances: Covariances


class Odometry:
    """Follows one robot. The odometry frame stands where the robot's base stood at the first frame."""

    def __init__(self) -> None:
        self._T_odom_world: FloatArray | None = None
        self._previous: tuple[int, FloatArray] | None = None
        self._confidence = float("nan")
        #: Frames since a confidence was given; how old the covariances' evidence is.
        self.frames_since_confidence = 1_000_000

    def break_velocity(self) -> None:
        """Say that the next frame does not follow smoothly on the last one, so that no velocity is known."""
        self._previous = None

    def update(
        self, T_world_camera: FloatArray, T_base_camera: FloatArray, stamp: int, confidence: float | None
    ) -> Motion:
        """Take in a frame.

        Args:
            T_world_camera: (4, 4) pose of the camera in the world of its first frame, optical axes.
            T_base_camera: (4, 4) mount of the camera on the robot at this moment.
            stamp: of the frame [ns].
            confidence: the frame's median confidence; None where it was not computed, the last one then holds.
        """
        if self._T_odom_world is None:
            self._T_odom_world = T_base_camera
        T_odom_base = self._T_odom_world @ T_world_camera @ inverse(T_base_camera)
        if confidence is None:
            self.frames_since_confidence += 1
        else:
            self._confidence, self.frames_since_confidence = confidence, 0

        seconds, twist = None, (np.zeros(3), np.zeros(3))
        if self._previous is not None and stamp > self._previous[0]:
            seconds = (stamp - self._previous[0]) * 1e-9
            twist = twist_between(self._previous[1], T_odom_base, seconds)
        self._previous = (stamp, T_odom_base)
        return Motion(T_odom_base, twist, covariances(self._confidence, seconds))
