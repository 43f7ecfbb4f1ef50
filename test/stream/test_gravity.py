"""Roll and pitch from an IMU."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_network import ScriptedNetwork, along, view

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, T_from_pose, rotation_vector
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel, unseen
from ttt3r_ros.stream.gravity import (
    GRAVITY,
    LONG_MEMORY_S,
    MAX_RATE,
    MEMORY_S,
    SETTLE_S,
    SIGMA,
    GravityState,
    ImuSamples,
    corrected,
    leveled,
    turn,
    with_up,
)
from ttt3r_ros.stream.odometry import Motion, OdometryState, placed, update
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream

MODEL = CovarianceModel()
STEP_S, PER_STEP = 0.1, 10
SECOND = 1_000_000_000

tilts = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(-3.0, 3.0))


def tilted(roll: float, pitch: float, yaw: float = 0.0) -> np.ndarray:
    """Return the rotation (3, 3) of roll, pitch and yaw."""
    return turn(np.array([0, 0, yaw])) @ turn(np.array([0, pitch, 0])) @ turn(np.array([roll, 0, 0]))


def tilt_of(R: np.ndarray, true: np.ndarray) -> float:
    """Return the angle between the vertical that a rotation says and the true one [rad]."""
    return float(np.arctan2(np.linalg.norm(np.cross(R[2], true[2])), R[2] @ true[2]))


def heading(R: np.ndarray) -> float:
    return float(np.arctan2(R[1, 0], R[0, 0]))


def imu(start_ns: int, R_from: np.ndarray, R_to: np.ndarray, *, gyro: bool = True, fused: bool = False) -> ImuSamples:
    """Return what is measured while a base turns evenly for a step; rotations are those in a level frame."""
    shares = np.arange(1, PER_STEP + 1) / PER_STEP
    vector = rotation_vector(R_from.T @ R_to)
    force = np.array([(R_from @ turn(share * vector)).T @ [0, 0, GRAVITY] for share in shares])
    stamps = start_ns + np.round(shares * STEP_S * 1e9).astype(np.int64)
    return ImuSamples(stamps, force, np.tile(vector / STEP_S, (PER_STEP, 1)) if gyro else None, fused)


class Robot:
    """Odometry without a network: its poses are given, and may be wrong."""

    def __init__(self, R_true: np.ndarray, *, is_fitted: bool = False) -> None:
        self.R_true, self.stamp_ns, self.is_fitted = R_true, SECOND, is_fitted
        self.seen = np.eye(4)  # the base in the frame of its first pose, as odometry sees it
        self.odometry, self.gravity = OdometryState(), GravityState()

    def step(self, turned=(0, 0, 0), wrong=(0, 0, 0), moved=(0, 0, 0), samples=None, **options) -> Motion:
        """Turn by a rotation vector, which odometry sees with another one as an error, and move."""
        R_before = self.R_true
        self.R_true = R_before @ turn(np.asarray(turned, float))
        if samples is None:
            samples = imu(self.stamp_ns, R_before, self.R_true, **options)
        self.seen = self.seen @ T_from_pose(moved, [1, 0, 0, 0])
        self.seen[:3, :3] = self.seen[:3, :3] @ turn(np.asarray(turned, float)) @ turn(np.asarray(wrong, float))
        self.stamp_ns += round(STEP_S * 1e9)
        before = leveled(self.odometry, samples, MODEL)
        motion, after = update(before, self.seen, np.eye(4), self.stamp_ns, 3.0, MODEL)
        motion, self.odometry, self.gravity = corrected(
            self.gravity, before, motion, after, samples, is_fitted=self.is_fitted
        )
        return motion


@given(tilts)
def test_odometry_starts_level_however_the_robot_stands(tilt):
    robot = Robot(tilted(*tilt))
    motion = robot.step(gyro=False)
    R = motion.T_odom_base[:3, :3]
    assert tilt_of(R, robot.R_true) < 1e-9
    assert heading(R) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(motion.T_odom_base[:3, 3], 0)
    assert motion.covariances.pose[3] >= SIGMA**2


@given(tilts, st.floats(-3, 3))
def test_a_pose_that_was_set_before_the_first_frame_keeps_place_and_heading(tilt, yaw):
    robot = Robot(tilted(*tilt))
    T = T_from_pose([3.0, 2.0, 1.0], [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    robot.odometry = placed(robot.odometry, T, np.eye(6), MODEL)
    motion = robot.step()
    np.testing.assert_allclose(motion.T_odom_base[:3, 3], [3, 2, 1])
    assert np.cos(heading(motion.T_odom_base[:3, :3]) - yaw) == pytest.approx(1)
    assert tilt_of(motion.T_odom_base[:3, :3], robot.R_true) < 1e-9


@given(st.sampled_from([1.0, -1.0]), st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
def test_a_base_that_looks_straight_up_or_down_has_an_orientation_all_the_same(sign, y, z):
    up = np.array([sign, y, z])
    R = with_up(np.eye(3), up)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(R @ up / np.linalg.norm(up), [0, 0, 1], atol=1e-9)


@pytest.mark.slow
@settings(max_examples=4)
@given(tilts, st.booleans(), st.integers(0, 1000))
def test_an_imu_that_comes_late_levels_smoothly(tilt, gyro, seed):
    """Roll and pitch come right, no step is larger than the rate allows, and neither place nor heading is turned."""
    rng, robot = np.random.default_rng(seed), Robot(tilted(*tilt))
    nothing = ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)))
    last = robot.step(samples=nothing)
    start = tilt_of(last.T_odom_base[:3, :3], robot.R_true)
    errors = []
    for _ in range(160):
        turned, moved = rng.normal(0, 0.05, 3), rng.normal(0, 0.05, 3)
        uncorrected = last.T_odom_base @ T_from_pose(moved, [1, 0, 0, 0])
        uncorrected[:3, :3] = uncorrected[:3, :3] @ turn(turned)
        last = robot.step(turned=turned, moved=moved, gyro=gyro)
        correction = rotation_vector(last.T_odom_base[:3, :3] @ uncorrected[:3, :3].T)
        assert np.linalg.norm(correction) <= MAX_RATE * STEP_S + 1e-9
        assert abs(correction[2]) < 1e-9
        np.testing.assert_allclose(last.T_odom_base[:3, 3], uncorrected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(last.twist[0], turn(turned).T @ moved / STEP_S, atol=1e-6)
        errors.append(tilt_of(last.T_odom_base[:3, :3], robot.R_true))
    assert errors[-1] < 1e-3 + start * np.exp(-5)
    assert (np.diff(errors) < 1e-6).all()  # straight there


@pytest.mark.slow
@pytest.mark.parametrize(("gyro", "fused", "largest"), [(True, False, 0.02), (False, False, 0.05), (False, True, 0.02)])
def test_roll_and_pitch_no_longer_drift(gyro, fused, largest):
    """Odometry turns wrong by 0.01 rad/s about two axes, for a minute; without an IMU that adds up to 0.7 rad."""
    robot, errors = Robot(tilted(0.1, -0.2)), []
    for _ in range(600):
        motion = robot.step(turned=(0, 0, 0.05), wrong=(0.001, -0.0007, 0), gyro=gyro, fused=fused)
        errors.append(tilt_of(motion.T_odom_base[:3, :3], robot.R_true))
    assert max(errors) < largest
    assert max(errors) > 1e-4


def test_the_heading_is_left_to_the_camera():
    """An error about the vertical stays, however long the IMU looks at it."""
    robot = Robot(np.eye(3))
    for _ in range(300):
        motion = robot.step(wrong=(0, 0, 0.001))
    assert heading(motion.T_odom_base[:3, :3]) == pytest.approx(0.3, abs=1e-3)


def test_a_robot_that_drives_off_and_brakes_is_hardly_tilted():
    """1 m/s² for a second, at rest or at speed for six: the mean takes some of it for gravity."""
    robot, errors = Robot(np.eye(3)), []
    for step in range(400):
        samples = imu(robot.stamp_ns, robot.R_true, robot.R_true)
        acceleration = {3: 1.0, 10: -1.0}.get(step // 10 % 14, 0.0)
        samples = dataclasses.replace(samples, force=samples.force + np.array([acceleration, 0, 0]))
        errors.append(tilt_of(robot.step(samples=samples).T_odom_base[:3, :3], np.eye(3)))
    assert max(errors) < 0.05 < np.arctan(1 / GRAVITY)


@pytest.mark.slow
def test_a_gyroscopes_bias_tilts_no_odometry_that_fits_the_pixels():
    errors = {}
    for is_fitted in (False, True):
        robot = Robot(np.eye(3), is_fitted=is_fitted)
        for _ in range(300):
            samples = imu(robot.stamp_ns, robot.R_true, robot.R_true @ turn(np.array([0, 0, 0.05])))
            samples = dataclasses.replace(samples, rate=samples.rate + np.array([0.01, 0, 0]))
            motion = robot.step(turned=(0, 0, 0.05), samples=samples)
        errors[is_fitted] = tilt_of(motion.T_odom_base[:3, :3], robot.R_true)
    assert errors[False] > 0.01
    assert errors[True] < 1e-6


@pytest.mark.parametrize("gyro", [True, False])
def test_odometry_that_jumps_though_it_fits_is_leveled_again(gyro):
    robot = Robot(np.eye(3), is_fitted=True)
    for step in range(200):
        motion = robot.step(turned=(0, 0, 0.05), wrong=(0.05, 0, 0) if step == 100 else (0, 0, 0), gyro=gyro)
        if step == 120:
            soon = tilt_of(motion.T_odom_base[:3, :3], robot.R_true)
    assert tilt_of(motion.T_odom_base[:3, :3], robot.R_true) < 0.005
    assert (soon < 0.005) == gyro  # else the mean has jumped as well


@pytest.mark.parametrize("force", [[0, 0, 0.0], [0, 0, 1.0], [30, 0, 0], [0, 0, -40]])
def test_a_force_that_is_not_gravity_does_nothing(force):
    robot = Robot(np.eye(3))
    for _ in range(20):
        samples = dataclasses.replace(
            imu(robot.stamp_ns, np.eye(3), np.eye(3)), force=np.tile(np.array(force, float), (PER_STEP, 1))
        )
        motion = robot.step(samples=samples)
    np.testing.assert_array_equal(motion.T_odom_base, np.eye(4))
    assert robot.gravity.force is None


def test_a_gyroscope_in_degrees_is_not_believed():
    """The odometry's own rotation takes its place."""
    results = {}
    for factor in (None, 180 / np.pi):
        robot = Robot(tilted(0.1, -0.2))
        for _ in range(100):
            samples = imu(robot.stamp_ns, robot.R_true, robot.R_true @ turn(np.array([0, 0.02, 0.3])))
            rate = None if factor is None else samples.rate * factor
            samples = dataclasses.replace(samples, rate=rate)
            motion = robot.step(turned=(0, 0.02, 0.3), wrong=(0, 0.001, 0), samples=samples)
        results[factor] = motion.T_odom_base
    np.testing.assert_allclose(*results.values(), atol=1e-9)


