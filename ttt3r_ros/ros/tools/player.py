"""The node that replaces a camera driver."""

from __future__ import annotations

import array
import time
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, twist_between
from ttt3r_ros.ros.conversions import camera_info_message, fill_pose, image_message, time_message, transform_message
from ttt3r_ros.ros.initialize import creating_node
from ttt3r_ros.ros.parameters import FrameSettings
from ttt3r_ros.sources import SourceFrame

#: High enough for compression to have no noticeable effect on accuracy.
_JPEG_QUALITY = 95

#: Wait before the publisher is destroyed, since best-effort subscribers then lose the messages they have not taken [s].
_LINGER_S = 0.5

TRUTH_TOPIC = "ground_truth/odom"
#: Transient local, so that a subscriber that is discovered late still gets all of the ground truth.
TRUTH_QOS = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class CameraOptions:
    """How the player presents itself.

    Attributes:
        frame_id: of images and camera_info, an optical frame.
        base_frame: child frame of the ground truth: what the camera is mounted on (x forward, y left, z up).
        T_base_camera: (4, 4) that mount; by default, the base is the camera's body, at the camera.
        compressed: publish CompressedImage (jpeg) rather than Image.
        best_effort: publish images without resending lost ones, as most camera drivers do.
        publish_mount: publish the static transform from base_frame to frame_id.
        publish_clock: publish /clock.
        publish_truth: have topics for ground truth, which frames may bring.
        queue: how many images are kept for reliable subscribers that have not acknowledged them.
    """

    frame_id: str = FrameSettings.camera_frame
    base_frame: str = FrameSettings.base_frame
    T_base_camera: FloatArray = field(default_factory=lambda: T_BASE_CAMERA)
    compressed: bool = False
    best_effort: bool = False
    publish_mount: bool = False
    publish_clock: bool = False
    publish_truth: bool = True
    queue: int = 5


def image_to_publish(image: npt.NDArray[np.uint8], options: CameraOptions) -> Image | CompressedImage:
    """Return the message for an image (H, W, 3) uint8 RGB, without its stamp; may be called from any thread.

    Raises:
        UserError: the image cannot be compressed.
    """
    header = Header(frame_id=options.frame_id)
    if not options.compressed:
        return image_message(image, "rgb8", header)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise UserError(f"an image of {image.shape[1]}x{image.shape[0]} pixels cannot be compressed as jpeg")
    jpeg = array.array("B", data.tobytes())  # which rclpy copies in one go, and anything else byte by byte
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=jpeg)


class Player(Node):
    """Publishes frames as ``camera/image_raw`` and ``camera/camera_info``, and ground truth if it is known.

    Names are relative, so that a namespace applies to the whole camera. Ground truth is published on
    ``ground_truth/odom``, in the frame ``world`` (z up), and on ``ground_truth/depth/image`` if that has subscribers.

    Attributes:
        options: how it presents itself.
    """

    def __init__(self, options: CameraOptions) -> None:
        """Create the publishers; ``rclpy`` must be initialized."""
        with creating_node():
            super().__init__("play", start_parameter_services=False)
        self.options = options
        # reliable by default, so that no fragment of a large image is lost
        reliability = ReliabilityPolicy.BEST_EFFORT if options.best_effort else ReliabilityPolicy.RELIABLE
        qos = QoSProfile(depth=options.queue, reliability=reliability)
        overridable = QoSOverridingOptions.with_default_policies()
        image_type, image_topic = (
            (CompressedImage, "camera/image_raw/compressed") if options.compressed else (Image, "camera/image_raw")
        )
        self._images = self.create_publisher(image_type, image_topic, qos, qos_overriding_options=overridable)
        self._infos = self.create_publisher(CameraInfo, "camera/camera_info", qos, qos_overriding_options=overridable)
        with_truth = options.publish_truth
        self._truth = self.create_publisher(Odometry, TRUTH_TOPIC, TRUTH_QOS) if with_truth else None
        self._true_depth = self.create_publisher(Image, "ground_truth/depth/image", 5) if with_truth else None
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10) if options.publish_clock else None
        self._last_truth: tuple[int, FloatArray] | None = None
        if options.publish_mount:
            self._send_mount()

    @property
    def image_topic(self) -> str:
        """The full name of the image topic, after remapping."""
        return str(self._images.topic_name)

    def is_heard(self, *, with_truth: bool = False) -> bool:
        """Return whether the images have a subscriber, and with ``with_truth`` also the topics of ground truth."""
        publishers = [self._images, self._truth, self._true_depth] if with_truth else [self._images]
        return all(publisher.get_subscription_count() > 0 for publisher in publishers if publisher is not None)

    def publish(self, message: Image | CompressedImage, frame: SourceFrame, stamp_ns: int) -> None:
        """Publish a frame, all of its messages with the same stamp and the image last."""
        stamp = time_message(stamp_ns)
        header = Header(stamp=stamp, frame_id=self.options.frame_id)
        if self._truth is not None and frame.T_world_camera is not None:
            T_world_base = frame.T_world_camera @ inverse(self.options.T_base_camera)
            self._truth.publish(self._true_odometry(stamp_ns, T_world_base))
        true_depth = self._true_depth
        if true_depth is not None and frame.depth is not None and true_depth.get_subscription_count() > 0:
            true_depth.publish(image_message(frame.depth, "32FC1", header))
        if frame.calibration is not None:
            self._infos.publish(camera_info_message(frame.calibration, header))
        message.header.stamp = stamp
        self._images.publish(message)

    def forget_motion(self) -> None:
        """Let the next true odometry have no velocity, since the camera jumps to where it then is."""
        self._last_truth = None

    def publish_clock(self, now_ns: int) -> None:
        """Publish the time for nodes with ``use_sim_time``; does nothing unless ``publish_clock`` is set."""
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=time_message(now_ns)))

    def flush(self, seconds: float, *, linger_s: float = _LINGER_S) -> None:
        """Wait until reliable subscribers have acknowledged the last images, at most ``seconds``, then a moment more.

        The extra wait is for best-effort subscribers, which do not acknowledge anything.
        """
        if not self.options.best_effort:
            self._images.wait_for_all_acked(Duration(seconds=seconds))
        time.sleep(linger_s)

    def _true_odometry(self, stamp_ns: int, T_world_base: FloatArray) -> Odometry:
        message = Odometry(child_frame_id=self.options.base_frame)
        message.header = Header(stamp=time_message(stamp_ns), frame_id="world")
        fill_pose(message.pose.pose, T_world_base)
        last = self._last_truth
        if last is not None and stamp_ns > last[0]:
            linear, angular = twist_between(last[1], T_world_base, (stamp_ns - last[0]) * 1e-9)
            velocity, turn = message.twist.twist.linear, message.twist.twist.angular
            velocity.x, velocity.y, velocity.z = linear.tolist()
            turn.x, turn.y, turn.z = angular.tolist()
        self._last_truth = stamp_ns, T_world_base
        return message

    def _send_mount(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.options.base_frame)
        self._mount_broadcaster = StaticTransformBroadcaster(self)
        mount = transform_message(self.options.T_base_camera, header, self.options.frame_id)
        self._mount_broadcaster.sendTransform(mount)
