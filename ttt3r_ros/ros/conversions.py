"""Converts arrays to and from ROS messages. Large fields are never filled byte by byte."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from cv_bridge import CvBridge
from geometry_msgs.msg import Pose, PoseStamped, Transform, TransformStamped
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.camera.image_messages import read_compressed, read_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics, T_from_pose, quaternion_from_rotation
from ttt3r_ros.mapping.cloud import POINT_DTYPE
from ttt3r_ros.stream.odometry import Motion

CLOUD_FIELDS = [
    PointField(name=name, offset=POINT_DTYPE.fields[name][1], datatype=PointField.FLOAT32, count=1)  # type: ignore[index]
    for name in ("x", "y", "z", "rgb", "confidence")  # rgb is packed into a float, as PCL and RViz expect
]

#: A quaternion may differ from length 1 by this much.
MAX_LENGTH_ERROR = 0.1

_bridge = CvBridge()


def nanoseconds(stamp: Time) -> int:
    """Return a stamp as nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def is_valid_stamp(stamp: Time) -> bool:
    """Return whether a stamp is a valid time; rclcpp and tf2 throw exceptions for other stamps."""
    return stamp.sec >= 0 and stamp.nanosec < 1_000_000_000


def time_message(stamp_ns: int) -> Time:
    """Return a stamp [ns] as a message."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def read_message(message: Image | CompressedImage, held: SampleRange) -> tuple[npt.NDArray[np.uint8], SampleRange]:
    """Return the (H, W, 3) uint8 RGB image of a camera's message, and the range of its 16-bit samples up to this one.

    Raises:
        UserError: the message does not contain a readable image.
    """
    return (read_compressed if isinstance(message, CompressedImage) else read_image)(message, held)


def image_message(pixels: npt.NDArray[np.generic], encoding: str, header: Header) -> Image:
    """Return an Image message for a contiguous (H, W) or (H, W, C) array in one of the encodings of sensor_msgs."""
    message = _bridge.cv2_to_imgmsg(pixels, encoding=encoding)
    message.header = header
    return message


def camera_info_message(camera: Intrinsics | Calibration, header: Header) -> CameraInfo:
    """Return the CameraInfo message for a calibration, or for a pinhole camera without distortion."""
    calibration = camera if isinstance(camera, Calibration) else Calibration.of(camera)
    message = CameraInfo(
        header=header, height=calibration.height, width=calibration.width, distortion_model=calibration.model
    )
    message.k, message.d, message.r, message.p = (
        list(values) for values in (calibration.K, calibration.D, calibration.R, calibration.P)
    )
    message.binning_x, message.binning_y = calibration.binning
    roi = message.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = calibration.region
    return message


def lasting_image(shape: tuple[int, ...], dtype: npt.DTypeLike, encoding: str) -> tuple[Image, npt.NDArray[np.generic]]:
    """Return a reusable Image message and the (H, W) or (H, W, C) array that shares its memory."""
    pixels = np.zeros(shape, dtype)
    message = Image(height=shape[0], width=shape[1], encoding=encoding, step=pixels.nbytes // max(shape[0], 1))
    message.is_bigendian = sys.byteorder == "big"
    message.data.frombytes(pixels.tobytes())
    return message, np.frombuffer(message.data, dtype).reshape(shape)


def cloud_message(points: npt.NDArray[np.void], header: Header) -> PointCloud2:
    """Return an organized cloud message for an (H, W) array of `POINT_DTYPE`."""
    message = _cloud_without_points(*points.shape)
    message.header = header
    if points.size:  # an empty view cannot be cast
        # not assigned, because the setter would copy once more
        message.data.frombytes(np.ascontiguousarray(points).data.cast("B"))
    return message


def lasting_cloud(height: int, width: int) -> tuple[PointCloud2, npt.NDArray[np.void]]:
    """Return a reusable organized cloud and the (height, width) array of `POINT_DTYPE` that shares its memory."""
    message = _cloud_without_points(height, width)
    message.data.frombytes(bytes(height * width * POINT_DTYPE.itemsize))
    return message, np.frombuffer(message.data, dtype=POINT_DTYPE).reshape(height, width)


def _cloud_without_points(height: int, width: int) -> PointCloud2:
    step = POINT_DTYPE.itemsize
    cloud = PointCloud2(height=height, width=width, fields=CLOUD_FIELDS, point_step=step, row_step=step * width)
    cloud.is_bigendian, cloud.is_dense = sys.byteorder == "big", False
    return cloud


def odometry_message(motion: Motion, header: Header, child_frame_id: str) -> Odometry:
    """Return an Odometry message with the pose in the header's frame and the twist in the child frame."""
    message = Odometry(header=header, child_frame_id=child_frame_id)
    fill_pose(message.pose.pose, motion.T_odom_base)
    message.pose.covariance = np.diag(motion.covariances.pose).ravel().tolist()
    linear, angular = motion.twist
    velocity = message.twist.twist
    velocity.linear.x, velocity.linear.y, velocity.linear.z = linear.tolist()
    velocity.angular.x, velocity.angular.y, velocity.angular.z = angular.tolist()
    message.twist.covariance = np.diag(motion.covariances.twist).ravel().tolist()
    return message


