"""The camera's calibration as its camera_info topic tells it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.node import Node, SubscriptionEventCallbacks  # its own module has another name on each distribution
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import Camera, camera_from_info
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import first_sentence
from ttt3r_ros.ros.receiver import ServedElsewhere

#: Seconds that the first frame waits for a camera_info that somebody publishes.
FIRST_WAIT = 1.0
POLL_SECONDS = 0.01

_STAMP_END = 12  #: of a serialized camera_info [bytes]: how it is serialized, 4, and when it was sent, 8


class Calibration:
    """Remembers the latest camera_info; reads it only where more than its stamp has changed.

    Messages wait in the middleware until a frame asks for its camera: nobody is woken by one of them, which comes just
    when the image does.
    """

    def __init__(self, node: Node, notices: Notices) -> None:
        self._node, self._notices = node, notices
        self._info: CameraInfo | None = None
        self._content: tuple[object, ...] = ()
        self._serialized = b""  # but for its stamp
        self._has_waited = False
        self._key: tuple[object, ...] | None = None
        self._camera: Camera | None = None
        self.refused = 0  #: frames that had to do without because the camera_info could not be used
        self._subscription = node.create_subscription(
            CameraInfo,
            "camera_info",
            lambda _: None,  # see `_take`
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            callback_group=ServedElsewhere(),
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            raw=True,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def camera(self, width: int, height: int, *, rectified: bool) -> Camera | None:
        """Return the camera of images of this size [px], None while no usable camera_info has come.

        The first call waits a moment for a camera_info that somebody publishes, so that a stream is calibrated from its
        first frame on.

        Args:
            width: of the images.
            height: of the images.
            rectified: the images have no distortion, see `camera_from_info`.
        """
        self._take()
        if not self._has_waited:
            self._has_waited = True
            self._wait()
        if self._info is None:
            return None
        key = (width, height, rectified, self._content)
        if key != self._key:
            self._key, self._camera = key, self._read(self._info, width, height, rectified)
        if self._camera is None:
            self.refused += 1
        return self._camera

    def _read(self, info: CameraInfo, width: int, height: int, rectified: bool) -> Camera | None:
        try:
            return camera_from_info(info, rectified=rectified, image_size=(width, height))
        except UserError as error:
            self._notices.warn(str(error))
            return None

    def _wait(self) -> None:
        deadline = time.monotonic() + FIRST_WAIT
        while (
            self._info is None
            and self._node.context.ok()
            and self._node.count_publishers(self._subscription.topic_name)
            and time.monotonic() < deadline
        ):
            time.sleep(POLL_SECONDS)
            self._take()

    def _take(self) -> None:
        """Look whether a camera_info has come; of several, which a deeper history holds, the last one counts."""
        handle = self._subscription.handle
        latest: bytes | None = None
        with handle:
            taken: Any = handle.take_message(CameraInfo, True)
            while taken is not None:
                latest = taken[0]
                taken = handle.take_message(CameraInfo, True)
        if latest is None or latest[_STAMP_END:] == self._serialized:
            return
        self._serialized = latest[_STAMP_END:]
        try:
            self._info = deserialize_message(latest, CameraInfo)
        except Exception as error:  # of several classes
            self._notices.warn(f"a camera_info cannot be read and is ignored ({first_sentence(error)})")
            return
        self._content = _content(self._info)


def _content(info: CameraInfo) -> tuple[object, ...]:
    """Return what of a camera_info makes a difference."""
    roi = info.roi
    window = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    # as bytes, since a NaN is not equal to itself
    matrices = tuple(np.asarray(matrix, dtype=np.float64).tobytes() for matrix in (info.k, info.d, info.p))
    return info.width, info.height, info.distortion_model, info.binning_x, info.binning_y, window, matrices
