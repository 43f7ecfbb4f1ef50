"""Transforms between processes: tf2_msgs on the wire, the broadcasters and the listener."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from tf2_ros import Buffer, TransformListener
from waiting import PATIENCE, wait_until

pytestmark = pytest.mark.dds

#: What every distribution since Iron computes for tf2_msgs/msg/TFMessage (`ros2 topic info --verbose /tf`).
TYPE_HASH = "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
LONG = Duration(seconds=PATIENCE)

BROADCASTER = """
import rclpy, sys, time
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

def transform(parent, child, x):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, node.get_clock().now().to_msg()
    message.transform.translation.x, message.transform.rotation.w = x, 1.0
    return message

rclpy.init()
node = Node("broadcaster")
moving, static = TransformBroadcaster(node), StaticTransformBroadcaster(node)
static.sendTransform([transform("base", "left_camera", 0.5), transform("base", "right_camera", 0.25)])
print("sent", flush=True)
while True:
    moving.sendTransform([transform("map", "odom", 1.0), transform("odom", "base", 2.0)])
    time.sleep(0.05)
"""


@pytest.fixture
def broadcaster() -> Iterator[None]:
    """Another process that has already sent its static transforms."""
    process = subprocess.Popen([sys.executable, "-c", BROADCASTER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "sent\n"
    yield
    process.terminate()
    process.wait()
    process.stdout.close()


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = Node("listener")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.mark.usefixtures("broadcaster")
def test_transforms_of_another_process_are_found(node: Node) -> None:
    buffer = Buffer(node=node)
    listener = TransformListener(buffer, node, spin_thread=True)
    try:
        left = buffer.lookup_transform("map", "left_camera", Time(), LONG)
        right = buffer.lookup_transform("map", "right_camera", Time(), LONG)
    finally:
        listener.unregister()
    assert left.transform.translation.x == pytest.approx(3.5)
    assert right.transform.translation.x == pytest.approx(3.25)


@pytest.mark.usefixtures("broadcaster")
def test_the_message_has_the_type_hash_of_upstream(node: Node) -> None:
    wait_until(lambda: node.get_publishers_info_by_topic("/tf"), "the publisher")
    (publisher,) = node.get_publishers_info_by_topic("/tf")
    assert publisher.topic_type == "tf2_msgs/msg/TFMessage"
    if not hasattr(publisher, "topic_type_hash"):
        pytest.skip("this distribution announces no type hashes")
    assert str(publisher.topic_type_hash) == TYPE_HASH


@pytest.mark.skipif(not hasattr(Buffer, "time_jump_callback"), reason="in Humble a buffer does not watch the clock")
def test_a_buffer_starts_over_when_time_does(node: Node) -> None:
    node.set_parameters([Parameter("use_sim_time", value=True)])
    buffer = Buffer(node=node)
    publisher = node.create_publisher(Clock, "/clock", 1)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def tick(seconds: int) -> None:
        def has_arrived() -> bool:
            publisher.publish(Clock(clock=Time(seconds=seconds).to_msg()))
            executor.spin_once(timeout_sec=0.02)
            return node.get_clock().now().nanoseconds == seconds * 10**9

        wait_until(has_arrived, "the time")

    tick(100)
    transform = TransformStamped(child_frame_id="base")
    transform.header.frame_id, transform.header.stamp = "odom", Time(seconds=100).to_msg()
    buffer.set_transform(transform, "test")
    tick(101)
    assert buffer.can_transform("odom", "base", Time())
    tick(10)
    assert not buffer.can_transform("odom", "base", Time())
