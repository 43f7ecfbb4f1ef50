"""A camera on its mount, and a consumer of what a node makes of its images, in one."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from benchmark.images import FRAME_ID
from ttt3r_ros.geometry import R_BODY_OPTICAL, Intrinsics
from ttt3r_ros.ros.conversions import camera_info_message, transform_message
from ttt3r_ros.ros.topics import TOPICS

#: Fast DDS stamps a message's arrival for a reliable subscriber with its first 64 KB, for this kind with its last.
_ARRIVALS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_STAMP = struct.Struct("<4xiI")  # of a serialized message that begins with a header, little endian


class Consumer:
    """Publishes images and notes when each output of each stamp arrives [s, of the system's clock]."""

    def __init__(self, outputs: list[str], images: list[Image]) -> None:
        self.node = Node("benchmark")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.messages = images
        self.sent: dict[int, float] = {}
        self.arrived: dict[str, dict[int, float]] = {name: {} for name in outputs}
        self._images = self.node.create_publisher(Image, "image", QoSProfile(depth=1))
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1))
        for name in outputs:
            self.node.create_subscription(TOPICS[name][0], f"ttt3r/{name}", self._listener(name), _ARRIVALS, raw=True)
        self._mounts = StaticTransformBroadcaster(self.node)
        T_base_camera = np.eye(4)
        T_base_camera[:3, :3] = R_BODY_OPTICAL
        self._mounts.sendTransform(transform_message(T_base_camera, Header(frame_id="base_link"), FRAME_ID))
        self._next = 1_000_000_123

    def send(self) -> int:
        """Publish the next image; return its stamp [ns]."""
        stamp, self._next = self._next, self._next + 33_333_333
        message = self.messages[len(self.sent) % len(self.messages)]
        message.header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        width, height = message.width, message.height
        focal = 0.9 * width
        self._infos.publish(
            camera_info_message(Intrinsics(focal, focal, width / 2, height / 2, width, height), message.header)
        )
        self.sent[stamp] = time.time()
        self._images.publish(message)
        return stamp

    def spin(self, seconds: float) -> None:
        """Receive for at most so long."""
        self.executor.spin_once(timeout_sec=seconds)

    def has_all(self, names: Iterable[str], stamp: int) -> bool:
        """Return whether these outputs of a stamp have come."""
        return all(stamp in self.arrived[name] for name in names)

    def latencies(self, name: str, stamps: list[int]) -> npt.NDArray[np.float64]:
        """Return the latency of an output [s]; NaN where it never came."""
        arrived = self.arrived[name]
        return np.array([arrived.get(stamp, np.nan) - self.sent[stamp] for stamp in stamps])

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()

    def _listener(self, name: str) -> Any:
        arrived = self.arrived[name]

        def note(data: bytes, info: dict[str, Any]) -> None:
            sec, nanosec = _STAMP.unpack_from(data)
            arrived[sec * 10**9 + nanosec] = info["received_timestamp"] * 1e-9

        return note
