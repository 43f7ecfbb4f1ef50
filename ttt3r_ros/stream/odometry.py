"""From camera poses in the stream's world to the robot's pose and velocity in the odometry frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray, inverse, twist_between
from ttt3r_ros.stream.covariance import (
    SIZE,
    SOURCES,
    Certainty,
    CovarianceModel,
    Covariances,
    Measured,
    after_loss,
    after_motion,
    at_origin,
    at_pose,
    carried,
    flat_variances,
    joint,
    larger_by,
    pose_variances,
    standing_variances,
    twist_variances,
    unseen,
    with_keyframe,
    with_scale,
    with_scale_measured,
)


@dataclass(frozen=True)
class Motion:
    """The robot's odometry at one frame.

    Attributes:
        T_odom_base: (4, 4) pose.
        twist: linear [m/s] and angular [rad/s] velocity, (3,) each, in the base frame; zero where it is not known.
        covariances: of both.
        certainty: of the base, of the motion that the pixels tell; None where they do not.
        added: standard deviations [m, rad], alike in all directions, that the motion to here adds to those of the path.
    """

    T_odom_base: FloatArray
    twist: tuple[FloatArray, FloatArray]
    covariances: Covariances
    certainty: Certainty | None = None
    added: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class OdometryState:
    """All that odometry carries from frame to frame. Its frame stands where the robot's base stood at the first frame.

    Attributes:
        T_odom_world: (4, 4); None before the first frame.
        T_odom_base: (4, 4) last pose; before the first frame the pose to begin with, None for the origin.
        stamp_ns: of the last frame [ns].
        covariance: (7, 7) of position, orientation and scale up to the keyframe; see `covariance`.
        moved: (3,) since the keyframe, in odom's axes [m].
        key_confidence: of the keyframe.
        error: (SIZE, SOURCES) of the motion since the keyframe, in odom's axes; see `CovarianceModel.since_keyframe`.
        tails: (SIZE, SOURCES) those of the keyframes before, each as far as this one's is like it; see `joint`.
        confidence: the last one known.
        frames_since_confidence: how old it is: how old the covariances' evidence is; large where there has been none.
        is_interrupted: whether the next frame does not follow smoothly on the last one.
    """

    T_odom_world: FloatArray | None = None
    T_odom_base: FloatArray | None = None
    stamp_ns: int = 0
    covariance: FloatArray | None = None
    moved: FloatArray = field(default_factory=lambda: np.zeros(3))
    key_confidence: float | None = None
    error: FloatArray = field(default_factory=lambda: np.zeros((SIZE, SOURCES)))
    tails: FloatArray = field(default_factory=lambda: np.zeros((SIZE, SOURCES)))
    confidence: float | None = None
    frames_since_confidence: int = 1_000_000
    is_interrupted: bool = False

    def since(self) -> FloatArray:
        """Return the covariance (7, 7) of the motion since the keyframe, in odom's axes."""
        return joint(self.error, self.tails)

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
    T_odom_world, moved, nothing = state.T_odom_world, state.moved, np.zeros((SIZE, SOURCES))
    if T_odom_world is not None and state.T_odom_base is not None:
        T = T_odom_base @ inverse(state.T_odom_base)
        T_odom_world, moved = T @ T_odom_world, T[:3, :3] @ moved
    return replace(
        state,
        T_odom_world=T_odom_world,
        T_odom_base=T_odom_base,
        covariance=P,
        moved=moved,
        error=nothing,
        tails=nothing,
    )


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
    """Take in a frame whose camera stands where it stood: nothing moves, as far as can be seen.

    A mount that turns in the meantime moves the base, but has no velocity here.

    Args:
        state: after the last frame, which had a pose.
        T_world_camera, T_base_camera, stamp_ns: see `update`.
        model: how errors grow.
    """
    assert state.T_odom_world is not None
    assert state.covariance is not None
    T_odom_base = state.T_odom_world @ T_world_camera @ inverse(T_base_camera)
    covariances = Covariances(
        pose_variances(state.covariance, state.since() + unseen(model)), standing_variances(model)
    )
    new_state = replace(state, T_odom_base=T_odom_base, stamp_ns=stamp_ns, is_interrupted=False)
    return Motion(T_odom_base, (np.zeros(3), np.zeros(3)), covariances), new_state


