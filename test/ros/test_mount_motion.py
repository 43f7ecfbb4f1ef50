"""What a mount that comes late, moves or is corrected does to the odometry, over DDS.

The node is real but for its network, which knows where each picture was taken (see `scripted_network`).
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from harness import LATCHED, Bench, header, pose_of, velocity_is_unknown
from in_process import InProcess, node_in_process
from nav_msgs.msg import Odometry
from rclpy.time import Time
from scripted_network import ScriptedNetwork, along, view
from tf2_msgs.msg import TFMessage
from waiting import PATIENCE, wait_until

from ttt3r_ros.geometry import R_BODY_OPTICAL, FloatArray, T_from_pose, inverse, rotation_vector
from ttt3r_ros.ros import mount
from ttt3r_ros.ros.conversions import matrix_from_transform, transform_message

pytestmark = pytest.mark.dds

STEP = 0.02  #: metres that the robot drives between two pictures, a tenth of a second apart
TENTH = 100_000_000
_numbers = itertools.count()


def turned(axis: Sequence[float], degrees: float, position: Sequence[float] = (0.0, 0.0, 0.0)) -> FloatArray:
    half = math.radians(degrees) / 2
    return T_from_pose(position, [math.cos(half), *(math.sin(half) * np.asarray(axis, dtype=float))])


#: A camera that looks back over the robot's left shoulder and down: 177° from the assumed one.
BACKWARD = turned([0, 0, 1], 177) @ turned([0, 1, 0], 20, [0.0, 0.0, 0.0])
BACKWARD[:3, :3] = BACKWARD[:3, :3] @ R_BODY_OPTICAL
BACKWARD[:3, 3] = [-0.2, 0.1, 0.6]


def angle(T: FloatArray) -> float:
    """Return the angle of a rotation [degrees]."""
    return math.degrees(float(np.linalg.norm(rotation_vector(T[:3, :3]))))


@pytest.fixture(scope="module")
def network() -> ScriptedNetwork:
    return ScriptedNetwork(along(STEP))


@pytest.fixture(scope="module")
def inside(network) -> Iterator[InProcess]:
    with node_in_process(network) as inside:
        yield inside


@pytest.fixture(scope="module")
def bench(inside) -> Iterator[Bench]:
    bench = Bench("mounts", "odom")
    bench.wait_for_node()
    bench.send_until_answered(image=view(0))
    yield bench
    bench.close()


class Robot:
    """A robot that begins a new odometry with a camera of its own."""

    def __init__(self, inside: InProcess, bench: Bench, network: ScriptedNetwork) -> None:
        self.inside, self.bench, self.network = inside, bench, network
        self.frame = f"camera_{next(_numbers)}"
        self.number = 0
        inside.node.pipeline.reset_odometry()

    def is_seen_from(self, T_base_camera: FloatArray, bases: Sequence[FloatArray]) -> None:
        """Let the network know where a fixed camera is while the base is at these poses."""
        self.network.poses = [inverse(T_base_camera) @ T_odom_base @ T_base_camera for T_odom_base in bases]

    def drive(self, count: int = 1, frame: str | None = None) -> list[Odometry]:
        """Send the next pictures; return the node's answers."""
        answers = []
        for _ in range(count):
            (stamp,) = self.bench.exchange(image=view(self.number), frame_id=frame or self.frame)
            answers.append(self.bench.get("odom", stamp))
            self.number += 1
        return answers

    def mount(self, T_base_camera: FloatArray, topic: str = "/tf_static", stamp: int | None = None) -> None:
        """Publish the mount, once."""
        stamp = self.bench.next_stamp if stamp is None else stamp
        message = transform_message(T_base_camera, header(stamp, "base_link"), self.frame)
        self.bench.publisher(TFMessage, topic, LATCHED if topic == "/tf_static" else 100).publish(
            TFMessage(transforms=[message])
        )

    def mount_is_heard(self, T_base_camera: FloatArray, topic: str = "/tf_static", stamp: int | None = None) -> None:
        """Publish the mount until the node has it."""
        mount = self.inside.node.pipeline.mount

        def is_known() -> bool:
            self.mount(T_base_camera, topic, stamp)
            if mount.T_base(self.frame) is None:  # which makes the node listen to /tf until the frame is known
                return False
            when = Time(nanoseconds=stamp or 0)
            if not mount.buffer.can_transform("base_link", self.frame, when):
                return False
            found = mount.buffer.lookup_transform("base_link", self.frame, when)
            return np.allclose(matrix_from_transform(found.transform), T_base_camera)

        wait_until(is_known, f"the mount of {self.frame}")


@pytest.fixture
def robot(inside, bench, network) -> Robot:
    return Robot(inside, bench, network)


def straight(count: int) -> list[FloatArray]:
    return [T_from_pose([STEP * i, 0.0, 0.0], [1, 0, 0, 0]) for i in range(count)]