def pose_message(T_odom_base: FloatArray, header: Header) -> PoseStamped:
    """Return a PoseStamped message."""
    message = PoseStamped(header=header)
    fill_pose(message.pose, T_odom_base)
    return message


def transform_message(T_parent_child: FloatArray, header: Header, child_frame_id: str) -> TransformStamped:
    """Return a TransformStamped message from the header's frame (parent) to the child frame."""
    message = TransformStamped(header=header, child_frame_id=child_frame_id)
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = T_parent_child[:3, 3].tolist()
    rotation.w, rotation.x, rotation.y, rotation.z = quaternion_from_rotation(T_parent_child[:3, :3]).tolist()
    return message


def matrix_from_transform(transform: Transform) -> FloatArray:
    """Return the (4, 4) matrix of a Transform message."""
    t, q = transform.translation, transform.rotation
    return T_from_pose([t.x, t.y, t.z], [q.w, q.x, q.y, q.z])


def matrix_from_pose(pose: Pose) -> FloatArray:
    """Return the (4, 4) matrix of a Pose message."""
    p, q = pose.position, pose.orientation
    return T_from_pose([p.x, p.y, p.z], [q.w, q.x, q.y, q.z])


def checked_pose(pose: Pose, max_position: float) -> FloatArray:
    """Return the (4, 4) matrix of a Pose message whose coordinates are at most so large [m].

    Raises:
        UserError: it is no pose; the message is a clause that says why.
    """
    p, q = pose.position, pose.orientation
    position, quaternion = np.array([p.x, p.y, p.z]), np.array([q.w, q.x, q.y, q.z])
    if not (np.abs(position) < max_position).all():  # NaN compares false
        raise UserError(f"its position ({_numbers(position)}) is impossible")
    if not abs(float(np.linalg.norm(quaternion)) - 1) < MAX_LENGTH_ERROR:
        raise UserError(f"its orientation (w, x, y, z) = ({_numbers(quaternion)}) is not a unit quaternion")
    return T_from_pose(position, quaternion)


def _numbers(values: FloatArray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def fill_pose(pose: object, T: FloatArray) -> None:
    """Write a (4, 4) transform into a geometry_msgs/Pose."""
    position: Sequence[float] = T[:3, 3].tolist()
    pose.position.x, pose.position.y, pose.position.z = position  # type: ignore[attr-defined]  # messages are untyped
    orientation = pose.orientation  # type: ignore[attr-defined]
    orientation.w, orientation.x, orientation.y, orientation.z = quaternion_from_rotation(T[:3, :3]).tolist()
