"""A camera that is a consumer, too, of what a node makes of its images."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from benchmark.camera import FRAME_ID, PERIOD_NS, Camera
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros.conversions import camera_info_message, time_message
from ttt3r_ros.ros.topics import TOPICS

#: Fast DDS stamps a message's arrival for a reliable subscriber with its first 64 KB, for this kind with its last.
_ARRIVALS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_STAMP = struct.Struct("<4xiI")  # of a serialized message that begins with a header, little endian


class Consumer(Camera):
    """Publishes images with their camera_info, and notes when each output of each stamp arrives.

    Attributes:
        arrived: for each output, when it came of the stamps [ns], by the system's clock [s].
    """

    def __init__(
        self, outputs: list[str], images: list[Image], *, namespace: str = "", period_ns: int = PERIOD_NS
    ) -> None:
        super().__init__(images, namespace=namespace, period_ns=period_ns)
        self.arrived: dict[str, dict[int, float]] = {name: {} for name in outputs}
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1))
        for name in outputs:
            self.node.create_subscription(TOPICS[name][0], f"ttt3r/{name}", self._listener(name), _ARRIVALS, raw=True)

    def publish(self, stamp_ns: int) -> None:
        """Publish the next image, and its camera_info before it."""
        width, height = self._messages[0].width, self._messages[0].height
        camera = Intrinsics(0.9 * width, 0.9 * width, width / 2, height / 2, width, height)
        header = Header(stamp=time_message(stamp_ns), frame_id=FRAME_ID)
        self._infos.publish(camera_info_message(camera, header))
        super().publish(stamp_ns)

    def has_all(self, names: Iterable[str], stamp: int) -> bool:
        """Return whether these outputs of a stamp have come."""
        return all(stamp in self.arrived[name] for name in names)

    def latencies(self, name: str, stamps: list[int]) -> npt.NDArray[np.float64]:
        """Return the latency of an output [s]; NaN where it never came."""
        arrived = self.arrived[name]
        return np.array([arrived.get(stamp, np.nan) - self.sent[stamp] for stamp in stamps])

    def _listener(self, name: str) -> Any:
        arrived = self.arrived[name]

        def note(data: bytes, info: dict[str, Any]) -> None:
            sec, nanosec = _STAMP.unpack_from(data)
            arrived[sec * 10**9 + nanosec] = info["received_timestamp"] * 1e-9

        return note