def test_a_mount_that_comes_late_gives_the_axes_and_the_pose_goes_on(robot, inside, capfd):
    """The robot drives straight on, then turns; its real mount is known from the ninth picture on."""
    bases = straight(12)
    for _ in range(10):
        bases.append(bases[-1] @ turned([0, 0, 1], 5, [STEP, 0.0, 0.0]))
    robot.is_seen_from(BACKWARD, bases)
    before = robot.drive(8)
    assert pose_of(before[-1])[0, 3] < -0.1  # what the assumption costs: it seems to drive backward
    robot.mount_is_heard(BACKWARD)
    capfd.readouterr()
    after = robot.drive(14)

    jump = inverse(pose_of(before[-1])) @ pose_of(after[0])
    np.testing.assert_allclose(jump[:3, 3], [STEP, 0.0, 0.0], atol=1e-4)
    assert angle(jump) < 0.1
    T_odom_true = pose_of(after[0]) @ inverse(bases[8])
    np.testing.assert_allclose(T_odom_true[:3, :3], np.eye(3), atol=1e-4)  # it is level, and the heading is right
    for odometry, T_true_base in zip(after, bases[8:], strict=True):
        np.testing.assert_allclose(pose_of(odometry), T_odom_true @ T_true_base, atol=1e-4)
    assert [velocity_is_unknown(odometry) for odometry in after] == [True] + [False] * 13
    assert after[1].twist.twist.linear.x == pytest.approx(STEP / 0.1, abs=1e-3)

    said = capfd.readouterr().err
    assert said.count(f"TF now has the real mount base_link -> {robot.frame}, which replaces the assumed one") == 1
    with closing(Bench("late_subscriber")) as late:
        heard: list[TFMessage] = []
        late.node.create_subscription(TFMessage, "/tf_static", heard.append, LATCHED)
        wait_until(lambda: len(heard) >= 2, "both latched messages")

        def names() -> set[str]:  # which ROS may learn later than the messages
            return {publisher.node_name for publisher in late.node.get_publishers_info_by_topic("/tf_static")}

        wait_until(lambda: names() == {"ttt3r", "mounts"}, "both publishers, and no other")
        mounts = [t for message in heard for t in message.transforms if t.child_frame_id == robot.frame]
        assert mounts  # the real one
        assert all(mount.transform.translation.z == pytest.approx(0.6) for mount in mounts)


def test_an_odometry_that_has_turned_before_its_mount_came_is_not_left_tilted(robot):
    """Position and heading go on; roll and pitch, about whose axes it turned by mistake, become right."""
    sideways = turned([1, 0, 0], 50)  # mounted almost on its side: any further, and the network's image is turned too
    sideways[:3, :3] = sideways[:3, :3] @ R_BODY_OPTICAL
    bases = [turned([0, 0, 1], 3 * min(i, 10), [STEP * i, 0.0, 0.0]) for i in range(20)]
    robot.is_seen_from(sideways, bases)
    before = pose_of(robot.drive(11)[-1])
    assert abs(before[2, 0]) > 0.3  # 30° about an axis that it seems to have rolled by 50°
    robot.mount_is_heard(sideways)
    after = [pose_of(odometry) for odometry in robot.drive(9)]
    np.testing.assert_allclose(after[0][:3, 3], before[:3, 3], atol=STEP + 1e-4)
    for T in after:
        np.testing.assert_allclose(T[2, :3], [0, 0, 1], atol=1e-4)  # level
        assert math.atan2(T[1, 0], T[0, 0]) == pytest.approx(math.atan2(before[1, 0], before[0, 0]), abs=1e-4)
    np.testing.assert_allclose(inverse(after[0]) @ after[-1], inverse(bases[11]) @ bases[-1], atol=1e-4)


