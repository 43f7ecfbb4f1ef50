"""The camera in front of a node that starts."""

from __future__ import annotations

import time

from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile

from benchmark.camera import Camera, image_messages
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import nanoseconds
from ttt3r_ros.ros.tools.processes import ChildProcess
from ttt3r_ros.ros.topics import ODOM

ODOMETRY = f"ttt3r/{ODOM}"
HZ, SIZE = 10.0, (640, 480)
PICTURES = 8  #: rendered once and sent over and over
WATCH_PERIOD = 0.01  #: seconds between two looks at who has been discovered


class StartCamera(Camera):
    """Publishes images by the system's clock, and hears odometry, while `first_odometry` waits for it."""

    def __init__(self) -> None:
        super().__init__(image_messages(PICTURES, *SIZE))
        self._met: float | None = None
        self._heard: list[tuple[float, float]] = []
        self.node.create_subscription(Odometry, ODOMETRY, self._hear, QoSProfile(depth=10))
        self.node.create_timer(1.0 / HZ, lambda: self.publish(time.time_ns()))
        self.node.create_timer(WATCH_PERIOD, self._watch)

    def first_odometry(self, child: ChildProcess, launched: float, patience: float) -> tuple[float, float]:
        """Return when this camera and the node had discovered each other, and when odometry came of an image since.

        All as `time.time` has it.

        Raises:
            UserError: none came, or the node has ended.
        """
        self._met = None
        deadline = time.monotonic() + patience
        while not (moments := [heard for stamp, heard in self._heard if stamp >= launched]):
            self.spin(0.5)
            child.raise_if_dead()
            if time.monotonic() > deadline:
                raise UserError(f"the node gave no odometry within {patience:.0f} s")
        self._heard.clear()
        return self._met or moments[0], moments[0]

    def _watch(self) -> None:
        if self._met is None and self._images.get_subscription_count() and self.node.count_publishers(ODOMETRY):
            self._met = time.time()

    def _hear(self, message: Odometry) -> None:
        self._heard.append((1e-9 * nanoseconds(message.header.stamp), time.time()))
