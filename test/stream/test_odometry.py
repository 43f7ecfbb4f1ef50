from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import R_BODY_OPTICAL, T_from_pose, inverse, rotation_from_quaternion, twist_between
from ttt3r_ros.stream.covariance import FLAT, Certainty, CovarianceModel, Covariances, Measured
from ttt3r_ros.stream.odometry import (
    Motion,
    OdometryState,
    flattened,
    held,
    interrupted,
    placed,
    remounted,
    rescaled,
    update,
)

#: A camera that looks forward, 0.3 m ahead of the base's origin and 0.8 m above it.
T_BASE_CAMERA = np.eye(4)
T_BASE_CAMERA[:3, :3], T_BASE_CAMERA[:3, 3] = R_BODY_OPTICAL, [0.3, 0.0, 0.8]
SECOND = 1_000_000_000


class Odometry:
    """Keeps the state between the pure functions' calls."""

    def __init__(self, model: CovarianceModel | None = None) -> None:
        self.state, self.model = OdometryState(), model or CovarianceModel()

    def update(self, *frame) -> Motion:
        motion, self.state = update(self.state, *frame, self.model)
        return motion

    def told(self, T_world_camera: np.ndarray, stamp_ns: int, certainty: Certainty, model: CovarianceModel) -> Motion:
        """Take in a frame whose motion the pixels tell."""
        motion, self.state = update(self.state, T_world_camera, T_BASE_CAMERA, stamp_ns, 3.0, model, certainty)
        return motion


def camera_in_world(T_odom_base: np.ndarray) -> np.ndarray:
    """Return the pose of the mounted camera in the frame of where it stood when the base was at the origin."""
    return inverse(T_BASE_CAMERA) @ T_odom_base @ T_BASE_CAMERA


def test_the_base_starts_at_the_origin():
    motion = Odometry().update(np.eye(4), T_BASE_CAMERA, 5, 3.0)
    np.testing.assert_allclose(motion.T_odom_base, np.eye(4), atol=1e-12)


