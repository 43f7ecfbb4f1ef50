"""Receives the camera's calibration from its camera_info topic."""

from __future__ import annotations

import time

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from ttt3r_ros.camera.calibration import Calibration, Camera
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.inbox import Inbox
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.ros_arguments import first_sentence

#: How long the first frame waits for a camera_info if the topic has a publisher [s].
FIRST_WAIT = 1.0
POLL_SECONDS = 0.01
#: Messages that are taken at once; one waits, unless the QoS is overridden.
MAX_TAKEN = 1000
#: Time between two looks at who publishes: a latched camera_info, until one has arrived, or another camera [s].
LOOK_PERIOD = 1.0

_STAMP_END = 12  #: end of the stamp in a serialized camera_info [bytes]: 4 for the encapsulation, 8 for the stamp


class CalibrationInput:
    """Keeps the latest camera_info, and parses it only if more than its stamp has changed.

    Messages wait in the middleware until a frame needs its camera, so that their arrival, at the same time as the
    image, wakes no thread.

    A camera_info may be latched (transient local): sent once, before the node started. A volatile subscription never
    receives it, and a transient local subscription never receives messages from a volatile publisher. So there is a
    volatile subscription, and a transient local one in addition once a publisher offers that durability and nothing has
    been received. It is not created before, because it would make every camera driver warn about incompatible QoS.

    A camera_info belongs to the camera that publishes images, raw or compressed, while it comes. Once nobody is left of
    those who published images and camera_info then, other images are not that camera's, and its camera_info is
    forgotten.
    """

    def __init__(self, node: Node, notices: Notices) -> None:
        self._node, self._notices = node, notices
        self._calibration: Calibration | None = None
        self._serialized = b""  # without the stamp
        self._has_waited = False
        self._key: tuple[object, ...] | None = None
        self._camera: Camera | None = None
        self.refused = 0  #: number of frames processed without a camera_info because it could not be used
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._inbox = Inbox(node, CameraInfo, "camera_info", qos)
        image = node.resolve_topic_name("image")
        self._image_topics = (image, f"{image}/compressed")  # a remapping of the one holds for both
        self._latched: Inbox | None = None
        self._looked_at = -LOOK_PERIOD
        self._senders: set[bytes] = set()  # identities of who has published images or camera_info ever since it came
        self._is_forgotten = False  # a former camera's, and that has not been said yet

    def camera(self, width: int, height: int, *, rectified: bool) -> Camera | None:
        """Return the camera for images of this size [px]; None until a usable camera_info has arrived.

        The first call waits a moment if camera_info has a publisher, so that a stream is calibrated from its first
        frame on; so does the first one of another camera. Images may be free of distortion, `rectified`: see
        `Calibration.camera`.
        """
        is_due = time.monotonic() - self._looked_at >= LOOK_PERIOD
        if is_due and self._calibration is not None:
            self._forget_a_former_camera()
        self._take()
        if is_due and self._calibration is None:
            self._listen_to_latched()
        if not self._has_waited:
            self._has_waited = True
            self._wait()
        if self._calibration is None:
            self._say_forgotten()
            return None
        key = (width, height, rectified, self._calibration)
        if key != self._key:
            self._key, self._camera = key, self._read(self._calibration, width, height, rectified)
        if self._camera is None:
            self.refused += 1
        return self._camera

    def _read(self, calibration: Calibration, width: int, height: int, rectified: bool) -> Camera | None:
        try:
            camera = calibration.camera(rectified=rectified, image_size=(width, height))
        except UserError as error:
            self._notices.warn(str(error))
            return None
        if camera.warning:
            self._notices.warn(camera.warning)
        return camera

    def _wait(self) -> None:
        deadline = time.monotonic() + FIRST_WAIT
        while (
            self._calibration is None
            and self._node.context.ok()
            and self._inbox.has_publisher()
            and time.monotonic() < deadline
        ):
            self._listen_to_latched()
            time.sleep(POLL_SECONDS)
            self._take()

    def _take(self) -> None:
        """Read the last camera_info that has arrived, if any."""
        latched = [] if self._latched is None else self._latched.take(MAX_TAKEN)  # one that is sent now comes to both
        arrived = self._inbox.take(MAX_TAKEN) or latched
        if not arrived:
            return
        is_new = arrived[-1][_STAMP_END:] != self._serialized
        # what is the same over and over is no news of who sends it, nor is the last one of a camera that is gone
        if is_new or (latched and self._publishers(self._inbox.topic)):
            self._senders = self._publishers(self._inbox.topic, *self._image_topics)
            self._is_forgotten = False
        if not is_new:
            return
        self._serialized = arrived[-1][_STAMP_END:]
        try:
            self._calibration = Calibration.from_message(deserialize_message(arrived[-1], CameraInfo))
        except Exception as error:  # has no common base class
            self._notices.warn(f"a camera_info cannot be read and is ignored ({first_sentence(error)})")

    def _forget_a_former_camera(self) -> None:
        """Forget the camera_info if nobody is left who published it, or images that it belongs to."""
        self._looked_at = time.monotonic()
        cameras, infos = self._publishers(*self._image_topics), self._publishers(self._inbox.topic)
        if not cameras:  # the last images of one that is gone
            return
        if not self._senders:  # so short was a publisher of camera_info there
            self._senders = cameras
        if left := self._senders & (cameras | infos):
            self._senders = left
            return
        if not infos:  # otherwise, what waits is theirs
            for inbox in filter(None, (self._inbox, self._latched)):
                inbox.take(MAX_TAKEN)
        self._calibration, self._serialized, self._key = None, b"", None
        self._has_waited, self._is_forgotten = False, True

    def _say_forgotten(self) -> None:
        if self._is_forgotten:
            self._is_forgotten = False
            self._notices.warn(
                "the images come from another camera than the camera_info, whose publisher is gone: it is not used "
                "anymore, and the focal length is estimated from the images until a camera_info comes"
            )

    def _publishers(self, *topics: str) -> set[bytes]:
        """Return the identities of who publishes these topics."""
        return {
            bytes(found.endpoint_gid) for topic in topics for found in self._node.get_publishers_info_by_topic(topic)
        }

    def _listen_to_latched(self) -> None:
        """Subscribe to latched messages if there is a publisher of them."""
        self._looked_at = time.monotonic()
        if self._latched is not None:
            return
        publishers = self._node.get_publishers_info_by_topic(self._inbox.topic)
        if any(found.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for found in publishers):
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._latched = Inbox(self._node, CameraInfo, "camera_info", qos, overridable=False)
