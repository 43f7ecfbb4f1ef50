"""Subscribes to everything that the node publishes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_ros import Buffer, TransformException, TransformListener

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.evaluation.metrics import compare_depth, resample_depth
from ttt3r_ros.evaluation.run_log import Moment, RunLog
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros.conversions import matrix_from_pose, matrix_from_transform, nanoseconds
from ttt3r_ros.ros.tools.messages import moved, points_of
from ttt3r_ros.ros.tools.player import TRUTH_QOS, TRUTH_TOPIC

#: Maximum number of frames whose outputs may be incomplete.
_PENDING_FRAMES = 20

#: The outputs of a frame that a moment consists of.
_PARTS = {
    "odom": (Odometry, "ttt3r/odom"),
    "rgb": (Image, "ttt3r/rgb/image"),
    "depth": (Image, "ttt3r/depth/image"),
    "depth_info": (CameraInfo, "ttt3r/depth/camera_info"),
    "confidence": (Image, "ttt3r/confidence/image"),
    "points": (PointCloud2, "ttt3r/points"),
}


class Recorder(Node):
    """Subscribes like any other node, and groups the messages of each frame by stamp.

    Attributes:
        recording: what has been received so far.
        heard_at: monotonic time of the last odometry [s]; 0 before the first.
    """

    def __init__(self, *, is_live: bool = True) -> None:
        """Subscribe; ``rclpy`` must be initialized.

        Args:
            is_live: whether images are stamped when they are published, so that stamps tell the latency.
        """
        super().__init__("recorder", start_parameter_services=False)
        self.recording = RunLog()
        self.heard_at = 0.0
        self._is_live = is_live
        self._bridge = CvBridge()
        self._pending: dict[int, dict[str, Any]] = {}
        self._true_depths: dict[int, Image] = {}
        self._camera: Intrinsics | None = None
        self._tf = Buffer()
        self._tf_listener = TransformListener(self._tf, self)
        qos = QoSProfile(depth=10)
        for part, (kind, topic) in _PARTS.items():
            self.create_subscription(kind, topic, lambda message, part=part: self._on_part(part, message), qos)
        self.create_subscription(Odometry, TRUTH_TOPIC, self._on_truth, TRUTH_QOS)
        self.create_subscription(Image, "ground_truth/depth/image", self._on_true_depth, qos)
        self.create_subscription(CameraInfo, "camera/camera_info", self._on_camera_info, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)

    def hears_the_node(self) -> bool:
        """Return whether every output has a publisher."""
        return all(self.count_publishers(topic) > 0 for _, topic in _PARTS.values())

    def _on_part(self, part: str, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        if part == "odom":
            self.heard_at = time.monotonic()
            if self._is_live:
                self.recording.latencies_ms.append((time.time_ns() - stamp_ns) * 1e-6)
            self.recording.poses[stamp_ns] = matrix_from_pose(message.pose.pose)
        self._pending.setdefault(stamp_ns, {})[part] = message
        truth_to_come = self.count_publishers("ground_truth/depth/image") > 0
        for stamp in sorted(self._pending):
            if truth_to_come and stamp not in self._true_depths:
                continue
            self._take_if_whole(stamp)
        while len(self._pending) > _PENDING_FRAMES:
            oldest = min(self._pending)
            self._take_if_whole(oldest)
            self._pending.pop(oldest, None)

    def lacks_mount(self) -> bool:
        """Return whether frames wait for the camera's mount; TF publishes it once, and it may be heard last."""
        whole = [parts for parts in list(self._pending.values()) if parts.keys() >= _PARTS.keys()]
        return any(
            not self._tf.can_transform(parts["odom"].child_frame_id, parts["points"].header.frame_id, Time())
            for parts in whole[-1:]
        )

    def finish(self) -> None:
        """Process the frames that are still waiting for messages; no more are expected."""
        for stamp in sorted(self._pending):
            self._take_if_whole(stamp)

    def _take_if_whole(self, stamp_ns: int) -> None:
        if self._pending[stamp_ns].keys() >= _PARTS.keys() and self._take(stamp_ns, self._pending[stamp_ns]):
            del self._pending[stamp_ns]

    def _take(self, stamp_ns: int, parts: dict[str, Any]) -> bool:
        """Record a frame whose outputs are complete; return False while TF does not know its camera's mount."""
        moments = self.recording.moments
        true_depth = self._true_depth_for(stamp_ns, parts["depth_info"])
        depth = self._bridge.imgmsg_to_cv2(parts["depth"])
        if not moments.wants_next():
            moments.add(None)
        else:
            cloud: PointCloud2 = parts["points"]
            try:
                mount = self._tf.lookup_transform(parts["odom"].child_frame_id, cloud.header.frame_id, Time())
            except TransformException:
                return False
            T_odom_camera = self.recording.poses[stamp_ns] @ matrix_from_transform(mount.transform)
            points = points_of(cloud)
            moments.add(
                Moment(
                    stamp_ns=stamp_ns,
                    rgb=self._bridge.imgmsg_to_cv2(parts["rgb"], "rgb8"),
                    depth=depth,
                    confidence=self._bridge.imgmsg_to_cv2(parts["confidence"]),
                    true_depth=true_depth,
                    points_odom=moved(points, T_odom_camera).positions,
                    colors=points.colors,
                    point_confidence=points.confidences,
                    intrinsics=Calibration.from_message(parts["depth_info"]).camera(rectified=True).intrinsics,
                    T_odom_camera=T_odom_camera,
                )
            )
        if true_depth is not None:
            error = compare_depth(depth, true_depth).abs_rel
            if np.isfinite(error):
                self.recording.depth_errors.append(error)
        return True

    def _true_depth_for(self, stamp_ns: int, info: CameraInfo) -> np.ndarray | None:
        message = self._true_depths.get(stamp_ns)
        if message is None or self._camera is None:
            return None
        target = Calibration.from_message(info).camera(rectified=True).intrinsics
        return resample_depth(self._bridge.imgmsg_to_cv2(message), self._camera, target)

    def _on_truth(self, message: Odometry) -> None:
        self.recording.true_poses[nanoseconds(message.header.stamp)] = matrix_from_pose(message.pose.pose)

    def _on_true_depth(self, message: Image) -> None:
        self._true_depths[nanoseconds(message.header.stamp)] = message
        while len(self._true_depths) > 2 * _PENDING_FRAMES:  # the node may drop frames, but true depth arrives for each
            del self._true_depths[min(self._true_depths)]

    def _on_camera_info(self, message: CameraInfo) -> None:
        if message.k[0] > 0:
            self._camera = Calibration.from_message(message).camera(rectified=True).intrinsics

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("ttt3r"):
                self.recording.diagnostics = {item.key: item.value for item in status.values}
