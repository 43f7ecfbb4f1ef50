"""A robot on a plane: a base at the origin of its path, a camera half a meter above it that looks ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse
from ttt3r_ros.stream.covariance import SIZE, SOURCES, CovarianceModel
from ttt3r_ros.stream.gravity import turn
from ttt3r_ros.stream.ground import CLIMB_M, MAX_CLIMB, MAX_RISE, SETTLE_M, UNEVEN, GroundState, corrected, interrupted
from ttt3r_ros.stream.odometry import Motion, OdometryState, update

MODEL = CovarianceModel()
HEIGHT, STEP = 0.5, 0.03
tilts = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-3.0, 3.0)).map(np.array)


def raised(height: float) -> FloatArray:
    """Return T_base_camera of a camera at this height above the base."""
    T = T_BASE_CAMERA.copy()
    T[2, 3] = height
    return T


def moved(forward: float, up: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> FloatArray:
    T = np.eye(4)
    T[:3, 3] = forward, 0.0, up
    T[:3, :3] = turn(np.array([0.0, 0.0, yaw])) @ turn(np.array([0.0, pitch, 0.0]))
    return T


class Robot:
    """Odometry without a network: what it sees of each motion is given, beside the true one."""

    def __init__(self, R_base: FloatArray | None = None, *, is_level: bool = False, fps: float = 15.0) -> None:
        self.true, self.seen = np.eye(4), np.eye(4)
        self.R_base = np.eye(3) if R_base is None else R_base  # of the base on the ground: its feet are uneven
        self.odometry, self.ground, self.stamp_ns = OdometryState(), GroundState(), 1_000_000_000
        self.is_level, self.period_ns = is_level, round(1e9 / fps)

    def step(
        self, true: FloatArray, seen: FloatArray | None = None, *, height: float | None = HEIGHT, floor: bool = True
    ) -> Motion:
        """Go by a true motion, seen as another one; the camera knows its height, or not."""
        T_base_camera = raised(HEIGHT if height is None else height)
        self.true, self.seen = self.true @ true, self.seen @ (true if seen is None else seen)
        T_world_camera = inverse(raised(HEIGHT)) @ self.seen @ T_base_camera
        self.stamp_ns += self.period_ns
        before = self.odometry
        motion, after = update(before, T_world_camera, T_base_camera, self.stamp_ns, 3.0, MODEL)
        T_ground = np.eye(4)
        T_ground[:3, :3] = self.R_base
        motion, self.odometry, self.ground = corrected(
            self.ground,
            before,
            motion,
            after,
            T_base_camera,
            None if height is None else T_ground @ T_base_camera,
            is_floor_seen=floor,
            is_level=self.is_level,
        )
        return motion

    def up(self) -> FloatArray:
        return self.R_base[2]


def across(robot: Robot, motion: Motion) -> float:
    """Return how far the base is above the plane on which it began, whose normal is up there."""
    return float(robot.up() @ motion.T_odom_base[:3, 3])


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.1, -0.15)])
def test_height_roll_and_pitch_do_not_drift_on_a_floor(tilt):
    """Where odometry climbs by 4 % of the way and pitches by 0.1 degrees a meter."""
    robot = Robot(turn(np.array([*tilt, 0.0])))
    motion = robot.step(np.eye(4))
    heights, tilted = [], []
    along = robot.R_base.T @ [1.0, 0.0, 0.0]
    for _ in range(800):
        true = np.eye(4)
        true[:3, 3] = STEP * along
        true[:3, :3] = turn(0.02 * robot.up())
        seen = true @ moved(0.0, pitch=-np.radians(0.1) * STEP)
        seen[:3, 3] += 0.04 * STEP * robot.up()
        motion = robot.step(true, seen)
        heights.append(across(robot, motion))
        tilted.append(np.degrees(np.arccos(np.clip(motion.T_odom_base[:3, :3] @ robot.up() @ robot.up(), -1, 1))))
    assert np.abs(heights).max() < 1e-3 * 800 * STEP
    assert np.abs(robot.seen[:3, 3] @ robot.up()) > 0.5
    assert max(tilted) < 0.5
    assert robot.odometry.covariance is not None
    assert robot.up() @ robot.odometry.covariance[:3, :3] @ robot.up() < 0.3**2
    variances = motion.covariances.pose
    assert variances[2] < 0.1 * variances[0]
    assert np.linalg.eigvalsh(robot.odometry.covariance)[0] > -1e-12


@given(tilts, st.lists(st.tuples(st.floats(0.0, 0.1), st.floats(-0.2, 0.2), st.floats(0.3, 1.0)), max_size=12))
def test_true_motions_along_a_plane_stay_as_they_are(tilt, motions):
    """Whatever its tilt, also where the camera is raised on a mast in the meantime."""
    robot = Robot(turn(tilt))
    robot.step(np.eye(4))
    for forward, yaw, height in motions:
        true = np.eye(4)
        true[:3, 3] = robot.R_base.T @ [forward, 0.0, 0.0]
        true[:3, :3] = turn(yaw * robot.up())
        motion = robot.step(true, height=height)
        np.testing.assert_allclose(motion.T_odom_base, robot.true, atol=1e-9)


def test_a_ramp_is_climbed_and_the_first_plane_found_again():
    """Five degrees, three meters long; odometry is right, but for a climb by 2 % on the level."""
    robot = Robot()
    robot.step(np.eye(4))
    level, pitch = moved(STEP, up=0.02 * STEP), np.radians(-5.0)
    for _ in range(100):
        robot.step(moved(STEP), level)
    for step in (moved(STEP, pitch=pitch), *[moved(STEP)] * 100, moved(STEP, pitch=-pitch)):
        motion = robot.step(step)
    np.testing.assert_allclose(motion.T_odom_base[2, 3], robot.true[2, 3], atol=0.02)
    assert robot.true[2, 3] > 0.25
    for _ in range(200):
        motion = robot.step(moved(STEP), level)
    np.testing.assert_allclose(motion.T_odom_base[2, 3], robot.true[2, 3], atol=0.02)


@pytest.mark.parametrize("degrees", [5.0, 7.0, 10.0])
def test_a_ramp_that_begins_and_ends_gradually_is_climbed_as_odometry_sees_it(degrees):
    """Over 0.3 m each: what is taken for the first plane there is less than 2 degrees steep."""
    robot, turned = Robot(), np.radians(-degrees) / 10
    robot.step(np.eye(4))
    for pitch in (*[0.0] * 100, *[turned] * 10, *[0.0] * 100, *[-turned] * 10, *[0.0] * 100):
        motion = robot.step(moved(STEP, pitch=pitch))
    np.testing.assert_allclose(motion.T_odom_base[2, 3], robot.true[2, 3], atol=0.02)


def test_the_first_plane_is_remembered_where_the_height_is_not_known_for_a_while():
    robot = Robot()
    robot.step(np.eye(4))
    robot.step(moved(STEP, pitch=-0.1))
    robot.step(moved(STEP), height=None)
    for step in (moved(STEP), moved(STEP, pitch=0.1), moved(STEP)):
        robot.step(step)
    before = robot.odometry.T_odom_base[2, 3]
    motion = robot.step(moved(STEP), moved(STEP, up=0.003))
    assert motion.T_odom_base[2, 3] == pytest.approx(before, abs=1e-9)


def test_an_imu_that_comes_later_tells_the_plane():
    """It turns what was 1.5 degrees off."""
    robot, along, turned = Robot(turn(np.array([0.0, np.radians(1.5), 0.0]))), np.eye(4), np.eye(4)
    along[:3, 3], turned[:3, :3] = STEP * robot.R_base.T[:, 0], robot.R_base
    robot.step(np.eye(4))
    robot.step(along)
    robot.odometry = replace(
        robot.odometry,
        T_odom_world=turned @ robot.odometry.T_odom_world,
        T_odom_base=turned @ robot.odometry.T_odom_base,
    )
    robot.is_level = True
    before = robot.step(along).T_odom_base[2, 3]
    for _ in range(20):
        motion = robot.step(along)
    assert motion.T_odom_base[2, 3] == pytest.approx(before, abs=1e-9)


def test_the_error_of_a_height_that_was_climbed_stays_on_the_next_plane():
    """Also its part since the keyframe, which is not in the accumulated covariance."""
    robot = Robot()
    robot.step(np.eye(4))
    robot.step(moved(STEP))
    error = np.zeros((SIZE, SOURCES))
    error[2, 0] = 0.1
    robot.odometry = replace(robot.odometry, error=error, tails=np.zeros((SIZE, SOURCES)))
    for _ in range(3):
        motion = robot.step(moved(STEP))
        assert motion.covariances.pose[2] >= 0.1**2
    np.testing.assert_allclose(robot.odometry.since()[2], 0.0, atol=1e-15)


def test_floors_are_uneven_and_errors_of_earlier_keyframes_are_taken_out_as_well():
    robot = Robot()
    robot.step(np.eye(4))
    tails = np.ones((SIZE, SOURCES))
    tails[2] = 5.0
    robot.odometry = replace(robot.odometry, tails=tails)
    robot.step(moved(1.0))
    assert robot.odometry.covariance[2, 2] == pytest.approx(UNEVEN**2)
    height, roll, pitch, yaw = robot.odometry.tails[2:6, 0]
    np.testing.assert_allclose([height, yaw], [0.0, 1.0], atol=1e-12)
    assert roll == pytest.approx(pitch)
    assert 0.0 < roll <= np.exp(-1.0 / SETTLE_M)


def test_roll_and_pitch_are_those_of_the_plane():
    """On a plane that is tilted in odom, a wrong heading stays as wrong as it was."""
    robot = Robot(turn(np.array([0.0, 0.4, 0.0])))
    robot.step(np.eye(4))
    P, up = np.zeros((7, 7)), robot.up()
    P[3:6, 3:6] = np.outer(up, up)
    robot.odometry = replace(robot.odometry, covariance=P)
    true = np.eye(4)
    true[:3, 3] = 1.0 * robot.R_base.T[:, 0]
    robot.step(true)
    assert up @ robot.odometry.covariance[3:6, 3:6] @ up >= 1.0


def unsure(robot: Robot, sigma: float) -> None:
    """Let odometry say that roll and pitch are off by so much."""
    assert robot.odometry.covariance is not None
    P = robot.odometry.covariance.copy()
    P[3:5, 3:5] += sigma**2 * np.eye(2)
    robot.odometry = replace(robot.odometry, covariance=P)


@pytest.mark.parametrize("degrees", [0.1, 1.5])
def test_roll_and_pitch_are_off_by_no_more_than_is_seen(degrees):
    """Whatever odometry says of itself: at first, and while the robot stands off the plane by some angle."""
    robot = Robot()
    robot.step(np.eye(4))
    robot.step(moved(STEP), moved(STEP, pitch=np.radians(degrees)))
    unsure(robot, 0.1)
    variances = robot.step(moved(STEP)).covariances.pose[3:5]
    assert np.sqrt(variances.mean()) == pytest.approx(max(UNEVEN, np.radians(degrees) / np.sqrt(2)), rel=0.05)
    assert np.linalg.eigvalsh(robot.odometry.covariance)[0] > -1e-12


@pytest.mark.parametrize("ground", ["level", "uneven"])
def test_what_is_said_of_roll_and_pitch_follows_what_is_seen_of_the_ground(ground):
    """On an uneven one, which tilts the robot by up to a degree, as odometry sees, no less than the error."""
    robot, rng = Robot(), np.random.default_rng(0)
    robot.step(np.eye(4))
    errors, told, stands = [], [], np.eye(3)
    for _ in range(400):
        true = moved(STEP)
        if ground == "uneven":
            tilted = np.append(np.radians(1.0) * rng.uniform(-1.0, 1.0, 2), 0.0)
            true[:3, :3] = stands.T @ turn(tilted)
            stands = turn(tilted)
        motion = robot.step(true)
        off = motion.T_odom_base[:3, :3] @ robot.true[:3, :3].T
        errors.append(np.square([off[2, 1], off[0, 2]]).mean())
        told.append(motion.covariances.pose[3:5].mean())
    assert np.mean(errors) < np.mean(told)
    assert np.sqrt(told[-1]) < 0.5 * UNEVEN if ground == "level" else np.sqrt(told[-1]) > 1.2 * UNEVEN


def test_a_height_that_a_level_robot_climbs_at_once_may_be_an_error():
    """In a quarter of a second. A ramp is not: there the robot tilts."""
    robot = Robot()
    robot.step(np.eye(4))
    before = robot.step(moved(STEP)).covariances.pose
    robot.stamp_ns += 183_333_333
    robot.step(moved(STEP), moved(STEP, up=0.15))
    for _ in range(100):
        motion = robot.step(moved(STEP))
    assert motion.T_odom_base[2, 3] == pytest.approx(0.15, abs=0.01)
    assert 0.15**2 < motion.covariances.pose[2] - before[2] < 2.0 * 0.15**2
    ramp, free = Robot(), Robot()
    for step in (np.eye(4), moved(STEP, pitch=-0.3), *[moved(STEP)] * 5):
        ramp.step(step)
        free.step(step, height=None)
    assert ramp.odometry.T_odom_base[2, 3] > 0.03
    np.testing.assert_allclose(ramp.odometry.covariance, free.odometry.covariance)


def test_a_plane_that_is_found_late_is_as_uncertain_as_odometry_was_there():
    robot = Robot()
    robot.step(np.eye(4), height=None)
    unsure(robot, 0.05)
    for _ in range(300):
        motion = robot.step(moved(STEP))
    assert (np.sqrt(motion.covariances.pose[3:5]) > 0.05).all()


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize(("fps", "frames", "most"), [(4.0, 1, 0.05), (15.0, 4, MAX_CLIMB * CLIMB_M + 0.01)])
def test_stairs_are_climbed_by_a_robot_that_stays_level(direction, fps, frames, most):
    """Of 17 cm, each within a quarter of a second; what is lost is that before they are known to be stairs."""
    robot = Robot(fps=fps)
    robot.step(np.eye(4))
    for _ in range(50):
        robot.step(moved(STEP))
    for number in range(100):
        motion = robot.step(moved(STEP, up=direction * 0.17 / frames if number % 10 < frames else 0.0))
    lost = direction * (robot.true[2, 3] - motion.T_odom_base[2, 3])
    assert 0.0 <= lost < most  # of 1.7 m
    for _ in range(100):
        motion = robot.step(moved(STEP), moved(STEP, up=0.03 * STEP))
    assert direction * (robot.true[2, 3] - motion.T_odom_base[2, 3]) == pytest.approx(lost, abs=0.05)


heights = st.floats(1.1 * MAX_RISE / 15.0, 1.0).flatmap(lambda height: st.sampled_from((height, -height)))


@given(tilts, heights, st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)), st.floats(-0.2, 0.2))
def test_odometry_that_jumps_off_the_plane_neither_lifts_nor_tilts_the_robot(stands, height, tilt, yaw):
    """Whatever tilt comes with the jump: it is no ramp."""
    robot = Robot(turn(stands))
    along, jump = np.eye(4), np.eye(4)
    along[:3, 3] = STEP * robot.R_base.T[:, 0]
    along[:3, :3] = turn(yaw * robot.up())
    jump[:3, :3] = turn(robot.R_base.T @ [*tilt, 0.0])
    foot = [0.0, 0.0, HEIGHT] - HEIGHT * robot.up()[2] * robot.up()
    jump[:3, 3] = foot - jump[:3, :3] @ foot + height * robot.up()
    robot.step(np.eye(4))
    for seen in (along, along @ jump, along, along):
        motion = robot.step(along, seen)
        np.testing.assert_allclose(motion.T_odom_base, robot.true, atol=1e-9)
        assert np.linalg.eigvalsh(robot.odometry.covariance)[0] > -1e-12


def test_odometry_that_jumps_on_a_ramp_does_not_lead_off_the_ramp():
    """How high, and how tilted, the robot is after that frame, is as uncertain as it can be."""
    robot = Robot()
    for step in (np.eye(4), moved(STEP, pitch=-0.2), *[moved(STEP)] * 20):
        robot.step(step)
    before = robot.odometry.covariance
    motion = robot.step(moved(STEP), moved(STEP, up=-0.2, pitch=0.1))
    added = robot.odometry.covariance - before
    assert added[2, 2] > 0.9 * (MAX_RISE / 15.0) ** 2
    assert added[4, 4] > 0.1**2
    np.testing.assert_allclose(motion.covariances.pose[:3], np.diag(robot.odometry.covariance)[:3], rtol=0.1)
    for _ in range(20):
        motion = robot.step(moved(STEP))
    np.testing.assert_allclose(motion.T_odom_base, robot.true, atol=1e-9)


def test_a_ramp_that_is_climbed_fast_is_no_jump():
    """At 3 m/s and 20 degrees, faster off the first plane than any robot climbs stairs."""
    robot = Robot()
    for pitch in (0.0, 0.0, np.radians(-20.0), 0.0, 0.0):
        motion = robot.step(moved(0.2, pitch=pitch))
    np.testing.assert_allclose(motion.T_odom_base, robot.true, atol=1e-9)
    assert robot.true[2, 3] > 2 * MAX_RISE / 15.0


def test_where_odometry_jumps_an_imu_still_tells_roll_and_pitch():
    robot = Robot(is_level=True)
    robot.step(np.eye(4))
    robot.step(moved(STEP))
    motion = robot.step(moved(STEP), moved(STEP, up=0.3, pitch=0.02))
    assert motion.T_odom_base[2, 3] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(motion.T_odom_base[:3, :3], robot.seen[:3, :3])


def test_odometry_that_jumps_before_a_floor_has_been_seen_is_left_as_it_is():
    """Its meters may be wrong."""
    robot = Robot()
    robot.step(np.eye(4), floor=False)
    robot.step(moved(STEP), floor=False)
    motion = robot.step(moved(STEP), moved(STEP, up=0.3), floor=False)
    np.testing.assert_allclose(motion.T_odom_base, robot.seen, atol=1e-9)


def test_nothing_is_done_where_no_floor_is_seen_or_no_height_is_known():
    for options in ({"floor": False}, {"height": None}):
        robot = Robot()
        robot.step(np.eye(4), **options)
        for _ in range(20):
            motion = robot.step(moved(STEP), moved(STEP, up=0.1 * STEP), **options)
        np.testing.assert_allclose(motion.T_odom_base, robot.seen, atol=1e-9)
    assert robot.ground == GroundState()


def test_with_an_imu_the_plane_is_level_and_roll_and_pitch_are_left_to_it():
    robot = Robot(turn(np.array([0.0, 0.02, 0.0])), is_level=True)
    robot.step(np.eye(4))
    R_before = robot.seen[:3, :3]
    motion = robot.step(moved(STEP), moved(STEP, up=0.01))
    assert motion.T_odom_base[2, 3] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(motion.T_odom_base[:3, :3], R_before)


def test_after_a_gap_the_first_motion_is_free():
    robot = Robot()
    robot.step(np.eye(4))
    robot.step(moved(STEP))
    robot.ground = interrupted(robot.ground)
    motion = robot.step(moved(STEP), moved(STEP, up=0.1))
    assert motion.T_odom_base[2, 3] == pytest.approx(0.1)
    motion = robot.step(moved(STEP), moved(STEP, up=0.01))
    assert motion.T_odom_base[2, 3] == pytest.approx(0.1)
    assert abs(robot.ground.climb) < MAX_CLIMB


def test_what_is_taken_out_is_no_jump():
    """Pose by pose, motions along the plane are whole, and none is added."""
    rng, robot = np.random.default_rng(3), Robot()
    last = robot.step(np.eye(4)).T_odom_base
    for _ in range(200):
        noisy = moved(STEP, up=0.05 * STEP * rng.standard_normal(), pitch=0.001 * rng.standard_normal(), yaw=0.01)
        T = robot.step(moved(STEP, yaw=0.01), noisy).T_odom_base
        step = inverse(last) @ T
        assert np.linalg.norm(step[:3, 3] - noisy[:3, 3]) <= abs(noisy[2, 3]) + 0.02 * STEP
        last = T
