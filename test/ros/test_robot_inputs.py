"""What the robot knows, told to a node in another process: the mask, the IMU, a pose."""

from __future__ import annotations

import array
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from harness import LATCHED, Bench, header, node, pose_of
from sensor_msgs.msg import Image, Imu
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_from_pose, quaternion_from_rotation
from ttt3r_ros.ros.pose_input import read_pose
from ttt3r_ros.stream.gravity import GRAVITY, turn

WIDTH, HEIGHT = 80, 60


def pose_message(x=0.0, y=0.0, yaw=0.0, frame_id="odom") -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped(header=header(1, frame_id))
    message.pose.pose.position.x, message.pose.pose.position.y = x, y
    message.pose.pose.orientation.w, message.pose.pose.orientation.z = np.cos(yaw / 2), np.sin(yaw / 2)
    message.pose.covariance = np.diag([0.04, 0.05, 0.06, 0.01, 0.02, 0.03]).ravel().tolist()
    return message


def broken(change) -> PoseWithCovarianceStamped:
    message = pose_message(1.0)
    change(message)
    return message


BROKEN_POSES = {
    "nan": (broken(lambda m: setattr(m.pose.pose.position, "x", np.nan)), "position"),
    "far": (broken(lambda m: setattr(m.pose.pose.position, "y", 1e9)), "position"),
    "zero": (broken(lambda m: setattr(m.pose.pose.orientation, "w", 0.0)), "unit quaternion"),
    "frame": (pose_message(1.0, frame_id="map"), "odom_frame"),
    "covariance": (broken(lambda m: m.pose.covariance.__setitem__(0, -1.0)), "covariance"),
    "asymmetric": (broken(lambda m: m.pose.covariance.__setitem__(1, 0.01)), "covariance"),
    "infinite": (broken(lambda m: m.pose.covariance.__setitem__(7, np.inf)), "covariance"),
}


def test_a_pose_is_read():
    T, covariance = read_pose(pose_message(3.0, -2.0, 1.0), "odom")
    np.testing.assert_allclose(T, T_from_pose([3, -2, 0], [np.cos(0.5), 0, 0, np.sin(0.5)]))
    np.testing.assert_allclose(np.diag(covariance), [0.04, 0.05, 0.06, 0.01, 0.02, 0.03])
    read_pose(broken(lambda m: setattr(m.pose, "covariance", 36 * [0.0])), "odom")  # certain
    read_pose(pose_message(frame_id=""), "odom")


@pytest.mark.parametrize("kind", BROKEN_POSES)
def test_a_pose_that_cannot_be_is_refused_in_a_sentence(kind):
    message, words = BROKEN_POSES[kind]
    with pytest.raises(UserError, match=words):
        read_pose(message, "odom")


