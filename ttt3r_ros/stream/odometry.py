"""From camera poses in the stream's world to the robot's pose and velocity in the odometry frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, rotation_vector, twist_between
from ttt3r_ros.stream.covariance import (
    NOTHING,
    Certainty,
    CovarianceModel,
    Covariances,
    after_loss,
    after_motion,
    at_origin,
    at_pose,
    flat_variances,
    pose_variances,
    spread,
    standing_variances,
    twist_variances,
    with_keyframe,
    with_scale,
)


@dataclass(frozen=True)
class Motion:
    """The robot's odometry at one frame.

    Attributes:
        T_odom_base: (4, 4) pose.
        twist: linear [m/s] and angular [rad/s] velocity, (3,) each, in the base frame; zero where it is not known.
        covariances: of both.
        unexplained: (6,) correction of the motion to here [m, rad] that the images tell of, in the axes of the base at
            the last frame; None where they tell nothing.
        certainty: of the base, of the motion that the pixels tell; None where they do not.
        added: standard deviations [m, rad], alike in all directions, that the motion to here adds to those of the path.
    """

    T_odom_base: FloatArray
    twist: tuple[FloatArray, FloatArray]
    covariances: Covariances
    unexplained: FloatArray | None = None
    certainty: Certainty | None = None
    added: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class OdometryState:
    """All that odometry carries from frame to frame. Its frame stands where the robot's base stood at the first frame.

    Attributes:
        T_odom_world: (4, 4); None before the first frame.
        T_odom_base: (4, 4) last pose; before the first frame the pose to begin with, None for the origin.
        stamp_ns: of the last frame [ns].
        covariance: (9, 9) of position, orientation and factors up to the keyframe; see `covariance`.
        since: (6, 6) of the motion since the keyframe, in odom's axes.
        sigmas: its standard deviations [m, rad] without what it owes to keyframes before.
        tails: those of the keyframes before, each as far as this one's errors are like its own.
        confidence: the last one known.
        frames_since_confidence: how old it is: how old the covariances' evidence is; large where there has been none.
        is_interrupted: whether the next frame does not follow smoothly on the last one.
    """

    T_odom_world: FloatArray | None = None
    T_odom_base: FloatArray | None = None
    stamp_ns: int = 0
    covariance: FloatArray | None = None
    since: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))
    sigmas: tuple[float, float] = (0.0, 0.0)
    tails: tuple[float, float] = (0.0, 0.0)
    confidence: float | None = None
    frames_since_confidence: int = 1_000_000
    is_interrupted: bool = False

    def seconds_lost(self, stamp_ns: int) -> float:
        """Return the time from the last pose to a stamp [ns] if the stream has been interrupted since, else 0 [s]."""
        return (stamp_ns - self.stamp_ns) * 1e-9 if self.is_interrupted and self.T_odom_base is not None else 0.0


def interrupted(state: OdometryState) -> OdometryState:
    """Return the state where the next frame does not follow smoothly: velocity unknown, pose less certain."""
    return replace(state, is_interrupted=True)


def resumed(state: OdometryState, stamp_ns: int) -> OdometryState:
    """Return the state of a robot that stood where it is from the last frame until this time [ns]."""
    return replace(state, stamp_ns=stamp_ns, is_interrupted=True)


def remounted(
    state: OdometryState, T_base_wrong: FloatArray, T_base_camera: FloatArray, *, is_level: bool = False
) -> OdometryState:
    """Return the state as if the camera had had the second mount from the first frame on, instead of the first one.

    Position and heading continue from the last pose. Roll and pitch follow from the second mount: if they continued as
    well, the odometry frame would stay tilted (docs/adr/0034).

    Args:
        state: after the last frame.
        T_base_wrong: (4, 4) mount of the camera in all frames so far.
        T_base_camera: (4, 4) the mount that it really had.
        is_level: whether roll and pitch are known from elsewhere, so that they continue.
    """
    if state.T_odom_world is None or state.T_odom_base is None:
        return state
    T_world_camera = inverse(state.T_odom_world) @ state.T_odom_base @ T_base_wrong
    T_odom_world = state.T_odom_world @ inverse(T_base_wrong) @ T_base_camera
    T_odom_base = T_odom_world @ T_world_camera @ inverse(T_base_camera)
    turn = _heading(state.T_odom_base) - _heading(T_odom_base)
    T = np.eye(4)  # from the odometry frame with the right axes to one in which the pose continues
    T[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    T[:3, 3] = state.T_odom_base[:3, 3] - T[:3, :3] @ T_odom_base[:3, 3]
    if is_level:
        T = state.T_odom_base @ inverse(T_odom_base)
    return interrupted(replace(state, T_odom_world=T @ T_odom_world, T_odom_base=T @ T_odom_base))


def _heading(T_odom_base: FloatArray) -> float:
    """Return the direction of the base's x axis in the horizontal plane [rad]."""
    return float(np.arctan2(T_odom_base[1, 0], T_odom_base[0, 0]))


