"""A camera on its mount, in front of a node in another process."""

from __future__ import annotations

import time

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.ros.conversions import image_message, time_message, transform_message

FRAME_ID = "camera"
#: Of the first image that `Camera.send` sends, and between two of them [ns].
FIRST_NS, PERIOD_NS = 1_000_000_123, 33_333_333


def image_messages(count: int, width: int, height: int) -> list[Image]:
    """Return the first frames of a walk; stamps are for the sender to fill in."""
    from ttt3r_ros.synthetic import Sequence

    frames = Sequence(0, count, width=width, height=height).render(0, count)
    return [image_message(pixels, "rgb8", Header(frame_id=FRAME_ID)) for pixels in frames.image.numpy()]


class Camera:
    """Publishes images over and over, and its mount; subclasses listen to what a node makes of them.

    Attributes:
        published: number of images so far.
        sent: when images of the stamps [ns] were sent, by `time.time` [s].
    """

    def __init__(self, images: list[Image], *, depth: int = 1, namespace: str = "", period_ns: int = PERIOD_NS) -> None:
        """Join the graph.

        Args:
            images: to be sent over and over.
            depth: of the publisher's queue.
            namespace: of its topics.
            period_ns: between the stamps of two images [ns].
        """
        self.node = Node("camera", namespace=namespace)
        self._period_ns = period_ns
        self.published, self.sent = 0, dict[int, float]()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._messages = images
        self._images = self.node.create_publisher(Image, "image", QoSProfile(depth=depth))
        self._mounts = StaticTransformBroadcaster(self.node)
        self._mounts.sendTransform(transform_message(T_BASE_CAMERA, Header(frame_id="base_link"), FRAME_ID))

    def send(self) -> int:
        """Publish the next image with the next stamp, which is returned [ns]."""
        stamp_ns = FIRST_NS + self.published * self._period_ns
        self.publish(stamp_ns)
        return stamp_ns

    def publish(self, stamp_ns: int) -> None:
        """Publish the next image with this stamp [ns]."""
        message = self._messages[self.published % len(self._messages)]
        message.header.stamp = time_message(stamp_ns)
        self.published += 1
        self.sent[stamp_ns] = time.time()
        self._images.publish(message)

    def spin(self, seconds: float) -> None:
        """Receive for at most so long."""
        self._executor.spin_once(timeout_sec=seconds)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
