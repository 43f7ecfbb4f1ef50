"""The camera's calibration as its camera_info topic tells it."""

from __future__ import annotations

import threading

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import Camera, camera_from_info
from ttt3r_ros.ros.notices import Notices

#: Seconds that the first frame waits for a camera_info that somebody publishes.
FIRST_WAIT = 1.0


class Calibration:
    """Remembers the latest camera_info; works its camera out again only where it has changed."""

    def __init__(self, node: Node, notices: Notices) -> None:
        self._node, self._notices = node, notices
        self._info: CameraInfo | None = None
        self._came = threading.Event()
        self._has_waited = False
        self._key: tuple[object, ...] | None = None
        self._camera: Camera | None = None
        self.refused = 0  #: frames that had to do without because the camera_info could not be used
        self._subscription = node.create_subscription(
            CameraInfo,
            "camera_info",
            self._on_camera_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def camera(self, width: int, height: int, *, rectified: bool) -> Camera | None:
        """Return the camera of images of this size [px], None while no usable camera_info has come.

        To be called from a thread other than the executor's: the first call waits a moment for a camera_info that
        somebody publishes, so that a stream is calibrated from its first frame on.

        Args:
            width: of the images.
            height: of the images.
            rectified: the images have no distortion, see `camera_from_info`.
        """
        if not self._has_waited:
            self._has_waited = True
            if self._info is None and self._node.count_publishers(self._subscription.topic_name):
                self._came.wait(FIRST_WAIT)
        if self._info is None:
            return None
        info = self._info
        key = (width, height, _content(info, rectified))
        if key != self._key:
            self._key, self._camera = key, self._read(info, width, height, rectified)
        if self._camera is None:
            self.refused += 1
        return self._camera

    def _read(self, info: CameraInfo, width: int, height: int, rectified: bool) -> Camera | None:
        try:
            return camera_from_info(info, rectified=rectified, image_size=(width, height))
        except UserError as error:
            self._notices.warn(str(error))
            return None

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._info = message
        self._came.set()


def _content(info: CameraInfo, rectified: bool) -> tuple[object, ...]:
    """Return what of a camera_info makes a difference."""
    roi = info.roi
    window = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    # as bytes, since a NaN is not equal to itself
    matrices = tuple(np.asarray(matrix, dtype=np.float64).tobytes() for matrix in (info.k, info.d, info.p))
    return rectified, info.width, info.height, info.distortion_model, info.binning_x, info.binning_y, window, matrices
