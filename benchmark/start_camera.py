"""The camera in front of a node that starts."""

from __future__ import annotations

import time

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from benchmark.images import FRAME_ID, image_messages
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import R_BODY_OPTICAL
from ttt3r_ros.ros.conversions import transform_message
from ttt3r_ros.ros.tools.processes import ChildProcess
from ttt3r_ros.ros.topics import ODOM

ODOMETRY = f"ttt3r/{ODOM}"
HZ, SIZE = 10.0, (640, 480)
PICTURES = 8  #: rendered once and sent over and over
WATCH_PERIOD = 0.01  #: seconds between two looks at who has been discovered


class Camera:
    """Publishes images and its mount, and hears odometry, while `first_odometry` waits for it."""

    def __init__(self) -> None:
        self._node = Node("camera")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._messages = image_messages(PICTURES, *SIZE)
        self._sent = 0
        self._met: float | None = None
        self._heard: list[tuple[float, float]] = []
        self._images = self._node.create_publisher(Image, "image", QoSProfile(depth=1))
        self._node.create_subscription(Odometry, ODOMETRY, self._hear, QoSProfile(depth=10))
        self._node.create_timer(1.0 / HZ, self._send)
        self._node.create_timer(WATCH_PERIOD, self._watch)
        T_base_camera = np.eye(4)
        T_base_camera[:3, :3] = R_BODY_OPTICAL
        self._mounts = StaticTransformBroadcaster(self._node)
        self._mounts.sendTransform(transform_message(T_base_camera, Header(frame_id="base_link"), FRAME_ID))

    def first_odometry(self, child: ChildProcess, launched: float, patience: float) -> tuple[float, float]:
        """Return when this camera and the node had discovered each other, and when odometry came of an image since.

        All as `time.time` has it.

        Raises:
            UserError: none came, or the node has ended.
        """
        self._met = None
        deadline = time.monotonic() + patience
        while not (moments := [heard for stamp, heard in self._heard if stamp >= launched]):
            self._executor.spin_once(timeout_sec=0.5)
            child.raise_if_dead()
            if time.monotonic() > deadline:
                raise UserError(f"the node gave no odometry within {patience:.0f} s")
        self._heard.clear()
        return self._met or moments[0], moments[0]

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _send(self) -> None:
        message = self._messages[self._sent % len(self._messages)]
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._images.publish(message)
        self._sent += 1

    def _watch(self) -> None:
        if self._met is None and self._images.get_subscription_count() and self._node.count_publishers(ODOMETRY):
            self._met = time.time()

    def _hear(self, message: Odometry) -> None:
        stamp = message.header.stamp
        self._heard.append((stamp.sec + 1e-9 * stamp.nanosec, time.time()))