def test_a_fixed_mount_that_is_corrected_does_not_move_the_robot(robot):
    lower = BACKWARD.copy()
    lower[2, 3] -= 0.3
    wrong = lower @ turned([1, 0, 0], 10)
    robot.is_seen_from(lower, straight(30))
    robot.mount_is_heard(wrong)
    before = robot.drive(5)[-1]
    robot.mount_is_heard(lower)
    after = robot.drive(5)
    np.testing.assert_allclose(pose_of(after[0])[:3, 3] - pose_of(before)[:3, 3], [STEP, 0.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(pose_of(after[-1])[:3, :3], np.eye(3), atol=1e-4)
    assert [velocity_is_unknown(odometry) for odometry in after] == [True] + [False] * 4


def panned(stamp: int, began: int) -> FloatArray:
    """Return the mount of a camera on a joint that pans to and fro by 37°."""
    seconds = (stamp - began) * 1e-9
    T = turned([0, 0, 1], 37 * math.sin(2 * seconds), [0.1, 0.0, 0.5])
    T[:3, :3] = T[:3, :3] @ R_BODY_OPTICAL
    return T @ T_from_pose([0.05, 0.0, 0.1], [1, 0, 0, 0])


def test_a_standing_base_stands_while_its_camera_pans_and_its_images_come_late(robot, bench):
    """The images are 300 ms old when they come, and TF knows the joint up to now."""
    began = bench.next_stamp
    mounts = [panned(began + i * TENTH, began) for i in range(25)]
    robot.network.poses = [inverse(mounts[0]) @ T for T in mounts]
    robot.mount_is_heard(mounts[0], "/tf", began)
    for i in range(25 + 3):
        for stamp in range(began + i * TENTH, began + (i + 1) * TENTH, TENTH // 5):
            robot.mount(panned(stamp, began), "/tf", stamp)
        if i >= 3:
            robot.mount_is_heard(panned(began + i * TENTH, began), "/tf", began + i * TENTH)
            (odometry,) = robot.drive()
            T = pose_of(odometry)
            assert angle(T) < 0.02, i
            np.testing.assert_allclose(T[:3, 3], np.zeros(3), atol=1e-4)


def test_a_moving_mount_is_waited_for_a_little(robot, bench, monkeypatch, capfd):
    """TF comes 50 ms after the image that it belongs to."""
    monkeypatch.setattr(mount, "LAG_WAIT", PATIENCE)  # on a busy machine it comes later
    began = bench.next_stamp
    mounts = [panned(began + i * TENTH, began) for i in range(10)]
    robot.network.poses = [inverse(mounts[0]) @ T for T in mounts]
    robot.mount_is_heard(mounts[0], "/tf", began)
    robot.drive()
    for i in range(1, 10):
        late = threading.Timer(0.05, robot.mount, (mounts[i], "/tf", began + i * TENTH))
        late.start()
        (odometry,) = robot.drive()
        late.join()
        assert angle(pose_of(odometry)) < 0.1, i
    assert "does not have it at the image's stamp" not in capfd.readouterr().err


def test_a_moving_mount_that_tf_does_not_have_in_time_is_the_latest_and_said(robot, bench, monkeypatch, capfd):
    slept = [time.monotonic() + mount.LAG_WAIT_AGAIN]  # on a clock that goes on only while somebody sleeps
    monkeypatch.setattr(mount, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    began = bench.next_stamp
    T = panned(began + 3 * TENTH, began)
    robot.network.poses = [np.eye(4)] * 30
    robot.mount_is_heard(T, "/tf", began)
    robot.drive()
    capfd.readouterr()
    before = sum(slept)
    answers = robot.drive(20)
    assert sum(slept) - before == pytest.approx(mount.LAG_WAIT, abs=0.01)  # it does not wait for each
    said = capfd.readouterr().err
    assert said.count("does not have it at the image's stamp: using the latest one, which is 0.100 s older") == 1
    assert angle(pose_of(answers[-1])) < 0.1


def test_a_slash_before_a_frame_is_no_part_of_its_name(robot, inside, bench, capfd):
    """As in tf2, so that the mount is found, and none is assumed that would hide the real one."""
    robot.is_seen_from(BACKWARD, straight(10))
    robot.mount_is_heard(BACKWARD)
    answers = robot.drive(3, frame=f"/{robot.frame}")
    np.testing.assert_allclose(pose_of(answers[-1]), straight(3)[-1], atol=1e-4)
    assert "assuming" not in capfd.readouterr().err
    assert not any(robot.frame in frame for frame in inside.node.pipeline.mount.assumed)


def test_the_odometry_begins_with_the_first_frame_after_its_mount_is_known(robot, inside, bench):
    """While the node waits for the mount the robot drives on, which must not become the motion of one frame."""
    inside.set(wait_for_transform=60.0)
    robot.is_seen_from(BACKWARD, straight(256))
    first = bench.next_stamp
    sent: dict[int, int] = {}  # picture by stamp

    def stream() -> None:
        while not done.wait(0.05) and robot.number < 255:
            sent[bench.send(view(robot.number), frame_id=robot.frame)] = robot.number
            robot.number += 1

    done, thread = threading.Event(), threading.Thread(target=stream)
    thread.start()
    try:
        wait_until(lambda: robot.number > 15, "pictures")
        before, received = bench.next_stamp, inside.node.camera_input.received
        wait_until(lambda: inside.node.camera_input.received > received + 2, "a picture of after this moment")
        robot.mount_is_heard(BACKWARD)
        stamps = wait_until(
            lambda: len(s := [stamp for stamp in bench.stamps("odom") if stamp >= first]) > 3 and s, "odometry"
        )
    finally:
        done.set()
        thread.join()
        inside.set(wait_for_transform=0.1)
    assert stamps[0] >= before  # the picture that was taken last when the mount came
    for stamp in stamps:
        T = pose_of(bench.get("odom", stamp))
        np.testing.assert_allclose(T[0, 3], STEP * (sent[stamp] - sent[stamps[0]]), atol=1e-4)