def placed(
    state: OdometryState, T_odom_base: FloatArray, covariance: FloatArray, model: CovarianceModel
) -> OdometryState:
    """Return the state of a robot whose pose is now known to be another; its velocity goes on.

    Args:
        state: after the last frame, or before the first.
        T_odom_base: (4, 4) pose at the last frame, or at the first.
        covariance: (6, 6) of position [m] and orientation [rad], both in odom's axes.
        model: how errors grow.
    """
    P = at_pose(covariance, state.covariance, model)
    T_odom_world = state.T_odom_world
    if T_odom_world is not None and state.T_odom_base is not None:
        T_odom_world = T_odom_base @ inverse(state.T_odom_base) @ T_odom_world
    return replace(state, T_odom_world=T_odom_world, T_odom_base=T_odom_base, covariance=P, since=np.zeros((6, 6)))


def flattened(motion: Motion) -> Motion:
    """Return a motion on a level floor: without height, roll, pitch and their velocities.

    The heading is that of the base's x axis, as in roll, pitch and yaw.
    """
    R, (linear, angular) = motion.T_odom_base[:3, :3], motion.twist
    heading = _heading(motion.T_odom_base)
    cosine, sine = np.cos(heading), np.sin(heading)
    T = np.eye(4)
    T[:2, :2], T[:2, 3] = [[cosine, -sine], [sine, cosine]], motion.T_odom_base[:2, 3]
    x, y, _ = R @ linear
    forward_x, forward_y, _ = R[:, 0]
    change_x, change_y, _ = np.cross(R @ angular, R[:, 0])  # of the x axis, per second
    turning = (forward_x * change_y - forward_y * change_x) / max(forward_x**2 + forward_y**2, 1e-6)
    twist = np.array([cosine * x + sine * y, cosine * y - sine * x, 0.0]), np.array([0.0, 0.0, turning])
    covariances = Covariances(flat_variances(motion.covariances.pose), flat_variances(motion.covariances.twist))
    return Motion(T, twist, covariances, added=motion.added)


def held(
    state: OdometryState,
    T_world_camera: FloatArray,
    T_base_camera: FloatArray,
    stamp_ns: int,
    model: CovarianceModel,
) -> tuple[Motion, OdometryState]:
    """Take in a frame whose camera stands where it stood: nothing moves, and nothing becomes less certain.

    A mount that turns in the meantime moves the base, but has no velocity here.

    Args:
        state: after the last frame, which had a pose.
        T_world_camera, T_base_camera, stamp_ns: see `update`.
        model: how errors grow.
    """
    assert state.T_odom_world is not None
    assert state.covariance is not None
    T_odom_base = state.T_odom_world @ T_world_camera @ inverse(T_base_camera)
    covariances = Covariances(pose_variances(state.covariance, state.since), standing_variances(model))
    new_state = replace(state, T_odom_base=T_odom_base, stamp_ns=stamp_ns, is_interrupted=False)
    return Motion(T_odom_base, (np.zeros(3), np.zeros(3)), covariances), new_state


def update(
    state: OdometryState,
    T_world_camera: FloatArray,
    T_base_camera: FloatArray,
    stamp_ns: int,
    confidence: float | None,
    model: CovarianceModel,
    unexplained: FloatArray | None = None,
    certainty: Certainty | None = None,
) -> tuple[Motion, OdometryState]:
    """Take in a frame.

    Args:
        state: after the last frame.
        T_world_camera: (4, 4) pose of the camera in the world of its first frame, optical axes.
        T_base_camera: (4, 4) mount of the camera on the robot at this moment.
        stamp_ns: of the frame [ns].
        confidence: the frame's median confidence; None where it was not computed, the last one then holds.
        model: how errors grow; its `scale` is that of the frame.
        unexplained: (6,) correction of the motion [m, rad] that the images tell of, in the axes of the last camera;
            None where they tell nothing.
        certainty: of the camera, of the motion that the pixels tell; None where they do not.
    """
    is_first, T_odom_world = state.T_odom_world is None, state.T_odom_world
    if T_odom_world is None:
        T_odom_world = T_base_camera if state.T_odom_base is None else state.T_odom_base @ T_base_camera
    T_odom_base = T_odom_world @ T_world_camera @ inverse(T_base_camera)
    age = state.frames_since_confidence + 1 if confidence is None else 0
    confidence = state.confidence if confidence is None else confidence

    P = at_origin(model) if state.covariance is None else with_scale(state.covariance, model.scale)
    state = replace(state, covariance=P)
    elapsed, seconds, twist = (stamp_ns - state.stamp_ns) * 1e-9, None, (np.zeros(3), np.zeros(3))
    in_base = None if unexplained is None else _of_base(unexplained, T_base_camera)
    before = state.T_odom_base
    if before is None or is_first:
        certainty, variances, added = None, np.zeros(6), (0.0, 0.0)
    else:
        if state.is_interrupted:
            state = replace(state, tails=(0.0, 0.0))
        elif elapsed > 0:
            seconds, twist = elapsed, twist_between(before, T_odom_base, elapsed)
        if certainty is None:
            state, sigmas = _told_by_network(state, T_odom_base, elapsed, confidence, model, in_base)
            variances, added = np.repeat(np.square(sigmas), 3), sigmas
        else:
            certainty = replace(certainty, covariance=_covariance_of_base(certainty.covariance, T_base_camera))
            variances = np.diag(model.of_motion(certainty, confidence, elapsed)).copy()
            state, added = _told_by_pixels(state, T_odom_base, certainty, confidence, model)
        if state.is_interrupted:
            assert state.covariance is not None
            state = replace(state, covariance=after_loss(state.covariance, elapsed, model))
    assert state.covariance is not None
    beside = NOTHING if in_base is None or certainty is not None else in_base
    covariances = Covariances(
        pose_variances(state.covariance, state.since), twist_variances(twist[0], variances, seconds, model, beside)
    )
    new_state = replace(
        state,
        T_odom_world=T_odom_world,
        T_odom_base=T_odom_base,
        stamp_ns=stamp_ns,
        confidence=confidence,
        frames_since_confidence=age,
        is_interrupted=False,
    )
    return Motion(T_odom_base, twist, covariances, in_base, certainty, added), new_state