def update(
    state: OdometryState,
    T_world_camera: FloatArray,
    T_base_camera: FloatArray,
    stamp_ns: int,
    confidence: float | None,
    model: CovarianceModel,
    certainty: Certainty | None = None,
    *,
    is_scale_measured: bool = False,
) -> tuple[Motion, OdometryState]:
    """Take in a frame.

    Args:
        state: after the last frame.
        T_world_camera: (4, 4) pose of the camera in the world of its first frame, optical axes.
        T_base_camera: (4, 4) mount of the camera on the robot at this moment.
        stamp_ns: of the frame [ns].
        confidence: the frame's median confidence; None where it was not computed, the last one then holds.
        model: how errors grow; its `scale` is that of the frame.
        certainty: of the camera, of the motion that the pixels tell; None where they do not.
        is_scale_measured: whether something measures the scale, see `rescaled`.
    """
    is_first, T_odom_world = state.T_odom_world is None, state.T_odom_world
    if T_odom_world is None:
        T_odom_world = T_base_camera if state.T_odom_base is None else state.T_odom_base @ T_base_camera
    T_odom_base = T_odom_world @ T_world_camera @ inverse(T_base_camera)
    age = state.frames_since_confidence + 1 if confidence is None else 0
    if confidence is None:
        confidence = state.confidence
    elif not math.isfinite(confidence):
        confidence = 1.0  # the lowest

    P = at_origin(model) if state.covariance is None else state.covariance
    state = replace(state, covariance=P if is_scale_measured else with_scale(P, model.scale))
    elapsed, seconds, twist = (stamp_ns - state.stamp_ns) * 1e-9, None, (np.zeros(3), np.zeros(3))
    before = state.T_odom_base
    if before is None or is_first:
        certainty, variances, added = None, np.zeros(6), (0.0, 0.0)
    else:
        if state.is_interrupted:
            state = _ended(state)
        elif elapsed > 0:
            seconds, twist = elapsed, twist_between(before, T_odom_base, elapsed)
        translation = T_odom_base[:3, 3] - before[:3, 3]
        if certainty is None:
            added = (0.0, 0.0) if state.is_interrupted else model.step_sigmas(elapsed, confidence)
            variances = np.repeat(np.square(added), 3)
            state = _moved(state, translation, added)
        else:
            certainty = replace(certainty, covariance=_covariance_of_base(certainty.covariance, T_base_camera))
            state, added = _told_by_pixels(state, T_odom_base, translation, certainty, confidence, model)
            in_base = before[:3, :3].T @ translation
            variances = model.of_motion(certainty, confidence, elapsed, in_base, state.key_confidence)
        if state.is_interrupted:
            assert state.covariance is not None
            state = replace(state, covariance=after_loss(state.covariance, elapsed, model))
            lost = model.lost_sigmas(elapsed)
            added = math.hypot(added[0], lost[0]), math.hypot(added[1], lost[1])
    assert state.covariance is not None
    covariances = Covariances(
        pose_variances(state.covariance, state.since()), twist_variances(twist[0], variances, seconds, model)
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
    return Motion(T_odom_base, twist, covariances, certainty, added), new_state


def rescaled(state: OdometryState, measured: Measured, model: CovarianceModel) -> OdometryState:
    """Return the state where the scale has followed what has measured it, since the last frame."""
    if state.covariance is None or measured.gain == 0.0:
        return state
    has_keyframe = bool(state.error.any())  # else the motion does not rest on one's depth
    depth = model.depth * model.factor(state.key_confidence) if has_keyframe else 0.0
    P, tails = with_scale_measured(state.covariance, state.tails, measured, depth)
    return replace(state, covariance=P, tails=tails)


def _ended(state: OdometryState) -> OdometryState:
    """Return the state whose errors so far are made, and have nothing to do with what comes.

    Where the keyframe outlives the interruption, the error since then counts twice, rather than not at all.
    """
    assert state.covariance is not None
    nothing = np.zeros((SIZE, SOURCES))
    return replace(state, covariance=with_keyframe(state.covariance, state.since()), error=nothing, tails=nothing)


def _moved(state: OdometryState, translation: FloatArray, sigmas: tuple[float, float] = (0.0, 0.0)) -> OdometryState:
    """Return the state after a motion (3,) in odom's axes that adds these standard deviations, see `after_motion`."""
    assert state.covariance is not None
    return replace(
        state,
        covariance=after_motion(state.covariance, translation, sigmas),
        moved=state.moved + translation,
        error=carried(state.error, translation),
        tails=carried(state.tails, translation),
    )


def _told_by_pixels(
    state: OdometryState,
    T_odom_base: FloatArray,
    translation: FloatArray,
    certainty: Certainty,
    confidence: float | None,
    model: CovarianceModel,
) -> tuple[OdometryState, tuple[float, float]]:
    """Return the state with the covariance after a motion that fits pixels, and what it adds; see `Motion.added`."""
    before = state.since()
    if certainty.is_new:
        assert state.covariance is not None
        state = replace(
            state,
            covariance=with_keyframe(state.covariance, before),
            tails=model.correlation() * (state.tails + state.error),
            moved=np.zeros(3),
            key_confidence=state.confidence,
        )
        before = np.zeros((SIZE, SIZE))
    state, R = _moved(state, translation), T_odom_base[:3, :3]
    error = model.since_keyframe(certainty, confidence, R, state.moved, state.key_confidence)
    state = replace(state, error=error)
    return state, larger_by(before, state.since())


def _covariance_of_base(C: FloatArray, T_base_camera: FloatArray) -> FloatArray:
    """Return the covariance (6, 6) of a camera's pose, in its own axes, as that of the base."""
    R, (x, y, z) = T_base_camera[:3, :3], T_base_camera[:3, 3]
    J = np.zeros((6, 6))
    J[:3, :3] = J[3:, 3:] = R
    J[:3, 3:] = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ R
    return np.asarray(J @ C @ J.T)
