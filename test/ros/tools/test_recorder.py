"""What the demo records of a node."""

from __future__ import annotations

import array
from collections.abc import Callable

import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from harness import LATCHED, header, subscribers
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.ros.tools.recorder import Recorder

pytestmark = pytest.mark.dds

OUTPUTS = {
    "odom": Odometry,
    "rgb/image": Image,
    "depth/image": Image,
    "depth/camera_info": CameraInfo,
    "confidence/image": Image,
    "points": PointCloud2,
}


def test_frames_wait_for_a_mount_that_is_heard_after_them(bench):
    rclpy.init(args=[])
    try:
        recorder, executor = Recorder(), SingleThreadedExecutor()
        executor.add_node(recorder)

        def soon(done: Callable[[], bool]) -> Callable[[], bool]:
            return lambda: executor.spin_once(0.1) or done()

        publishers = [bench.publisher(kind, f"/ttt3r/{name}") for name, kind in OUTPUTS.items()]
        wait_until(soon(lambda: all(subscribers(bench.node, p.topic_name) for p in publishers)), "the recorder")
        assert not recorder.lacks_mount()
        for publisher, kind in zip(publishers, OUTPUTS.values()):
            message = kind(header=header(10**9, "odom" if kind is Odometry else "camera"))
            if kind is Odometry:
                message.child_frame_id = "base_link"
            elif kind is Image:
                message.height, message.width, message.step, message.encoding = 1, 1, 4, "32FC1"
                message.data = array.array("B", bytes(4))
            publisher.publish(message)
        wait_until(soon(recorder.lacks_mount), "a frame without a mount")
        mount = TransformStamped(header=header(0, "base_link"), child_frame_id="camera")
        mount.transform.rotation.w = 1.0
        bench.node.create_publisher(TFMessage, "/tf_static", LATCHED).publish(TFMessage(transforms=[mount]))
        wait_until(soon(lambda: not recorder.lacks_mount()), "the mount")
    finally:
        rclpy.shutdown()
