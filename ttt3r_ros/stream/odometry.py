"""From camera poses in the stream's world to the robot's pose and velocity in the odometry frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector, twist_between
from ttt3r_ros.stream.covariance import (
    CovarianceModel,
    Covariances,
    after_loss,
    after_motion,
    at_origin,
    pose_variances,
    twist_variances,
)


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


@dataclass(frozen=True)
class OdometryMemory:
    """All that odometry carries from frame to frame.

    Attributes:
        T_odom_world: (4, 4); None before the first frame.
        T_odom_base: (4, 4) last pose.
        stamp: of the last frame [ns].
        covariance: (7, 7) of position, orientation and scale; see `covariance`.
        tails: of the errors of the motions so far [m, rad]; see `CovarianceModel.added`.
        confidence: the last one known.
        frames_since_confidence: how old it is; large where there has been none.
        interrupted: whether the next frame does not follow smoothly on the last one.
    """

    T_odom_world: FloatArray | None = None
    T_odom_base: FloatArray | None = None
    stamp: int = 0
    covariance: FloatArray | None = None
    tails: tuple[float, float] = (0.0, 0.0)
    confidence: float | None = None
    frames_since_confidence: int = 1_000_000
    interrupted: bool = False


class Odometry:
    """Follows one robot. The odometry frame stands where the robot's base stood at the first frame."""

    def __init__(self, model: CovarianceModel | None = None) -> None:
        self.model = CovarianceModel() if model is None else model
        self.memory = OdometryMemory()

    @property
    def frames_since_confidence(self) -> int:
        """Frames since a confidence was given: how old the covariances' evidence is."""
        return self.memory.frames_since_confidence

    def seconds_lost(self, stamp: int) -> float:
        """Return the time from the last pose to a stamp [ns] if the stream has been interrupted since, else 0 [s]."""
        memory = self.memory
        return (stamp - memory.stamp) * 1e-9 if memory.interrupted and memory.T_odom_base is not None else 0.0

    def interrupt(self) -> None:
        """Say that the next frame does not follow smoothly on the last one: no velocity is known, less of the pose."""
        self.memory = replace(self.memory, interrupted=True)

    def resume_at(self, stamp: int) -> None:
        """Say that the robot stood where it is from the last frame until this time [ns]."""
        self.memory = replace(self.memory, stamp=stamp, interrupted=True)

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
        memory, model = self.memory, self.model
        T_odom_world = T_base_camera if memory.T_odom_world is None else memory.T_odom_world
        T_odom_base = T_odom_world @ T_world_camera @ inverse(T_base_camera)
        age = memory.frames_since_confidence + 1 if confidence is None else 0
        confidence = memory.confidence if confidence is None else confidence

        P = at_origin(model) if memory.covariance is None else memory.covariance
        tails = (0.0, 0.0)
        sigmas, seconds, twist = (0.0, 0.0), None, (np.zeros(3), np.zeros(3))
        if memory.T_odom_base is not None:
            elapsed = (stamp - memory.stamp) * 1e-9
            translation = T_odom_base[:3, 3] - memory.T_odom_base[:3, 3]
            turned = float(np.linalg.norm(rotation_vector(memory.T_odom_base[:3, :3].T @ T_odom_base[:3, :3])))
            sigmas = model.step_sigmas(float(np.linalg.norm(translation)), turned, confidence)
            tails = (0.0, 0.0) if memory.interrupted else memory.tails
            added, tails = model.added(model.lasting(sigmas), tails, max(elapsed, 0.0))
            P = after_motion(P, translation, added)
            if memory.interrupted:
                P = after_loss(P, elapsed, model)
            elif elapsed > 0:
                seconds, twist = elapsed, twist_between(memory.T_odom_base, T_odom_base, elapsed)
        self.memory = OdometryMemory(
            T_odom_world=T_odom_world,
            T_odom_base=T_odom_base,
            stamp=stamp,
            covariance=P,
            tails=tails,
            confidence=confidence,
            frames_since_confidence=age,
        )
        pose = pose_variances(P, model.passing(sigmas))
        covariances = Covariances(pose, twist_variances(twist[0], sigmas, seconds, model))
        return Motion(T_odom_base, twist, covariances)
