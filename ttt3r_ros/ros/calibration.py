"""The camera's calibration as its camera_info topic tells it."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node, SubscriptionEventCallbacks  # its own module has another name on each distribution
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from ttt3r_ros.camera.calibration import Calibration, Camera
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import first_sentence
from ttt3r_ros.ros.receiver import ServedElsewhere

#: Seconds that the first frame waits for a camera_info that somebody publishes.
FIRST_WAIT = 1.0
POLL_SECONDS = 0.01
#: Seconds between two looks for a publisher of a latched camera_info, while none has been heard.
LATCHED_PERIOD = 1.0

_STAMP_END = 12  #: of a serialized camera_info [bytes]: how it is serialized, 4, and when it was sent, 8


class CalibrationInput:
    """Remembers the latest camera_info; reads it only where more than its stamp has changed.

    Messages wait in the middleware until a frame asks for its camera: nobody is woken by one of them, which comes just
    when the image does.

    A camera_info may be latched (transient local): sent once, before the node was there. A volatile subscription never
    hears that, and a transient local one never hears an ordinary camera. So there is a volatile one, and a transient
    local one beside it as soon as a publisher turns up that offers that and has not been heard; without such a
    publisher it would only make every camera driver warn of a QoS that does not fit.
    """

    def __init__(self, node: Node, notices: Notices) -> None:
        self._node, self._notices = node, notices
        self._calibration: Calibration | None = None
        self._serialized = b""  # but for its stamp
        self._has_waited = False
        self._key: tuple[object, ...] | None = None
        self._camera: Camera | None = None
        self.refused = 0  #: frames that had to do without because the camera_info could not be used
        self._subscription = self._subscribe(
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), QoSOverridingOptions.with_default_policies()
        )
        self._latched: Subscription[Any] | None = None
        self._looked_at = -LATCHED_PERIOD

    def camera(self, width: int, height: int, *, rectified: bool) -> Camera | None:
        """Return the camera of images of this size [px], None while no usable camera_info has come.

        The first call waits a moment for a camera_info that somebody publishes, so that a stream is calibrated from its
        first frame on.

        Args:
            width: of the images.
            height: of the images.
            rectified: the images have no distortion, see `Calibration.camera`.
        """
        self._take()
        if self._calibration is None and time.monotonic() - self._looked_at >= LATCHED_PERIOD:
            self._listen_to_latched()
        if not self._has_waited:
            self._has_waited = True
            self._wait()
        if self._calibration is None:
            return None
        key = (width, height, rectified, self._calibration)
        if key != self._key:
            self._key, self._camera = key, self._read(self._calibration, width, height, rectified)
        if self._camera is None:
            self.refused += 1
        return self._camera

    def _read(self, calibration: Calibration, width: int, height: int, rectified: bool) -> Camera | None:
        try:
            return calibration.camera(rectified=rectified, image_size=(width, height))
        except UserError as error:
            self._notices.warn(str(error))
            return None

    def _wait(self) -> None:
        deadline = time.monotonic() + FIRST_WAIT
        while (
            self._calibration is None
            and self._node.context.ok()
            and self._node.count_publishers(self._subscription.topic_name)
            and time.monotonic() < deadline
        ):
            self._listen_to_latched()
            time.sleep(POLL_SECONDS)
            self._take()

    def _take(self) -> None:
        """Look whether a camera_info has come; of several, which a deeper history holds, the last one counts."""
        latest = self._latest_of(self._subscription)
        if self._latched is not None and latest is None:
            latest = self._latest_of(self._latched)
        if latest is None or latest[_STAMP_END:] == self._serialized:
            return
        self._serialized = latest[_STAMP_END:]
        try:
            self._calibration = Calibration.from_message(deserialize_message(latest, CameraInfo))
        except Exception as error:  # of several classes
            self._notices.warn(f"a camera_info cannot be read and is ignored ({first_sentence(error)})")

    def _listen_to_latched(self) -> None:
        """Subscribe to latched messages, where somebody publishes such."""
        self._looked_at = time.monotonic()
        if self._latched is not None:
            return
        publishers = self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        if any(found.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for found in publishers):
            self._latched = self._subscribe(
                QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            )

    def _subscribe(self, qos: QoSProfile, overriding: QoSOverridingOptions | None = None) -> Subscription[Any]:
        return self._node.create_subscription(
            CameraInfo,
            "camera_info",
            lambda _: None,  # see `_take`
            qos,
            callback_group=ServedElsewhere(),
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            raw=True,
            qos_overriding_options=overriding,
        )

    @staticmethod
    def _latest_of(subscription: Subscription[Any]) -> bytes | None:
        handle: Any = subscription.handle
        latest: bytes | None = None
        with handle:
            taken = handle.take_message(CameraInfo, True)
            while taken is not None:
                latest = taken[0]
                taken = handle.take_message(CameraInfo, True)
        return latest
