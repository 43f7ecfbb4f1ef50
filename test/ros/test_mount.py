"""To whom the node listens for its camera's mount."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from harness import LATCHED, header
from rclpy.node import Node
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray
from ttt3r_ros.ros.conversions import transform_message
from ttt3r_ros.ros.mount import FIXED_FOR_SURE, Mount
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import Parameters

pytestmark = pytest.mark.dds


def transform(stamp: int, parent: str, child: str, height: float) -> TransformStamped:
    transform = TransformStamped(header=header(stamp, parent), child_frame_id=child)
    transform.transform.translation.z = height
    transform.transform.rotation.w = 1.0
    return transform


@pytest.fixture
def mounted(inside, camera):
    """Return a function that publishes a transform on /tf or /tf_static until the node sees its frame at a height."""
    publishers = {
        "/tf": camera.publisher(TFMessage, "/tf", 10),
        "/tf_static": camera.publisher(TFMessage, "/tf_static", LATCHED),
    }
    mount = inside.node.pipeline.mount

    def publish(topic: str, parent: str, child: str, height: float, seen: float | None = None) -> None:
        def is_known() -> bool:
            stamp = camera.next_stamp
            publishers[topic].publish(TFMessage(transforms=[transform(stamp, parent, child, height)]))
            T = mount.T_base(child)  # which makes the node listen to /tf until the frame is known
            return T is not None and T[2, 3] == (height if seen is None else seen)

        wait_until(is_known, f"{child} on {topic}")

    return publish


def listens_to_tf(inside) -> bool:
    return any(subscription.topic_name == "/tf" for subscription in inside.node.subscriptions)


def test_a_base_that_is_fixed_below_another_frame_is_said(inside, camera, capfd):
    """The node would give it a second parent, unless it broadcasts nothing."""
    mount, said = inside.node.pipeline.mount, "base_link has a parent in TF already: it is fixed below base_footprint"
    with inside.changed(publish_tf=False):
        parents = [transform(1, "hull", "base_link", 0.3), transform(1, "/base_footprint", "hull", 0.1)]
        camera.publisher(TFMessage, "/tf_static", LATCHED).publish(TFMessage(transforms=parents))
        wait_until(lambda: mount.root() == "base_footprint", "the frames above the base")
        camera.send_until_answered()
        assert said not in capfd.readouterr().err
    camera.send_until_answered()
    assert capfd.readouterr().err.count(said) == 1
    mount._parents.clear()


def test_tf_is_left_once_the_mount_is_known_to_be_fixed(inside, camera, mounted, monkeypatch):
    """And the mount is looked up again only when a static transform comes."""
    mounted("/tf_static", "base_link", "fixed_camera", 1.5)
    assert listens_to_tf(inside)
    camera.exchange(FIXED_FOR_SURE, frame_id="fixed_camera")
    wait_until(lambda: not listens_to_tf(inside), "the node to leave /tf")
    mount, looked = inside.node.pipeline.mount, []
    look = mount.buffer.lookup_transform_core
    with monkeypatch.context() as patch:
        patch.setattr(mount.buffer, "lookup_transform_core", lambda *link: looked.append(link[:2]) or look(*link))
        camera.exchange(3, frame_id="fixed_camera")
    assert ("base_link", "fixed_camera") not in looked
    mounted("/tf_static", "base_link", "fixed_camera", 1.25)  # a mount that is corrected
    used = mount.used
    wait_until(lambda: camera.exchange(frame_id="fixed_camera") and used["fixed_camera"][2, 3] == 1.25, "the change")
    assert not listens_to_tf(inside)


def test_tf_is_heard_again_for_a_frame_that_is_not_known(inside, camera, mounted):
    mounted("/tf_static", "base_link", "another_camera", 1.5)
    camera.exchange(FIXED_FOR_SURE, frame_id="another_camera")
    wait_until(lambda: not listens_to_tf(inside), "the node to leave /tf")
    camera.exchange(frame_id="late_camera")
    assert listens_to_tf(inside)
    mounted("/tf", "base_link", "moving_camera", 0.5)


def test_a_camera_that_is_the_base_needs_no_tf(inside, camera):
    camera.exchange(frame_id="camera_before_the_base")
    assert listens_to_tf(inside)
    camera.exchange(FIXED_FOR_SURE, frame_id="base_link")
    wait_until(lambda: not listens_to_tf(inside), "the node to leave /tf")


def test_tf_is_kept_for_a_mount_that_moves_or_is_assumed(inside, camera, mounted):
    mounted("/tf", "base_link", "turret", 1.0)
    mounted("/tf_static", "turret", "turret_camera", 0.5, seen=1.5)
    camera.exchange(FIXED_FOR_SURE + 2, frame_id="turret_camera")
    assert listens_to_tf(inside)
    camera.exchange(FIXED_FOR_SURE + 2, frame_id="camera_nobody_knows")
    assert listens_to_tf(inside)
    mounted("/tf", "base_link", "turret", 2.0)
    camera.exchange(frame_id="turret_camera")
    assert inside.node.pipeline.mount.used["turret_camera"][2, 3] == 2.5


@pytest.fixture
def alone() -> Iterator[Callable[..., tuple[Mount, list[str]]]]:
    """Return a function that makes a mount whose buffer only the test fills; the mount comes with what it says."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("alone", context=context)

    def make(base_frame: str = "base_link", given: FloatArray | None = None) -> tuple[Mount, list[str]]:
        said: list[str] = []
        log = SimpleNamespace(info=said.append, warning=said.append, error=said.append)
        node.get_logger = lambda: log
        return Mount(node, base_frame, Notices(log), given), said

    yield make
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize("height", [1e6, 1e300, -1e160])
def test_a_mount_that_no_robot_can_have_is_as_if_tf_had_none(alone, height):
    mount, said = alone()
    for child in ("camera", "imu"):
        mount.buffer.set_transform_static(transform(1, "base_link", child, height), "test")
    mount.buffer.set_transform_static(transform(1, "base_link", "near", 999.0), "test")
    for stamp in range(1, 20):
        np.testing.assert_array_equal(mount.at("camera", stamp, 0.0).T_base_camera, T_BASE_CAMERA)
        assert mount.T_base("imu") is None
        assert mount.T_ground_camera("camera", "base_link") is None
    assert mount.at("near", 1, 0.0).T_base_camera[2, 3] == 999.0
    sentence = f"TF places 'camera' more than 1000 m from 'base_link' (0, 0, {height:.3g}): that is ignored"
    assert sum(sentence in line for line in said) == 1
    assert sum("TF places 'imu'" in line for line in said) == 1