def test_a_camera_that_moves_along_its_own_axis_drives_the_robot_forward():
    odometry = Odometry()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    forward = T_from_pose([0.0, 0.0, 2.0], [1, 0, 0, 0])  # optical z
    motion = odometry.update(forward, T_BASE_CAMERA, 4 * SECOND, 3.0)
    np.testing.assert_allclose(motion.T_odom_base[:3, 3], [2.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(motion.twist[0], [0.5, 0.0, 0.0], atol=1e-12)


def test_turning_on_the_spot_moves_the_camera_but_not_the_base():
    odometry = Odometry()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    turned = np.eye(4)
    turned[:3, :3] = rotation_from_quaternion([np.cos(0.2), 0, 0, np.sin(0.2)])  # 0.4 rad to the left
    motion = odometry.update(camera_in_world(turned), T_BASE_CAMERA, SECOND // 2, 3.0)
    np.testing.assert_allclose(motion.T_odom_base, turned, atol=1e-12)
    np.testing.assert_allclose(motion.twist[0], np.zeros(3), atol=1e-9)
    np.testing.assert_allclose(motion.twist[1], [0.0, 0.0, 0.8], atol=1e-9)


def test_a_camera_that_pans_on_a_standing_robot_moves_nothing():
    odometry = Odometry()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    pan = np.eye(4)
    pan[:3, :3] = rotation_from_quaternion([np.cos(0.3), 0, np.sin(0.3), 0])  # about optical y
    motion = odometry.update(pan, T_BASE_CAMERA @ pan, SECOND, 3.0)
    np.testing.assert_allclose(motion.T_odom_base, np.eye(4), atol=1e-12)


def test_without_a_frame_before_or_time_between_no_velocity_is_known():
    odometry = Odometry()
    forward = T_from_pose([0.0, 0.0, 2.0], [1, 0, 0, 0])
    unknown = [odometry.update(np.eye(4), T_BASE_CAMERA, SECOND, 3.0)]
    unknown.append(odometry.update(forward, T_BASE_CAMERA, SECOND, 3.0))  # the same stamp again
    unknown.append(odometry.update(forward, T_BASE_CAMERA, 0, 3.0))  # back in time
    odometry.state = interrupted(odometry.state)
    unknown.append(odometry.update(np.eye(4), T_BASE_CAMERA, 2 * SECOND, 3.0))
    for motion in unknown:
        assert not np.any(motion.twist)
        assert motion.covariances.twist.min() > 1000
    assert odometry.update(forward, T_BASE_CAMERA, 3 * SECOND, 3.0).covariances.twist.max() < 1000


def test_the_last_confidence_holds_until_another_comes():
    odometry, certainty = Odometry(), fits([0.01] * 6, is_new=False)
    twists = []
    for n, confidence in enumerate([10.0, 10.0, None, 1.1]):
        T, frame = np.eye(4), (T_BASE_CAMERA, n * SECOND, confidence, CovarianceModel(), certainty)
        motion, odometry.state = update(odometry.state, T, *frame)
        twists.append(motion.covariances.twist)
        assert odometry.state.frames_since_confidence == (confidence is None)
    np.testing.assert_allclose(twists[1], twists[2])
    assert (twists[3] > twists[2]).all()


def test_a_pose_is_less_sure_the_longer_the_way_and_after_an_interruption():
    odometry, spreads = Odometry(), []
    for n in range(10):
        T = T_from_pose([0.0, 0.0, float(n)], [1, 0, 0, 0])
        spreads.append(odometry.update(T, T_BASE_CAMERA, n * SECOND, 3.0).covariances.pose)
    assert (np.diff(spreads, axis=0) > 0).all()
    before = odometry.state
    smooth = odometry.update(T, T_BASE_CAMERA, 12 * SECOND, 3.0).covariances.pose
    odometry.state = interrupted(before)
    assert odometry.state.seconds_lost(12 * SECOND) == 3.0
    jump = odometry.update(T, T_BASE_CAMERA, 12 * SECOND, 3.0).covariances.pose
    assert (jump > smooth + 0.5).all()
    assert odometry.state.seconds_lost(15 * SECOND) == 0.0


unit = st.floats(-1, 1)
poses = st.builds(
    lambda t, q: T_from_pose(t, np.add(q, [1.5, 0, 0, 0])),
    st.tuples(unit, unit, unit),
    st.tuples(unit, unit, unit, unit),
)
places_and_turns = st.lists(st.tuples(unit, unit, st.floats(-0.7, 0.7)), min_size=3, max_size=6)


@given(poses, poses, places_and_turns)
def test_a_corrected_mount_is_as_if_it_had_been_known_but_for_position_and_heading(T_base_camera, T_wrong, path):
    """The twin: an odometry that knew the mount from the start, moved to where the corrected one stands."""
    bases = [T_from_pose([x, y, 0.0], [np.cos(turn), 0, 0, np.sin(turn)]) for x, y, turn in path]
    cameras = [inverse(bases[0] @ T_base_camera) @ T @ T_base_camera for T in bases]
    corrected, twin = Odometry(), Odometry()
    for index, camera in enumerate(cameras[:-1]):
        before = corrected.update(camera, T_wrong, index * SECOND, 3.0).T_odom_base
        twin_before = twin.update(camera, T_base_camera, index * SECOND, 3.0).T_odom_base
    corrected.state = remounted(corrected.state, T_wrong, T_base_camera)
    T = corrected.state.T_odom_base @ inverse(twin_before)
    np.testing.assert_allclose(T[2, :3], [0, 0, 1], atol=1e-9)  # a turn about the vertical: axes as in the twin
    np.testing.assert_allclose(corrected.state.T_odom_base[:3, 3], before[:3, 3], atol=1e-9)
    if np.hypot(*before[:2, 0]) > 0.01:  # else its x axis points up and has no heading
        heading, then = (np.arctan2(P[1, 0], P[0, 0]) for P in (before, corrected.state.T_odom_base))
        assert np.cos(heading - then) == pytest.approx(1.0, abs=1e-9)
    after = corrected.update(cameras[-1], T_base_camera, len(path) * SECOND, 3.0)
    expected = twin.update(cameras[-1], T_base_camera, len(path) * SECOND, 3.0)
    np.testing.assert_allclose(after.T_odom_base, T @ expected.T_odom_base, atol=1e-9)
    assert after.covariances.twist[0] > 1000  # not known, once
    assert corrected.update(cameras[-1], T_base_camera, (len(path) + 1) * SECOND, 3.0).covariances.twist[0] < 1000


def test_before_the_first_frame_there_is_nothing_to_correct():
    state = OdometryState()
    assert remounted(state, np.eye(4), T_BASE_CAMERA) is state


def driven(seed: int, frames: int = 12) -> list[np.ndarray]:
    """Return poses of a base that goes and turns at random."""
    rng, T, poses = np.random.default_rng(seed), np.eye(4), []
    for _ in range(frames):
        poses.append(T)
        T = T @ T_from_pose(rng.normal(0, 0.1, 3), [1, *rng.normal(0, 0.1, 3)])
    return poses


@pytest.mark.slow
@given(st.integers(0, 1000))
def test_on_a_level_floor_there_is_no_height_roll_or_pitch(seed):
    odometry = Odometry()
    for n, T in enumerate(driven(seed)):
        motion = odometry.update(camera_in_world(T), T_BASE_CAMERA, n * SECOND, 3.0)
        flat = flattened(motion)
        np.testing.assert_allclose(flat.T_odom_base[:2, 3], motion.T_odom_base[:2, 3])
        np.testing.assert_allclose(flat.T_odom_base[2], [0, 0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(flat.T_odom_base[:3, :3] @ flat.T_odom_base[:3, :3].T, np.eye(3), atol=1e-12)
        assert heading(flat.T_odom_base) == pytest.approx(heading(motion.T_odom_base))
        assert flat.added == motion.added
        (_, _, vz), (wx, wy, _) = flat.twist
        assert (vz, wx, wy) == (0, 0, 0)
        for flat_variances, variances in zip(vars(flat.covariances).values(), vars(motion.covariances).values()):
            assert (flat_variances[2:5] == FLAT).all()
            assert (flat_variances[[0, 1, 5]] == variances[[0, 1, 5]]).all()


@given(st.integers(0, 1000))
def test_the_flat_velocity_is_that_of_the_flat_poses(seed):
    """Over a short time, in which the 3D pose's velocity does not change."""
    rng = np.random.default_rng(seed)
    linear, angular, seconds = rng.normal(0, 1, 3), rng.normal(0, 1, 3), 1e-6
    before = T_from_pose(rng.normal(0, 1, 3), [1, *rng.normal(0, 0.2, 3)])
    after = before @ T_from_pose(linear * seconds, [1, *(angular * seconds / 2)])
    unknown = Covariances(np.ones(6), np.ones(6))
    flats = [flattened(Motion(T, (linear, angular), unknown)) for T in (before, after)]
    expected = twist_between(flats[0].T_odom_base, flats[1].T_odom_base, seconds)
    np.testing.assert_allclose(flats[1].twist[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(flats[1].twist[1], expected[1], atol=1e-4)


def heading(T: np.ndarray) -> float:
    return float(np.arctan2(T[1, 0], T[0, 0]))


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(0, 6))
def test_odometry_goes_on_from_a_pose_that_is_set(seed, when):
    """The same motions, with the same velocities, begin at the pose that was set: before the first frame, or after."""
    poses, start = driven(seed), T_from_pose([3.0, -2.0, 0.5], [0.8, 0.1, -0.2, 0.5])
    covariance = np.diag([0.1, 0.2, 0.3, 0.04, 0.05, 0.06])
    odometry, undisturbed = Odometry(), Odometry()
    for n, T in enumerate(poses):
        if n == when:
            odometry.state = placed(odometry.state, start, covariance, CovarianceModel())
        frame = (camera_in_world(T), T_BASE_CAMERA, n * SECOND, 3.0)
        motion, other = odometry.update(*frame), undisturbed.update(*frame)
        if n >= when:
            expected = start @ inverse(poses[max(when - 1, 0)]) @ T
            np.testing.assert_allclose(motion.T_odom_base, expected, atol=1e-9)
            assert (motion.covariances.pose >= 0.99 * np.diag(covariance)).all()
        for part in (0, 1):
            np.testing.assert_allclose(motion.twist[part], other.twist[part], atol=1e-9)
        np.testing.assert_allclose(motion.covariances.twist, other.covariances.twist)


def test_a_pose_that_is_set_is_as_certain_as_it_is_said_to_be():
    odometry = Odometry()
    for n, T in enumerate(driven(1)):
        odometry.update(camera_in_world(T), T_BASE_CAMERA, n * SECOND, 3.0)
    scale = odometry.state.covariance[6, 6]
    covariance = np.diag([0.1, 0.2, 0.3, 0.04, 0.05, 0.06])
    odometry.state = placed(odometry.state, np.eye(4), covariance, CovarianceModel())
    np.testing.assert_array_equal(odometry.state.covariance[:6, :6], covariance)
    np.testing.assert_array_equal(odometry.state.covariance[6], [0, 0, 0, 0, 0, 0, scale])


PLAIN = CovarianceModel(
    since_keyframe_translation=1.0,
    since_keyframe_rotation=1.0,
    depth=0.0,
    depth_aside=0.0,
    scale=0.0,
    confidence_power=0.0,
    memory=0.0,
    depth_memory=0.0,
)


def fits(variances: list[float], *, is_new: bool) -> Certainty:
    return Certainty(np.diag(variances), is_new)


def test_errors_since_a_keyframe_do_not_add_up_and_those_of_keyframes_do():
    """Three keyframes, each of three frames that are as uncertain as one another."""
    odometry = Odometry()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    found = []
    for i in range(9):
        certainty = fits([0.01] * 3 + [0.0] * 3, is_new=i % 3 == 0)
        found.append(odometry.told(np.eye(4), (i + 1) * SECOND, certainty, PLAIN).covariances.pose[0])
    np.testing.assert_allclose(found, np.repeat([0.01, 0.02, 0.03], 3), rtol=1e-6)


def test_errors_of_neighboring_keyframes_that_are_alike_add_up_faster():
    """The naive twin: the variance of a sum of errors, each with the correlation ρⁿ to the one n before."""
    model, odometry, found = replace(PLAIN, memory=2.0), Odometry(), []
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    sigmas = np.array([0.1, 0.2, 0.05, 0.1, 0.3])
    for i, sigma in enumerate(sigmas):
        certainty = fits([sigma**2] * 3 + [0.0] * 3, is_new=True)
        motion = odometry.told(np.eye(4), (i + 1) * SECOND, certainty, model)
        found.append(motion.covariances.pose[1])
    apart = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    joint = np.outer(sigmas, sigmas) * np.exp(-apart / 2.0)
    np.testing.assert_allclose(found, [joint[: n + 1, : n + 1].sum() for n in range(5)], rtol=1e-6)


def test_errors_of_keyframes_that_are_alike_cancel_in_a_turn_on_the_spot():
    """The naive twin: errors that the camera sees in the same place all the time, summed in odom's axes."""
    model, odometry, rng = replace(PLAIN, memory=3.0), Odometry(), np.random.default_rng(0)
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    drawn, total, found = 0.1 * rng.normal(size=(20_000, 3)), np.zeros((20_000, 3)), []
    for i in range(6):
        angle, T = (i + 1) * np.pi / 3, np.eye(4)
        T[:3, :3] = rotation_from_quaternion([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        certainty = fits([0.01] * 3 + [0.0] * 3, is_new=True)
        motion = odometry.told(camera_in_world(T), (i + 1) * SECOND, certainty, model)
        total += drawn @ T[:3, :3].T
        rho = np.exp(-1 / 3.0)
        drawn = rho * drawn + np.sqrt(1 - rho**2) * 0.1 * rng.normal(size=drawn.shape)
        found.append(motion.covariances.pose[:3] / np.square(total).mean(axis=0))
    np.testing.assert_allclose(found, 1.0, atol=0.05)


def test_a_camera_that_stands_still_may_have_moved_by_what_is_not_seen():
    """While it stands, and as little after an hour as after a frame."""
    odometry, model = Odometry(), CovarianceModel()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    for stamp in (SECOND, 3600 * SECOND):
        motion, odometry.state = held(odometry.state, np.eye(4), T_BASE_CAMERA, stamp, model)
        expected = np.repeat([model.standing_metres, model.standing_radians], 3) ** 2
        np.testing.assert_allclose(motion.covariances.pose, expected)
    assert not odometry.state.covariance[:6, :6].any()


def test_where_errors_cancel_the_pose_becomes_more_certain_and_the_path_no_less():
    """Half turns on the spot, with errors that are all but the same: the second takes back what the first has done."""
    odometry, motions = Odometry(), []
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    for i in range(2):
        T = np.diag([(-1.0) ** i, (-1.0) ** i, 1.0, 1.0])
        certainty = fits([0.01, 0.0, 0.01, 0.0, 0.0, 0.0], is_new=True)
        motions.append(odometry.told(camera_in_world(T), (i + 1) * SECOND, certainty, replace(PLAIN, memory=100.0)))
    first, second = (motion.covariances.pose for motion in motions)
    assert (second[:2] < 0.05 * first[:2]).all()
    assert motions[0].added[0] > 0.0 == motions[1].added[0]


def test_a_wrong_depth_of_the_keyframe_makes_motion_since_then_wrong_by_a_share():
    """As much as its keyframe is unsure; another keyframe's error is its own where nothing is remembered."""
    model = replace(PLAIN, depth=0.2, depth_aside=0.05, confidence_power=1.0)
    odometry = Odometry(model)
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 2.0)
    found = []
    for i, moved in enumerate([0.5, 1.0, 1.5]):
        T, certainty = T_from_pose([moved, 0.0, 0.0], [1, 0, 0, 0]), fits([0.0] * 6, is_new=i != 1)
        found.append(odometry.told(camera_in_world(T), (i + 1) * SECOND, certainty, model))
    shares = 0.05**2 + np.array([0.2, 0, 0]) ** 2
    first, second = shares / 2.0**2, shares / 3.0**2  # the second is the frame before, of confidence 3
    wanted = [0.25 * first, first, first + 0.25 * second]
    np.testing.assert_allclose([motion.covariances.pose[:3] for motion in found], wanted, rtol=1e-4)
    wanted = [0.25 * first, 0.25 * first, 0.25 * second]
    np.testing.assert_allclose([motion.covariances.twist[:3] for motion in found], wanted, rtol=1e-4)


def test_the_scale_makes_up_for_a_depth_only_where_the_motion_rests_on_one():
    model, measured, variances = replace(PLAIN, depth=0.2, scale=0.05, confidence_power=0.0), Measured(0.5, 1e-4), []
    for by_pixels in (False, True):
        odometry, T = Odometry(model), camera_in_world(T_from_pose([0.5, 0.0, 0.0], [1, 0, 0, 0]))
        odometry.update(np.eye(4), T_BASE_CAMERA, 0, 2.0)
        if by_pixels:
            odometry.told(T, SECOND, fits([0.0] * 6, is_new=True), model)
        else:
            odometry.update(T, T_BASE_CAMERA, SECOND, 2.0)
        state = rescaled(odometry.state, measured, model)
        assert rescaled(odometry.state, Measured(), model) is odometry.state
        variances.append(state.covariance[6, 6])
    np.testing.assert_allclose(variances, [0.25 * 0.05**2 + 1e-4, 0.25 * 0.05**2 + 1e-4 + 0.25 * 0.2**2])


def test_a_camera_that_is_uncertain_along_its_axis_leaves_the_robot_uncertain_ahead():
    """In odom's axes, whichever way the robot faces; what its rotation is off by moves the base at the mount's end."""
    odometry, quarter = Odometry(), np.eye(4)
    quarter[:3, :3] = rotation_from_quaternion([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    certainty = fits([0.0, 0.0, 0.04, 0.0, 0.0, 0.0], is_new=True)
    motion = odometry.told(camera_in_world(quarter), SECOND, certainty, PLAIN)
    np.testing.assert_allclose(motion.covariances.pose[:3], [0.0, 0.04, 0.0], atol=1e-8)
    np.testing.assert_allclose(motion.certainty.covariance[0, 0], 0.04)  # in the base's own axes
    odometry.state = OdometryState()
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    pitch = fits([0.0, 0.0, 0.0, 0.01, 0.0, 0.0], is_new=True)
    motion = odometry.told(np.eye(4), SECOND, pitch, PLAIN)
    np.testing.assert_allclose(motion.covariances.pose, [0.0064, 0, 0.0009, 0, 0.01, 0], atol=1e-8)


def test_a_motion_that_pixels_tell_adds_to_the_path_what_it_adds_to_the_pose():
    odometry, total = Odometry(), 0.0
    odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    for i, variance in enumerate([0.01, 0.03, 0.02, 0.01, 0.05]):
        certainty = fits([variance] * 3 + [0.0] * 3, is_new=i == 3)
        motion = odometry.told(np.eye(4), (i + 1) * SECOND, certainty, PLAIN)
        total += motion.added[0] ** 2
        assert motion.added[1] == 0.0
    assert total == pytest.approx(0.03 + 0.05, rel=0.15)  # that became smaller in between is not counted back
    network = odometry.update(T_from_pose([0.0, 0.0, 1.0], [1, 0, 0, 0]), T_BASE_CAMERA, 6 * SECOND, 3.0)
    assert min(network.added) > 0.0
    assert network.certainty is None


def driven_by_pixels() -> tuple[Odometry, Motion]:
    """Return an odometry, and its last motion, that has gone 0.1 m forward from frame to frame, by two keyframes."""
    odometry = Odometry()
    motion = odometry.update(np.eye(4), T_BASE_CAMERA, 0, 3.0)
    for i in range(1, 12):
        T, certainty = T_from_pose([0.1 * i, 0, 0], [1, 0, 0, 0]), fits([1e-4] * 3 + [1e-5] * 3, is_new=i % 6 == 1)
        motion = odometry.told(camera_in_world(T), i * SECOND // 10, certainty, CovarianceModel())
    return odometry, motion


@pytest.mark.parametrize("told", [None, False, True], ids=["by the network", "same keyframe", "new keyframe"])
def test_an_interruption_makes_no_pose_more_certain(told):
    """However short: what keyframes before have in common with the last one has happened."""
    odometry, motion = driven_by_pixels()
    certainty = None if told is None else fits([1e-4] * 3 + [1e-5] * 3, is_new=told)
    odometry.state, T = interrupted(odometry.state), camera_in_world(motion.T_odom_base)
    after, _ = update(odometry.state, T, T_BASE_CAMERA, 12 * SECOND // 10, 3.0, CovarianceModel(), certainty)
    assert (after.covariances.pose >= motion.covariances.pose).all()
    lost = CovarianceModel().lost_sigmas(0.1)
    assert (np.array(after.added) >= lost).all()  # to the path as well


def test_a_wrong_heading_since_the_keyframe_moves_what_the_network_tells_sideways():
    model, state = replace(PLAIN, network_metres_per_second=0.0, network_radians_per_second=0.0), OdometryState()
    heading_told = fits([0.0] * 5 + [0.09], is_new=True)
    for i, certainty in enumerate([None, heading_told, None, None]):  # on by 2.5 m after each
        T = T_from_pose([2.5 * max(i - 1, 0), 0.0, 0.0], [1, 0, 0, 0])
        motion, state = update(state, T, np.eye(4), i * SECOND, 3.0, model, certainty)
    np.testing.assert_allclose(motion.covariances.pose, [0.0, 5.0**2 * 0.09, 0.0, 0.0, 0.0, 0.09], atol=1e-8)


@pytest.mark.parametrize("confidence", [float("nan"), float("inf")])
def test_a_confidence_that_is_no_number_is_the_lowest(confidence):
    """It is not kept: a state that is not finite cannot be saved."""
    found = []
    for value in (1.0, confidence):
        odometry = Odometry()
        odometry.update(np.eye(4), T_BASE_CAMERA, 0, value)
        found.append(odometry.update(np.eye(4), T_BASE_CAMERA, SECOND, value).covariances)
        assert odometry.state.confidence == 1.0
    np.testing.assert_array_equal(found[0].pose, found[1].pose)
    np.testing.assert_array_equal(found[0].twist, found[1].twist)
    assert CovarianceModel().factor(confidence) == 1.0
