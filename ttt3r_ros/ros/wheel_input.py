"""The node's subscription to another odometry, which tells the scale: ~/wheel_odom."""

from __future__ import annotations

import threading
import time
from collections import deque

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.ros.conversions import checked_pose, is_valid_stamp, nanoseconds
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.stream.wheels import OdometrySample

#: Largest coordinate [m].
MAX_POSITION = 1e8
#: Messages kept until a frame takes them along.
MAX_KEPT = 1000
#: Clocks are compared by so many messages of each kind, at least and at most.
MIN_COMPARED, MAX_COMPARED = 5, 50
#: Clocks that differ by less are one clock: messages take their time [s]. One that has been compared goes on unless it
#: changes by more [s].
SAME_S, CHANGED_S = 0.5, 0.25


class WheelInput:
    """Keeps poses of another odometry, by the images' clock, until a frame takes them along.

    Each sender's clock is known by the least time between a message's stamp and its arrival, so that stamps of two
    clocks that differ by a constant can be compared.

    Attributes:
        refused: messages that could not be used.
    """

    def __init__(self, node: Node, notices: Notices, base_frame: str) -> None:
        self._notices, self._base_frame = notices, base_frame
        self._lock = threading.Lock()
        self._kept: deque[OdometrySample] = deque(maxlen=MAX_KEPT)
        self._ages: deque[float] = deque(maxlen=MAX_COMPARED)
        self._image_ages: deque[float] = deque(maxlen=MAX_COMPARED)
        self._ahead_s: float | None = None  # of the images' clock; None until it is known
        self._frames: tuple[str, str] | None = None
        self.refused = 0
        node.create_subscription(
            Odometry,
            "~/wheel_odom",
            self._on_odometry,
            QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def take(self, stamp_ns: int, received: float) -> tuple[OdometrySample, ...]:
        """Return what has come since the last image, by the images' clock.

        Args:
            stamp_ns: of the image [ns].
            received: when it arrived, by `time.perf_counter` [s].
        """
        with self._lock:
            _note_age(self._image_ages, received - stamp_ns * 1e-9)
            if min(len(self._ages), len(self._image_ages)) < MIN_COMPARED:
                return ()
            self._compare_clocks(min(self._ages) - min(self._image_ages))
            shift = 0 if self._ahead_s is None else round(self._ahead_s * 1e9)
            samples = tuple(OdometrySample(sample.stamp_ns + shift, sample.T_odom_base) for sample in self._kept)
            self._kept.clear()
            return samples

    def _compare_clocks(self, ahead_s: float) -> None:
        ahead_s = ahead_s if abs(ahead_s) > SAME_S else 0.0
        if self._ahead_s is not None and abs(ahead_s - self._ahead_s) <= CHANGED_S:
            return
        if ahead_s or self._ahead_s:
            self._notices.info(
                f"the stamps of the images are ahead of those of wheel_odom by {ahead_s:.1f} s: taken as two clocks"
            )
        self._ahead_s = ahead_s

    def _on_odometry(self, message: Odometry) -> None:
        arrived = time.perf_counter()
        stamp_ns = nanoseconds(message.header.stamp) if is_valid_stamp(message.header.stamp) else 0
        try:
            if stamp_ns == 0:
                raise UserError("it has no valid stamp; fix the clock of the node that sends it")
            T_odom_base = checked_pose(message.pose.pose, MAX_POSITION)
        except UserError as error:
            self.refused += 1
            self._notices.warn(f"a message on wheel_odom is not used: {error}")
            return
        self._note_frames(message.header.frame_id, message.child_frame_id)
        with self._lock:
            _note_age(self._ages, arrived - stamp_ns * 1e-9)
            self._kept.append(OdometrySample(stamp_ns, T_odom_base))

    def _note_frames(self, frame: str, child: str) -> None:
        if self._frames == (frame, child):
            return
        if self._frames is not None:
            self._notices.warn(
                f"wheel_odom changed from {quoted(' -> '.join(self._frames))} to {quoted(f'{frame} -> {child}')}: "
                "if two nodes publish it, remap one of them"
            )
        elif child not in ("", self._base_frame):
            self._notices.info(f"wheel_odom is of {quoted(child)}, taken to be fixed to {self._base_frame}")
        self._frames = frame, child


def _note_age(ages: deque[float], age: float) -> None:
    """Keep how old a message was when it arrived [s]; one of another clock begins anew."""
    if ages and abs(age - ages[-1]) > SAME_S:
        ages.clear()
    ages.append(age)