def test_two_nodes_that_disagree_about_a_mount_are_said_once_in_a_while(alone):
    mount, said = alone()
    for n in range(FIXED_FOR_SURE):
        mount.buffer.set_transform_static(transform(1, "base_link", "camera", 1.0 + n % 2), "test")
        assert mount.at("camera", n, 0.0).T_base_camera[2, 3] == 1.0 + n % 2
    (line,) = [line for line in said if "which replaces the previous one" in line]
    assert "two nodes publish it" in line


GIVEN = Parameters(camera_pose="0.1 0 1.0 0 0 0").T_base_camera


def test_the_ground_is_below_a_mount_that_the_user_has_given_and_not_below_one_that_is_assumed(alone):
    for given in (GIVEN, None):
        mount, _ = alone(given=given)
        mount.at("camera", 1, 0.0)
        assert mount.T_ground_camera("base_footprint", "camera") is None
        mount.buffer.set_transform_static(transform(1, "base_footprint", "base_link", 0.2), "test")
        for ground, height in (("base_link", 1.0), ("base_footprint", 1.2)):
            T = mount.T_ground_camera(ground, "camera")
            assert (T is None) == (given is None)
            assert T is None or T[2, 3] == pytest.approx(height)


@pytest.mark.parametrize("tf_is_late", [False, True])
def test_a_mount_in_tf_beside_camera_pose_is_said_once(alone, tf_is_late):
    mount, said = alone(given=GIVEN)
    if tf_is_late:
        np.testing.assert_array_equal(mount.at("camera", 1, 3600.0).T_base_camera, GIVEN)
        assert not any("another mount" in line for line in said)
    for n in range(2, 9):
        mount.buffer.set_transform_static(transform(1, "base_link", "camera", 1.5), "test")
        T = mount.at("camera", n, 0.0).T_base_camera
        assert (T[0, 3], T[2, 3]) == (0.0, 1.5)
    assert [line for line in said if "TF has no transform" not in line] == [
        "TF has another mount base_link -> camera than camera_pose, 0.510 m and 120.0 degrees from it: TF's is used "
        "and camera_pose is not; leave camera_pose out, or let nothing else publish the mount"
    ]


def test_a_mount_in_tf_that_is_the_camera_pose_needs_no_word(alone):
    mount, said = alone(given=GIVEN)
    same = transform_message(GIVEN, header(1, "base_link"), "camera")
    mount.buffer.set_transform_static(same, "test")
    for n in range(1, 4):
        np.testing.assert_allclose(mount.at("camera", n, 0.0).T_base_camera, GIVEN, atol=1e-9)
    assert said == []


@pytest.mark.parametrize(
    ("base_frame", "camera_frame", "is_said"),
    [
        ("camera_optical_frame", "camera_optical_frame", True),
        ("left_camera_optical", "camera", True),
        ("head", "head", True),
        ("base_link", "camera_optical_frame", False),
    ],
)
def test_a_base_with_optical_axes_is_said_once(alone, base_frame, camera_frame, is_said):
    mount, said = alone(base_frame)
    for stamp in (1, 2):
        mount.at(camera_frame, stamp, 0.0)
    sentences = [sentence for sentence in said if "is an optical frame (z forward, y down)" in sentence]
    assert len(sentences) == is_said
    assert all(f"'{base_frame}'" in sentence and "set base_frame to" in sentence for sentence in sentences)
