"""What this package relies on in tf2_ros, be it ROS's or the underlay's."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="these packages come with ROS")

from geometry_msgs.msg import TransformStamped
from hypothesis import given
from hypothesis import strategies as st
from rclpy.duration import Duration
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import (
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    StaticTransformBroadcaster,
    TransformException,
)


def transform(
    parent: str, child: str, seconds: float, xyz: tuple[float, ...] = (0, 0, 0), yaw: float = 0.0
) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = at(seconds).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, xyz)
    q.z, q.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def at(seconds: float) -> Time:
    return Time(nanoseconds=round(seconds * 1e9))


def filled(*transforms: TransformStamped, static: tuple[TransformStamped, ...] = ()) -> Buffer:
    buffer = Buffer()
    for message in transforms:
        buffer.set_transform(message, "test")
    for message in static:
        buffer.set_transform_static(message, "test")
    return buffer


def matrix(message: TransformStamped) -> np.ndarray:
    t, q = message.transform.translation, message.transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = t.x, t.y, t.z
    return result


components = st.floats(-2, 2)
rotations = st.tuples(components, components, components, components).filter(lambda q: np.linalg.norm(q) > 0.1)
poses = st.tuples(st.tuples(components, components, components), rotations)


def arbitrary(parent: str, child: str, pose: tuple[tuple[float, ...], tuple[float, ...]]) -> TransformStamped:
    message = transform(parent, child, 1, pose[0])
    q = np.array(pose[1]) / np.linalg.norm(pose[1])
    rotation = message.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, q)
    return message


@given(poses, poses, poses)
def test_a_lookup_composes_what_lies_between_two_frames(map_odom: tuple, odom_base: tuple, map_tag: tuple) -> None:
    links = [arbitrary("map", "odom", map_odom), arbitrary("odom", "base", odom_base), arbitrary("map", "tag", map_tag)]
    buffer = filled(*links)
    T_map_odom, T_odom_base, T_map_tag = map(matrix, links)
    found = buffer.lookup_transform("tag", "base", Time())
    assert (found.header.frame_id, found.child_frame_id) == ("tag", "base")
    np.testing.assert_allclose(matrix(found), np.linalg.inv(T_map_tag) @ T_map_odom @ T_odom_base, atol=1e-9)
    back = buffer.lookup_transform("base", "tag", Time())
    np.testing.assert_allclose(matrix(back) @ matrix(found), np.eye(4), atol=1e-9)


def test_between_two_samples_the_pose_is_interpolated() -> None:
    buffer = filled(transform("odom", "base", 1, (0, 0, 0), 0.0), transform("odom", "base", 2, (4, 2, 0), 1.0))
    found = buffer.lookup_transform("odom", "base", at(1.25))
    np.testing.assert_allclose(matrix(found), matrix(transform("odom", "base", 1.25, (1, 0.5, 0), 0.25)), atol=1e-9)
    assert Time.from_msg(found.header.stamp).nanoseconds == at(1.25).nanoseconds


def test_rotation_takes_the_shorter_arc() -> None:
    later = transform("odom", "base", 2, yaw=0.4)
    rotation = later.transform.rotation
    rotation.z, rotation.w = -rotation.z, -rotation.w  # the same rotation
    found = filled(transform("odom", "base", 1), later).lookup_transform("odom", "base", at(1.5))
    np.testing.assert_allclose(matrix(found), matrix(transform("odom", "base", 1.5, yaw=0.2)), atol=1e-9)


def test_time_zero_asks_for_the_latest_time_known_to_all_links() -> None:
    buffer = filled(
        *(transform("odom", "base", t, (t, 0, 0)) for t in (1, 2, 3)),
        *(transform("base", "arm", t, (0, t, 0)) for t in (1, 2)),
        static=(transform("arm", "camera", 0, (0, 0, 1)),),
    )
    found = buffer.lookup_transform("odom", "camera", Time())
    assert Time.from_msg(found.header.stamp).nanoseconds == at(2).nanoseconds
    np.testing.assert_allclose(matrix(found)[:3, 3], [2, 2, 1])


def test_static_transforms_hold_at_all_times() -> None:
    buffer = filled(static=(transform("base", "camera", 5, (1, 0, 0)),))
    for time in (Time(), at(1), at(1e6)):
        assert buffer.lookup_transform("base", "camera", time).transform.translation.x == 1
    buffer.clear()
    assert buffer.can_transform("base", "camera", Time())


@pytest.mark.parametrize(("seconds", "word"), [(0.5, "past"), (2.5, "future")])
def test_times_outside_what_is_known_are_refused(seconds: float, word: str) -> None:
    buffer = filled(transform("odom", "base", 1), transform("odom", "base", 2))
    with pytest.raises(ExtrapolationException, match=word):
        buffer.lookup_transform("odom", "base", at(seconds))
    possible, reason = buffer.can_transform("odom", "base", at(seconds), return_debug_tuple=True)
    assert not possible
    assert word in reason


def test_one_sample_is_valid_at_its_own_time_only() -> None:
    buffer = filled(transform("odom", "base", 1))
    assert buffer.can_transform("odom", "base", at(1))
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("odom", "base", at(1.1))


def test_unknown_frames_are_named() -> None:
    with pytest.raises(LookupException, match="nowhere"):
        filled(transform("odom", "base", 1)).lookup_transform("odom", "nowhere", Time())


def test_unconnected_frames_are_named() -> None:
    with pytest.raises(ConnectivityException, match="camera"):
        filled(transform("odom", "base", 1), transform("mast", "camera", 1)).lookup_transform("odom", "camera", Time())


@pytest.mark.parametrize("frame", ["", "/base"])
def test_names_that_no_frame_can_have_are_refused(frame: str) -> None:
    with pytest.raises(InvalidArgumentException):
        filled(transform("odom", "base", 1)).lookup_transform("odom", frame, Time())


def test_all_failures_are_transform_exceptions() -> None:
    for kind in (LookupException, ConnectivityException, ExtrapolationException, InvalidArgumentException):
        assert issubclass(kind, TransformException)


def test_old_transforms_are_forgotten() -> None:
    buffer = filled(*(transform("odom", "base", t) for t in range(1, 31)))
    assert buffer.can_transform("odom", "base", at(20))
    assert not buffer.can_transform("odom", "base", at(15))


@pytest.mark.parametrize("fault", ["nan", "no rotation", "self", "nameless"])
def test_a_transform_that_makes_no_sense_is_not_taken(fault: str) -> None:
    message = transform("odom", "odom" if fault == "self" else "" if fault == "nameless" else "base", 1)
    if fault == "nan":
        message.transform.translation.x = math.nan
    if fault == "no rotation":
        message.transform.rotation.w = 0.0
    with pytest.raises(TransformException):
        filled(message).lookup_transform("odom", "base", Time())


def test_rotations_are_normalised() -> None:
    message = transform("odom", "base", 1, yaw=1.0)
    message.transform.rotation.z *= 2
    message.transform.rotation.w *= 2
    found = filled(message).lookup_transform("odom", "base", Time())
    np.testing.assert_allclose(matrix(found), matrix(transform("odom", "base", 1, yaw=1.0)), atol=1e-9)


def test_waiting_ends_when_the_time_is_up() -> None:
    with pytest.raises(LookupException):
        Buffer().lookup_transform("odom", "base", Time(), Duration(seconds=0.05))


@pytest.mark.skipif(
    not find_spec("tf2_ros.rigid"), reason="tf2_ros is not the underlay's, and its releases differ here"
)
def test_all_static_transforms_are_in_the_last_message() -> None:
    class Recorder:
        def create_publisher(self, *_: object) -> Recorder:
            return self

        def publish(self, message: TFMessage) -> None:
            self.last = message

    recorder = Recorder()
    broadcaster = StaticTransformBroadcaster(recorder)
    broadcaster.sendTransform(transform("base", "left", 1))
    broadcaster.sendTransform([transform("base", "right", 1)])
    broadcaster.sendTransform(transform("base", "left", 1, (1, 0, 0)))
    sent = {one.child_frame_id: one.transform.translation.x for one in recorder.last.transforms}
    assert sent == {"left": 1, "right": 0}
