"""A stand-in for the node that knows the truth: it publishes the ground truth on the node's topics."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import rclpy
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.geometry import FloatArray, T_from_pose, inverse
from ttt3r_ros.mapping.cloud import colored_points
from ttt3r_ros.ros.conversions import cloud_message, fill_pose, image_message, nanoseconds
from ttt3r_ros.ros.fastdds import make_room_for_images


class PerfectNode(Node):
    """Its odometry starts at the first true pose; its depth, cloud and image are the camera's own."""

    def __init__(self) -> None:
        super().__init__("ttt3r")
        self._bridge = CvBridge()
        self._parts: dict[int, dict[str, Any]] = {}
        self._origin: FloatArray | None = None
        self._count = 0
        for kind, topic in (
            (Odometry, "ground_truth/odom"),
            (Image, "ground_truth/depth/image"),
            (CameraInfo, "camera_info"),
            (Image, "image"),
        ):
            self.create_subscription(kind, topic, lambda message, topic=topic: self._on(topic, message), 10)
        self._outputs = {
            name: self.create_publisher(kind, f"~/{name}", 10)
            for kind, name in (
                (Odometry, "odom"),
                (Image, "rgb/image"),
                (Image, "depth/image"),
                (CameraInfo, "depth/camera_info"),
                (Image, "confidence/image"),
                (PointCloud2, "points"),
            )
        }
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(0.2, self._publish_diagnostics)

    def _on(self, topic: str, message: Any) -> None:
        parts = self._parts.setdefault(nanoseconds(message.header.stamp), {})
        parts[topic] = message
        if len(parts) == 4:
            self._publish(**{name.replace("/", "_"): part for name, part in parts.items()})

    def _publish(
        self, ground_truth_odom: Odometry, ground_truth_depth_image: Image, camera_info: CameraInfo, image: Image
    ) -> None:
        pose = ground_truth_odom.pose.pose
        p, q = pose.position, pose.orientation
        T_world_base = T_from_pose([p.x, p.y, p.z], [q.w, q.x, q.y, q.z])
        if self._origin is None:
            self._origin = inverse(T_world_base)
        odom = ground_truth_odom
        odom.header.frame_id = "odom"
        fill_pose(odom.pose.pose, self._origin @ T_world_base)
        depth = self._bridge.imgmsg_to_cv2(ground_truth_depth_image)
        confidence = np.full_like(depth, 2.0)
        rgb = self._bridge.imgmsg_to_cv2(image, "rgb8")
        intrinsics = Calibration.from_message(camera_info).camera(rectified=True).intrinsics
        cloud = colored_points(depth, confidence, rgb, intrinsics)
        for name, message in {
            "odom": odom,
            "rgb/image": image,
            "depth/image": ground_truth_depth_image,
            "depth/camera_info": camera_info,
            "confidence/image": image_message(confidence, "32FC1", image.header),
            "points": cloud_message(cloud, image.header),
        }.items():
            self._outputs[name].publish(message)
        self._count += 1

    def _publish_diagnostics(self) -> None:
        values = {"frames_received": str(self._count), "frames_dropped": "0", "rss_mb": "100", "weights": "the truth"}
        values["weights_note"] = "the truth has never seen a real image"
        status = DiagnosticStatus(name="ttt3r: stream", values=[KeyValue(key=k, value=v) for k, v in values.items()])
        self._diagnostics.publish(DiagnosticArray(status=[status]))


def main() -> None:
    make_room_for_images()
    rclpy.init(args=sys.argv)
    try:
        rclpy.spin(PerfectNode())
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