def test_a_gap_of_the_imu_is_bridged_and_a_single_wrong_stamp_is_nothing():
    robot = Robot(tilted(0.1, -0.2))
    for step in range(100):
        samples = imu(robot.stamp_ns, robot.R_true, robot.R_true)
        if 20 <= step < 40:
            samples = ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)))
        elif step == 50:
            samples = dataclasses.replace(samples, stamps_ns=samples.stamps_ns + 100 * SECOND)
        motion = robot.step(samples=samples)
        assert tilt_of(motion.T_odom_base[:3, :3], robot.R_true) < 1e-6


@pytest.mark.parametrize("how", ["silent", "shaken"])
def test_an_imu_that_tells_nothing_anymore_bounds_nothing(how):
    """Roll and pitch drift as they do without an IMU, and the covariance says so; what bounds them else may go on."""
    with_imu, without = Robot(np.eye(3)), Robot(np.eye(3))
    none = ImuSamples(np.zeros(0, np.int64), np.zeros((0, 3)))
    for _ in range(50):
        with_imu.step()
    for _ in range(600):
        shaken = imu(with_imu.stamp_ns, with_imu.R_true, with_imu.R_true)
        lost = dataclasses.replace(shaken, force=3 * shaken.force) if how == "shaken" else none
        motion = with_imu.step(wrong=(0.001, 0, 0), samples=lost)
        expected = without.step(wrong=(0.001, 0, 0), samples=none)
    assert with_imu.gravity == GravityState()
    assert tilt_of(motion.T_odom_base[:3, :3], with_imu.R_true) == pytest.approx(0.6, abs=0.1)
    assert motion.covariances.pose[3] > 0.7 * expected.covariances.pose[3]
    for _ in range(100):
        motion = with_imu.step()
    assert tilt_of(motion.T_odom_base[:3, :3], with_imu.R_true) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gyro", "is_fitted", "lowest"),
    [(True, False, SETTLE_S), (False, False, MEMORY_S), (True, True, LONG_MEMORY_S)],
)
def test_covariance_says_that_roll_and_pitch_are_bounded_and_that_the_heading_is_not(gyro, is_fitted, lowest):
    robot, variances = Robot(np.eye(3), is_fitted=is_fitted), []
    for _ in range(600):
        variances.append(robot.step(turned=(0, 0, 0.05), moved=(0.05, 0, 0), gyro=gyro).covariances.pose)
    roll, pitch, yaw = np.array(variances)[:, 3:].T
    assert roll[-1] == pytest.approx(roll[-200], rel=0.01)
    assert yaw[-1] > 1.2 * yaw[-200]
    assert SIGMA**2 < roll[-1] < 0.1 * yaw[-1]
    grown = np.diff(yaw)[-1] / STEP_S
    assert roll[-1] == pytest.approx(SIGMA**2 + grown * lowest / 2, rel=0.4)
    assert pitch[-1] == pytest.approx(roll[-1], rel=0.01)


