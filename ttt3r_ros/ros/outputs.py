"""The node's publishers. Except for odometry and TF, messages are only created for topics with subscribers."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.mapping.cloud import colored_points, depth_in_millimeters, masked_depth, why_no_depth
from ttt3r_ros.ros.conversions import (
    camera_info_message,
    lasting_cloud,
    lasting_image,
    odometry_message,
    pose_message,
    transform_message,
)
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.topics import CONFIDENCE, DEPTH, DEPTH_INFO, ODOM, PATH, POINT_CLOUD, RGB, RGB_INFO, TOPICS
from ttt3r_ros.stream.estimate import IMAGE, POINTS, Estimate, Float32Array
from ttt3r_ros.stream.odometry import Motion

EMPTY = 10  #: depth images without a pixel in a row that are reported
PATH_PERIOD = 0.5  #: time between two paths [s], since filling a message with a thousand poses takes milliseconds


class Outputs:
    """All publishers of the node; they are reliable, so that best-effort and reliable consumers can both subscribe.

    Odometry has a publisher only while the node is active: by it, others know that the node is (`Watches`).

    Attributes:
        why_no_depth: why the last depth images have no pixel, in one clause; None if they have, or nobody subscribes.
    """

    def __init__(self, node: Node, parameters: Parameters) -> None:
        self._node = node
        self._publishers = {name: self._publisher(name) for name in TOPICS if name != ODOM}
        self._tf = TransformBroadcaster(node)
        self._poses: deque[PoseStamped] = deque(maxlen=parameters.path_max_size)
        self._path_sent = -np.inf
        # messages are reused: allocating memory costs more than filling it, and a message made from an array copies it
        self._cloud, self._points = lasting_cloud(0, 0)
        self.why_no_depth: str | None = None
        self._empty = 0  # depth images without a pixel in a row
        self._images: dict[tuple[str, str], tuple[Image, npt.NDArray[Any]]] = {}

    def set_active(self, active: bool) -> None:
        """Create the publisher of odometry, or destroy it; `publish_motion` may only be called while there is one."""
        if active == (ODOM in self._publishers):
            return
        if active:
            self._publishers[ODOM] = self._publisher(ODOM)
        else:
            self._node.destroy_publisher(self._publishers.pop(ODOM))

    def wanted(self) -> set[str]:
        """Return the outputs that the network must compute for the current subscribers."""
        listened = {name for name in TOPICS if name != ODOM and self._has_listener(name)}
        wanted = set()
        if listened - {PATH, RGB}:  # a camera_info may need points to estimate the focal length
            wanted.add(POINTS)
        if listened & {RGB, POINT_CLOUD}:
            wanted.add(IMAGE)
        return wanted

    def publish_motion(
        self, motion: Motion, header: Header, parameters: Parameters, T_map_odom: FloatArray | None = None
    ) -> None:
        """Publish TF first, then odometry and path; the header's frame is the odometry frame.

        Where the odometry has a place in the map, (4, 4), both transforms are in one message, so that none is ever used
        with an older one of the other.
        """
        if parameters.publish_tf:
            transforms = [transform_message(motion.T_odom_base, header, parameters.base_frame)]
            if T_map_odom is not None:
                map_header = Header(stamp=header.stamp, frame_id=parameters.map_frame)
                transforms.append(transform_message(T_map_odom, map_header, parameters.odom_frame))
            self._tf.sendTransform(transforms)
        self._publishers[ODOM].publish(odometry_message(motion, header, parameters.base_frame))
        if self._poses.maxlen != parameters.path_max_size:
            self._poses = deque(self._poses, maxlen=parameters.path_max_size)
        self._poses.append(pose_message(motion.T_odom_base, header))
        seconds = header.stamp.sec + 1e-9 * header.stamp.nanosec
        due = not self._path_sent <= seconds < self._path_sent + PATH_PERIOD  # also if time went back
        if due and self._has_listener(PATH):
            self._publishers[PATH].publish(Path(header=header, poses=list(self._poses)))
            self._path_sent = seconds

    def publish_dense(self, estimate: Estimate, header: Header, parameters: Parameters) -> None:
        """Publish images, their camera_info and the cloud to subscribers; the header's frame is the optical frame."""
        self.why_no_depth = None
        heard = [name for name in (RGB_INFO, DEPTH_INFO) if self._has_listener(name)]
        if heard and estimate.intrinsics is not None:
            info = camera_info_message(estimate.intrinsics, header)
            for name in heard:
                self._publishers[name].publish(info)
        if estimate.image is not None and self._has_listener(RGB):
            self._publish_image(RGB, estimate.image, "rgb8", header)
        if estimate.depth is None or estimate.confidence is None:
            return
        if self._has_listener(CONFIDENCE):
            self._publish_image(CONFIDENCE, estimate.confidence, "32FC1", header)
        if not (self._has_listener(DEPTH) or self._has_listener(POINT_CLOUD)):
            return
        depth = self._publish_depth(estimate.depth, estimate.confidence, header, parameters)
        if self._has_listener(POINT_CLOUD) and estimate.image is not None and estimate.intrinsics is not None:
            stride = parameters.point_stride
            shape = depth[::stride, ::stride].shape
            if self._points.shape != shape:
                self._cloud, self._points = lasting_cloud(*shape)
            colored_points(
                depth, estimate.confidence, estimate.image, estimate.intrinsics, stride=stride, out=self._points
            )
            self._cloud.header = header
            self._publishers[POINT_CLOUD].publish(self._cloud)

    def forget_path(self) -> None:
        """Clear the path."""
        self._poses.clear()
        self._path_sent = -np.inf

    def _publish_depth(
        self, depth: Float32Array, confidence: Float32Array, header: Header, parameters: Parameters
    ) -> Float32Array:
        """Publish confident depth if it has subscribers, and return it; the array is valid until the next frame."""
        message, trusted = self._room(DEPTH, depth, "32FC1")
        masked_depth(
            depth,
            confidence,
            min_confidence=parameters.min_confidence,
            max_depth=parameters.max_depth,
            out=trusted,
        )
        self._empty = self._empty + 1 if np.isnan(trusted).all() else 0
        if self._empty >= EMPTY:
            self.why_no_depth = why_no_depth(confidence.max(), parameters.min_confidence, parameters.max_depth)
        if self._has_listener(DEPTH):
            if parameters.depth_encoding == "16UC1":
                self._publish_image(DEPTH, depth_in_millimeters(trusted), "16UC1", header)
            else:
                message.header = header
                self._publishers[DEPTH].publish(message)
        return trusted

    def _publish_image(self, name: str, pixels: npt.NDArray[Any], encoding: str, header: Header) -> None:
        message, room = self._room(name, pixels, encoding)
        np.copyto(room, pixels)
        message.header = header
        self._publishers[name].publish(message)

    def _room(self, name: str, pixels: npt.NDArray[Any], encoding: str) -> tuple[Image, npt.NDArray[Any]]:
        """Return a topic's reusable message for pixels of this shape, and the array that shares its memory."""
        key = name, encoding
        if key not in self._images or self._images[key][1].shape != pixels.shape:
            self._images[key] = lasting_image(pixels.shape, pixels.dtype, encoding)
        return self._images[key]

    def _publisher(self, name: str) -> Publisher:
        kind, depth = TOPICS[name]
        overridable = QoSOverridingOptions.with_default_policies()
        return self._node.create_publisher(
            kind, f"~/{name}", QoSProfile(depth=depth), qos_overriding_options=overridable
        )

    def _has_listener(self, name: str) -> bool:
        return bool(self._publishers[name].get_subscription_count())
