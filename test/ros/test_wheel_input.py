"""The node's other odometry and ground frame, told over DDS by another process than the node's."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from harness import Bench, header, node
from nav_msgs.msg import Odometry
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.ros.conversions import fill_pose, transform_message

pytestmark = pytest.mark.dds

TOPIC = "/ttt3r/wheel_odom"
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def running(weights, tmp_path_factory):
    log = tmp_path_factory.mktemp("node") / "node.log"
    reliable = ["-p", f"qos_overrides.{TOPIC}.subscription.reliability:=reliable"]
    options = {"wait_for_transform": 5.0, "max_frame_gap": 60.0}  # however long a frame takes
    with node(log, *reliable, weights=weights, **options) as running:
        yield running
        assert "Traceback" not in running.text()


@pytest.fixture(scope="module")
def robot(running):
    """A robot whose camera is mounted 0.5 m above the ground, until the tests end."""
    bench = Bench("robot")
    bench.listen_to_all()
    bench.wait_for_node()
    transforms = [raised(0.5), transform_message(T_BASE_CAMERA, header(0, "base_link"), "camera")]
    bench.publisher(TFMessage, "/tf_static", LATCHED).publish(TFMessage(transforms=transforms))
    publisher = bench.publisher(Odometry, TOPIC, 50)
    wait_until(publisher.get_subscription_count, "the node to listen to wheel_odom")
    bench.send_until_answered()
    yield bench
    bench.close()


def raised(height: float) -> TransformStamped:
    T = np.eye(4)
    T[2, 3] = height
    return transform_message(T, header(0, "base_footprint"), "base_link")


def odometry(stamp: int, x: float = 0.0, **changes: float) -> Odometry:
    message = Odometry(header=header(stamp, "wheels"), child_frame_id="base_link")
    T = np.eye(4)
    T[0, 3] = x
    fill_pose(message.pose.pose, T)
    for name, value in changes.items():
        setattr(message.pose.pose.position if name in "xyz" else message.pose.pose.orientation, name[-1], value)
    return message


def drive(robot: Bench, count: int, *, ahead: float = 0.0, leap: float = 0.0, is_silent: bool = False) -> None:
    """Send images, each with its wheel odometry, whose clock is ahead [s]; clocks run as the machine's does.

    With a leap [m], the odometry moves by so much in the 50 ms before each image; images are 100 ms apart or more.
    """
    for number in range(count):
        stamp, begun = robot.next_stamp, time.monotonic_ns()
        told, x = stamp + round(ahead * 1e9), 0.01 * number
        if leap:
            robot.publisher(Odometry, TOPIC).publish(odometry(told - 50_000_000, x - leap))
        if not is_silent:
            robot.publisher(Odometry, TOPIC).publish(odometry(told, x))
        time.sleep(0.05)  # the odometry arrives first, as its sender's clock says
        robot.send(stamp=stamp)
        robot.get("odom", stamp)
        robot.next_stamp = max(robot.next_stamp, stamp + time.monotonic_ns() - begun)


def says(robot: Bench, key: str, what: str) -> None:
    wait_until(lambda: what in robot.diagnostics().get(key, ""), f"{key}: {what}, not {robot.diagnostics().get(key)}")


def test_the_height_above_the_ground_is_heard(robot):
    drive(robot, 3)
    wait_until(lambda: robot.diagnostics().get("camera_height", "not known")[:9] != "not known", "the height")


def test_what_restarts_may_say_another_height(robot):
    """Each time another participant does, while the one before is gone."""
    for height, what in ((90.0, "the camera is 90.00 m above ground_frame"), (0.5, "")):
        sender = Bench("raised")
        latched = sender.publisher(TFMessage, "/tf_static", LATCHED)

        def is_heard(latched: Publisher = latched, height: float = height, what: str = what) -> bool:
            latched.publish(TFMessage(transforms=[raised(height)]))
            drive(robot, 1)
            said = robot.diagnostics().get("camera_height", "")
            return what in said if what else "above ground_frame" not in said

        wait_until(is_heard, f"a height of {height} m")
        sender.close()


def test_bad_messages_are_refused_in_a_sentence_each(running, robot):
    bad = [
        (odometry(robot.next_stamp, x=math.nan), "its position (nan, 0, 0) is impossible"),
        (odometry(robot.next_stamp, x=1e160), "its position (1e+160, 0, 0) is impossible"),
        (odometry(robot.next_stamp, ow=0.0), "its orientation (w, x, y, z) = (0, 0, 0, 0) is not a unit quaternion"),
        (odometry(0), "it has no valid stamp"),
    ]
    for message, sentence in bad:
        robot.publisher(Odometry, TOPIC).publish(message)
        wait_until(lambda sentence=sentence: sentence in running.text(), sentence)
    drive(robot, 1)
    says(robot, "wheel_odom_refused", "4")


def test_a_gap_is_said(robot):
    def is_said() -> bool:
        drive(robot, 1)
        silent_until = robot.next_stamp + 1_500_000_000  # of which diagnostics come once at least
        while robot.next_stamp < silent_until:
            drive(robot, 1, is_silent=True)
        return "nothing came of it for" in robot.diagnostics().get("wheel_odom", "")

    drive(robot, 5)
    wait_until(is_said, "the gap to be said")


def test_another_clock_and_a_restart(running, robot):
    said = len(running.text())

    def compared() -> re.Match[str] | None:
        drive(robot, 1, ahead=1000.0)
        return re.search(r"ahead of those of wheel_odom by -(\d+)", running.text()[said:])

    found = wait_until(compared, "the clocks to be compared")
    assert 900 < int(found[1]) < 1100

    def jumped() -> bool:
        drive(robot, 1, ahead=1000.0, leap=50.0)  # in each, so that no rotations are compared in between
        return "jumped by 50.00 m" in robot.diagnostics().get("wheel_odom", "")

    wait_until(jumped, "the jump to be said")


def test_a_change_of_frames_is_said(running, robot):
    message = odometry(robot.next_stamp)
    message.header.frame_id, message.child_frame_id = "fused", "base_link"
    robot.publisher(Odometry, TOPIC).publish(message)
    wait_until(lambda: "wheel_odom changed from" in running.text(), "the change to be said")