@pytest.mark.parametrize("bad", ["shape", "nan"])
def test_samples_that_are_no_numbers_are_refused(bad):
    force = np.full((3, 3), np.nan) if bad == "nan" else np.zeros((2, 3))
    with pytest.raises(UserError, match="finite numbers"):
        ImuSamples(np.arange(3, dtype=np.int64), force)


# --- in the stream ---


def drive(stream: Stream, count: int, R_true: np.ndarray, first: int = 0, picture=view) -> list[np.ndarray]:
    poses = []
    for number in range(first, first + count):
        stamp_ns = (number + 10) * round(STEP_S * 1e9)
        samples = imu(stamp_ns - round(STEP_S * 1e9), R_true, R_true, gyro=False)
        result = stream.process(picture(number), stamp_ns, T_BASE_CAMERA, imu=samples)
        stream.prepare()
        assert result.lost is None
        poses.append(result.motion.T_odom_base)
    return poses


def test_a_tilted_robot_drives_up_its_own_slope():
    """Level without an IMU would mean along its own x axis."""
    R_true = tilted(0, -0.3)
    stream = Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings(correct_motion=False))
    poses = drive(stream, 20, R_true)
    np.testing.assert_allclose(poses[-1][:3, 3], R_true @ [0.95, 0, 0], atol=1e-4)
    np.testing.assert_allclose(poses[-1][:3, :3], R_true, atol=1e-4)