class Robot(Bench):
    """A bench that also tells what the robot knows."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "odom", "depth/image", "diagnostics")
        self.pose = self.publisher(PoseWithCovarianceStamped, "/ttt3r/set_pose")
        self.mask = self.publisher(Image, "/ttt3r/mask", LATCHED)
        self.imu = self.publisher(Imu, "/ttt3r/imu", 100)
        self.tf = self.publisher(TFMessage, "/tf_static", LATCHED)
        self.wait_for_node()
        wait_until(self.pose.get_subscription_count, "the node to listen to ~/set_pose")
        wait_until(self.imu.get_subscription_count, "the node to listen to ~/imu")

    def motion(self, stamp: int, seconds: float) -> np.ndarray:
        """Return the motion up to this pose, from its velocity, which does not know of poses that are set."""
        velocity, T = self.get("odom", stamp).twist.twist, np.eye(4)
        linear, angular = velocity.linear, velocity.angular
        T[:3, :3] = turn(np.array([angular.x, angular.y, angular.z]) * seconds)
        T[:3, 3] = T[:3, :3] @ [linear.x, linear.y, linear.z] * seconds
        return T

    def send_mask(self, gray: np.ndarray, encoding: str = "mono8") -> None:
        message = Image(height=gray.shape[0], width=gray.shape[1], encoding=encoding, step=gray.shape[1])
        message.data = array.array("B", gray.tobytes())
        self.mask.publish(message)

    def send_imu(self, stamp: int, R_base: np.ndarray, frame_id: str = "base_link", **changes) -> None:
        message = Imu(header=header(stamp, frame_id))
        message.orientation_covariance[0] = message.angular_velocity_covariance[0] = -1.0
        force = R_base.T @ [0, 0, GRAVITY]
        a = message.linear_acceleration
        a.x, a.y, a.z = changes.get("force", force.tolist())
        self.imu.publish(message)


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory) -> Iterator:
    log = tmp_path_factory.mktemp("inputs") / "node.log"
    options = {"min_confidence": 1.0, "max_depth": 10_000.0, "hold_still": "false", "wait_for_transform": 0.05}
    reliable = ["-p", "qos_overrides./ttt3r/imu.subscription.reliability:=reliable"]
    with node(log, *reliable, weights=weights, **options) as running:
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.text()


@pytest.fixture
def robot(running) -> Iterator[Robot]:
    robot = Robot("robot")
    robot.next_stamp = 1_000_000_000 * (10 + len(running.text()))  # later than in the test before
    robot.send_until_answered()
    robot.call(Trigger, "/ttt3r/reset_odometry")
    yield robot
    robot.close()


@pytest.mark.dds
def test_the_pose_is_set_and_odometry_goes_on_from_there(running, robot):
    robot.exchange(3)
    for message, words in BROKEN_POSES.values():
        robot.pose.publish(message)
        wait_until(lambda words=words: words in running.text(), words)
    robot.pose.publish(pose_message(3.0, -2.0, 1.0))
    wait_until(lambda: "pose set to (3.000, -2.000, 0.000)" in running.text(), "the pose to be set")
    (after,) = robot.exchange()
    start = T_from_pose([3.0, -2.0, 0.0], [np.cos(0.5), 0, 0, np.sin(0.5)])
    np.testing.assert_allclose(pose_of(robot.get("odom", after)), start @ robot.motion(after, 0.1), atol=1e-6)
    covariance = np.array(robot.get("odom", after).pose.covariance).reshape(6, 6)
    assert covariance[0, 0] > 0.04
    assert covariance[5, 5] > 0.03
    expected = T_from_pose([7.0, 0, 0], [1, 0, 0, 0])

    def begins_there() -> bool:
        robot.call(Trigger, "/ttt3r/reset_odometry")
        robot.pose.publish(pose_message(7.0))  # before the first frame of a new odometry, where it arrives in time
        (first,) = robot.exchange()
        return np.allclose(pose_of(robot.get("odom", first)), expected, atol=1e-9)

    wait_until(begins_there, "an odometry that begins at the pose")
    assert running.text().count("pose set to") == 1  # once in a while


@pytest.mark.dds
def test_a_mask_hides_what_it_covers_until_another_one_comes(running, robot):
    def depth() -> np.ndarray:
        (stamp,) = robot.exchange(key="depth/image")
        message = robot.get("depth/image", stamp)
        return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)

    robot.exchange()
    assert np.isfinite(depth()).any(axis=1)[-8:].any()
    gray = np.zeros((HEIGHT, WIDTH), np.uint8)
    gray[30:] = 255
    robot.send_mask(gray)
    wait_until(lambda: np.isnan(depth()[-8:]).all(), "the lower rows to be hidden")
    assert np.isfinite(depth()).any(axis=1)[:8].any()
    wait_until(lambda: "of the image, from ~/mask" in robot.diagnostics().get("mask", ""), "diagnostics")
    robot.send_mask(np.full((HEIGHT, WIDTH), 255, np.uint8))
    wait_until(lambda: "invert it" in running.text(), "the inverted mask to be refused")
    robot.send_mask(gray, encoding="rgb8")
    wait_until(lambda: "must be mono8" in running.text(), "the color mask to be refused")
    assert np.isnan(depth()[-8:]).all()  # the one before still counts
    robot.send_mask(gray[::2, ::2].copy())
    wait_until(lambda: np.isfinite(depth()[-8:]).any(), "the mask that does not fit to be ignored")
    assert "the mask has 40x30 pixels but the images have 80x60" in running.text()
    for rows in range(10, 14):  # a mask from a node that follows a moving part
        gray[rows] = 255
        robot.send_mask(gray)
    robot.send_mask(np.zeros((HEIGHT, WIDTH), np.uint8))
    wait_until(lambda: robot.diagnostics().get("mask") == "none", "the mask to be gone")
    assert running.text().count("of the image is hidden") == 1  # once in a while


@pytest.mark.dds
def test_an_imu_levels_odometry_from_the_first_frame(running, robot):
    """Whatever its frame and clock, after impossible messages, after a gap and after a restart."""
    R_true = turn(np.array([0, -0.3, 0])) @ turn(np.array([0.2, 0, 0]))

    def tilt(stamp: int) -> float:
        return float(np.degrees(np.arccos(np.clip(pose_of(robot.get("odom", stamp))[2, :3] @ R_true[2], -1, 1))))

    def frame(ahead_s: int = 0, **options) -> int:
        stamp = robot.next_stamp
        for back in (80, 60, 40, 20, 0):
            robot.send_imu(stamp + ahead_s * 1_000_000_000 - back * 1_000_000, R_true, **options)
        (sent,) = robot.exchange(stamp=stamp)
        return sent

    wait_until(lambda: frame() and "accelerometer" in robot.diagnostics().get("imu", ""), "the IMU to be heard")

    def begins_level(**options) -> bool:
        """Whether the samples of the first frame have leveled it, where they arrive before it does."""
        robot.call(Trigger, "/ttt3r/reset_odometry")
        first = frame(**options)
        return tilt(first) < 1.0 and abs(np.arctan2(*pose_of(robot.get("odom", first))[[1, 0], 0])) < 1e-6

    wait_until(begins_level, "a level beginning")
    for options, words in (
        ({"force": [np.nan, 0.0, 0.0]}, "linear_acceleration (nan, 0, 0) is impossible"),
        ({"frame_id": "nowhere"}, "TF has no transform base_link -> nowhere"),
    ):
        frame(**options)
        wait_until(lambda words=words: frame() and words in running.text(), words)
    mount = TransformStamped(header=header(1, "base_link"), child_frame_id="imu")
    q = quaternion_from_rotation(turn(np.array([0, 0, 1.0])))
    r = mount.transform.rotation
    r.w, r.x, r.y, r.z = q.tolist()
    robot.tf.publish(TFMessage(transforms=[mount]))
    in_imu = turn(np.array([0, 0, 1.0])).T @ R_true.T @ [0, 0, GRAVITY]
    tilted = {"frame_id": "imu", "force": in_imu.tolist()}
    wait_until(lambda: frame(**tilted) and robot.diagnostics()["imu"] == "accelerometer", "the IMU in TF")
    wait_until(lambda: begins_level(**tilted), "a level beginning by the IMU in TF")
    wait_until(lambda: frame(1000) and "it has another clock" in running.text(), "the IMU's clock to be compared")
    wait_until(lambda: begins_level(ahead_s=1000), "a level beginning by another clock")
    wait_until(lambda: robot.exchange() and robot.diagnostics().get("imu") == "silent", "the IMU's silence to be said")
    assert "roll and pitch drift until the IMU is back" in running.text()
    wait_until(lambda: frame(1000) and robot.diagnostics().get("imu") == "accelerometer", "the IMU to be heard again")
    robot.node.destroy_publisher(robot.imu)
    with closing(Bench("restarted_imu")) as sender:  # whose clock has been set meanwhile
        robot.imu = sender.publisher(Imu, "/ttt3r/imu", 100)
        wait_until(robot.imu.get_subscription_count, "the node to listen to the IMU that has restarted")
        R_true = turn(np.array([0, 0.25, 0]))  # the robot stands elsewhere, which only the new messages tell
        wait_until(lambda: begins_level(ahead_s=5000), "a level beginning by the IMU that has restarted")