def _told_by_network(
    state: OdometryState,
    T_odom_base: FloatArray,
    seconds: float,
    confidence: float | None,
    model: CovarianceModel,
    unexplained: FloatArray | None,
) -> tuple[OdometryState, tuple[float, float]]:
    """Return the state with the covariance after a motion of the network, and its standard deviations [m, rad]."""
    assert state.T_odom_base is not None
    assert state.covariance is not None
    beside = NOTHING if unexplained is None else unexplained
    translation = T_odom_base[:3, 3] - state.T_odom_base[:3, 3]
    turned = rotation_vector(state.T_odom_base[:3, :3].T @ T_odom_base[:3, :3])
    seen = _turned(state.T_odom_base, beside)
    sigmas = model.step_sigmas(
        float(np.linalg.norm(translation + seen[:3])),
        float(np.linalg.norm(turned + beside[3:])),
        confidence,
        max(seconds, 0.0) if unexplained is None else 0.0,
    )
    return replace(state, covariance=after_motion(state.covariance, translation, sigmas, seen)), sigmas


def _told_by_pixels(
    state: OdometryState,
    T_odom_base: FloatArray,
    certainty: Certainty,
    confidence: float | None,
    model: CovarianceModel,
) -> tuple[OdometryState, tuple[float, float]]:
    """Return the state with the covariance after a motion that fits pixels, and what it adds; see `Motion.added`.

    For errors with standard deviations s₁, s₂, … and the correlation ρ between neighbors, the n-th adds
    ``sₙ² + 2·sₙ·(ρ·sₙ₋₁ + ρ²·sₙ₋₂ + …)`` to the variance of the sum.
    """
    assert state.T_odom_base is not None
    assert state.covariance is not None
    P, tails, before = state.covariance, state.tails, state.since
    if certainty.is_new:
        P, before = with_keyframe(P, state.since), np.zeros((6, 6))
        correlation = model.correlation()
        tails = correlation * (tails[0] + state.sigmas[0]), correlation * (tails[1] + state.sigmas[1])
    R = np.zeros((6, 6))
    R[:3, :3] = R[3:, 3:] = T_odom_base[:3, :3]
    own = model.since_keyframe(certainty, confidence)
    sigmas = spread(own)
    more = [1.0 + 2.0 * tail / max(sigma, 1e-12) for tail, sigma in zip(tails, sigmas)]
    since = R @ (own * np.repeat(more, 3)[:, None]) @ R.T
    P = after_motion(P, T_odom_base[:3, 3] - state.T_odom_base[:3, 3], (0.0, 0.0))
    added = [math.sqrt(max(now**2 - then**2, 0.0)) for now, then in zip(spread(since), spread(before))]
    state = replace(state, covariance=P, since=since, sigmas=sigmas, tails=tails)
    return state, (added[0], added[1])


def _covariance_of_base(C: FloatArray, T_base_camera: FloatArray) -> FloatArray:
    """Return the covariance (6, 6) of a camera's pose, in its own axes, as that of the base."""
    R, (x, y, z) = T_base_camera[:3, :3], T_base_camera[:3, 3]
    J = np.zeros((6, 6))  # `_of_base`, as a matrix
    J[:3, :3] = J[3:, 3:] = R
    J[:3, 3:] = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ R
    return np.asarray(J @ C @ J.T)


def _of_base(motion: FloatArray, T_base_camera: FloatArray) -> FloatArray:
    """Return a camera's small motion (6,), translation and rotation, as that of the base in the base's axes."""
    R, p = T_base_camera[:3, :3], T_base_camera[:3, 3]
    rotation = R @ motion[3:]
    return np.concatenate([R @ motion[:3] + np.cross(p, rotation), rotation])


def _turned(T: FloatArray, motion: FloatArray) -> FloatArray:
    """Return a small motion (6,) in the axes that a pose leads to."""
    R = T[:3, :3]
    return np.concatenate([R @ motion[:3], R @ motion[3:]])