@pytest.mark.slow
def test_where_the_pixels_tell_the_motion_a_gyroscopes_bias_is_nothing():
    """A camera goes sideways before a wall 2 m away, by a pixel of 80 from view to view."""
    poses = []
    for number in range(40):
        T = np.eye(4)
        T[:3, :3], T[0, 3] = turn(np.array([0.0, 1e-6 * number, 0.0])), number * 2.0 / 80  # it does not stand
        poses.append(T)
    tilts = []
    for correct_motion in (False, True):
        stream = Stream(Backbone(ScriptedNetwork(poses)), StreamSettings(correct_motion=correct_motion))
        for number in range(40):
            samples = imu(number * SECOND // 10, np.eye(3), np.eye(3))
            samples = dataclasses.replace(samples, rate=samples.rate + np.array([0.01, 0.0, 0.0]))
            result = stream.process(view(number), (number + 1) * SECOND // 10, imu=samples)
            stream.prepare()
            tilts.append(tilt_of(result.motion.T_odom_base[:3, :3], np.eye(3)))
    assert tilts[39] > 0.005
    assert tilts[79] < 0.5 * tilts[39]


@pytest.mark.slow
def test_a_robot_that_stands_is_leveled_where_it_stands():
    stream = Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings(correct_motion=False))
    stream.process(view(0), 9 * round(STEP_S * 1e9))  # the IMU comes late
    rng = np.random.default_rng(0)

    def still(_: int) -> np.ndarray:
        return np.clip(view(0) + rng.normal(0, 1, (60, 80, 1)), 0, 255).astype(np.uint8)

    poses = drive(stream, 60, tilted(0, -0.3), picture=still)
    np.testing.assert_array_equal([T[:3, 3] for T in poses], 0)
    assert tilt_of(poses[-1][:3, :3], tilted(0, -0.3)) < 0.01
    steps = [np.linalg.norm(rotation_vector(a[:3, :3].T @ b[:3, :3])) for a, b in itertools.pairwise(poses)]
    assert max(steps) <= MAX_RATE * STEP_S + 1e-6


def test_a_mount_that_is_corrected_leaves_a_robot_with_an_imu_level():
    stream = Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings(correct_motion=False))
    *_, before = drive(stream, 5, np.eye(3))
    T = T_BASE_CAMERA @ T_from_pose([0.1, 0.2, 0.3], [1, 0.2, 0, 0])
    stream.remount(T_BASE_CAMERA, T)
    np.testing.assert_allclose(stream.state.odometry.T_odom_base, before, atol=1e-9)
    result = stream.process(view(5), 15 * round(STEP_S * 1e9), T)
    step = (before[:3, :3] @ T[:3, :3] @ [0, 0, 0.05]).tolist()  # along the camera's axis
    np.testing.assert_allclose(result.motion.T_odom_base[:3, 3] - before[:3, 3], step, atol=1e-4)
    assert tilt_of(result.motion.T_odom_base[:3, :3], np.eye(3)) < 1e-3


def test_after_a_pose_is_set_the_imu_goes_on():
    stream = Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings(correct_motion=False))
    drive(stream, 5, np.eye(3))
    T = T_from_pose([1.0, 2.0, 0.0], [1, 0.1, 0, 0])
    stream.set_pose(T)
    poses = drive(stream, 60, np.eye(3), 5)
    assert tilt_of(poses[0][:3, :3], T[:3, :3]) < 0.02
    assert tilt_of(poses[-1][:3, :3], np.eye(3)) < 0.01


def test_flat_odometry_needs_no_imu_to_be_level():
    for two_d_mode in (False, True):
        stream = Stream(
            Backbone(ScriptedNetwork(along(0.05))), StreamSettings(two_d_mode=two_d_mode, correct_motion=False)
        )
        (pose,) = drive(stream, 1, tilted(0.1, -0.3))
        assert (tilt_of(pose[:3, :3], np.eye(3)) < 1e-9) == two_d_mode


@pytest.mark.parametrize("has_imu", [False, True])
def test_a_robot_that_stands_may_have_moved_unseen_with_an_imu_as_without(has_imu):
    stream = Stream(Backbone(ScriptedNetwork(along(0.0))))
    for i in range(3):
        stamp_ns = (i + 1) * SECOND // 10
        samples = ImuSamples(np.array([stamp_ns - 1]), np.array([[0.0, 0.0, GRAVITY]])) if has_imu else None
        result = stream.process(view(0), stamp_ns, T_BASE_CAMERA, imu=samples)
    assert result.is_still
    assert result.motion is not None
    assert (result.motion.covariances.pose >= np.diag(unseen(MODEL))[:6]).all()
