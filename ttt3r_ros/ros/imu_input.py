"""Receives the robot's IMU, for the stream to know which way is up."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray, rotation_from_quaternion
from ttt3r_ros.ros.conversions import is_valid_stamp, nanoseconds
from ttt3r_ros.ros.inbox import Inbox
from ttt3r_ros.ros.mount import Mount
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.ros_arguments import first_sentence
from ttt3r_ros.stream.gravity import GRAVITY, MAX_SHOCK, ImuSamples

#: Messages that wait in the middleware for a frame, and how many of them are read, evenly: each takes Python's time.
QUEUE, MAX_READ = 400, 25
#: Samples kept for frames that come late.
MAX_KEPT = 4000
#: How long the first frame waits for an IMU that is published, and for its frame in TF [s].
FIRST_WAIT_S, POLL_S = 1.0, 0.01
#: Samples this far from a frame belong to another clock, or for the first frame to another place [ns].
FAR_NS = 1_000_000_000
#: An IMU is silent after this time without a message [s].
SILENT_S = 2.0
#: No IMU measures more [m/s², rad/s]; less may still be wrong, but does no harm to arithmetic.
MAX_FORCE, MAX_RATE = 1e5, 1e5
#: So many batches of impossible accelerations in a row are a fault, and no shock.
MAX_ODD = 20


@dataclass(frozen=True)
class Sample:
    """One message, in the IMU's own axes.

    Attributes:
        stamp_ns: None where it is not stamped [ns].
        force: (3,) specific force [m/s²].
        rate: (3,) angular velocity [rad/s]; None without a gyroscope.
        is_fused: whether the force comes from the orientation.
    """

    stamp_ns: int | None
    force: FloatArray
    rate: FloatArray | None
    is_fused: bool


class ImuInput:
    """Hands the stream what the IMU has measured since the last frame; for the pipeline's thread.

    Messages wait in the middleware until a frame needs them, since an IMU sends hundreds a second, and each one that
    wakes a thread delays the network's.

    Attributes:
        fact: what the IMU is used for, for the diagnostics.
    """

    def __init__(self, node: Node, notices: Notices, mount: Mount, base_frame: str) -> None:
        self._node, self._notices, self._mount, self._base_frame = node, notices, mount, base_frame
        self._kept: deque[tuple[int, Sample]] = deque(maxlen=MAX_KEPT)  # with the time by the camera's clock [ns]
        self._offset_ns = 0  # camera's clock minus IMU's
        self._last_ns: int | None = None  # stamp of the last frame
        self._frame_id = ""
        self._arrived = -math.inf
        self._odd = 0
        self.fact = "none"
        qos = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._inbox = Inbox(node, Imu, "~/imu", qos)

    def samples(self, stamp_ns: int) -> ImuSamples | None:
        """Return what was measured since the last frame, in the base's axes and by the camera's clock; None if nothing.

        The first call waits a moment for an IMU that is published, so that odometry starts level.

        Args:
            stamp_ns: of the frame [ns].
        """
        is_first = self._last_ns is None
        self._take(stamp_ns)
        if is_first:
            self._wait(stamp_ns)
            ready = [(when, sample) for when, sample in self._kept if abs(when - stamp_ns) < FAR_NS]
        else:
            ready = [(when, sample) for when, sample in self._kept if when <= stamp_ns]
        self._kept = deque(((when, s) for when, s in self._kept if when > stamp_ns), maxlen=MAX_KEPT)
        self._last_ns = stamp_ns
        if not ready:
            self._say_if_silent()
            return None
        T_base_imu = self._T_base_imu()
        if T_base_imu is None:
            self.fact = "ignored: its frame is not in TF"
            self._notices.warn(
                f"TF has no transform {self._base_frame} -> {quoted(self._frame_id)[1:-1]}: the IMU is ignored until "
                "it is published"
            )
            return None
        return self._in_base(ready, T_base_imu[:3, :3])

    def _in_base(self, ready: list[tuple[int, Sample]], R_base_imu: FloatArray) -> ImuSamples | None:
        samples = [sample for _, sample in ready]
        is_fused = all(sample.is_fused for sample in samples)
        force = np.array([sample.force for sample in samples]) @ R_base_imu.T
        rates = [sample.rate for sample in samples if sample.rate is not None]
        rate = np.array(rates) @ R_base_imu.T if len(rates) == len(samples) else None
        size = float(np.linalg.norm(force.mean(axis=0)))
        self._odd = self._odd + 1 if abs(size - GRAVITY) > MAX_SHOCK else 0
        if self._odd >= MAX_ODD:
            self.fact = "ignored: impossible accelerations"
            self._notices.warn(
                f"the IMU's accelerations are {size:.1f} m/s² instead of 9.8 and are ignored: they must be in m/s² "
                "and include gravity"
            )
            return None
        self.fact = "orientation" if is_fused else "accelerometer"
        self.fact += " and gyroscope" if rate is not None else ""
        return ImuSamples(np.array([when for when, _ in ready], dtype=np.int64), force, rate, is_fused)

    def _T_base_imu(self) -> FloatArray | None:
        return np.eye(4) if not self._frame_id else self._mount.T_base(self._frame_id)

    def _wait(self, stamp_ns: int) -> None:
        deadline = time.monotonic() + FIRST_WAIT_S
        while (
            (not self._kept or self._T_base_imu() is None)
            and self._node.context.ok()
            and self._inbox.has_publisher()
            and time.monotonic() < deadline
        ):
            time.sleep(POLL_S)
            self._take(stamp_ns)

    def _say_if_silent(self) -> None:
        if math.isfinite(self._arrived) and time.monotonic() - self._arrived > SILENT_S:
            self.fact = "silent"
            self._notices.warn(
                f"no message has arrived on {self._inbox.topic} for {SILENT_S:g} s: roll and pitch drift "
                "until the IMU is back"
            )

    def _take(self, stamp_ns: int) -> None:
        """Read the messages that have arrived."""
        waiting, samples = self._inbox.take(2 * QUEUE), []
        for data in waiting[:: math.ceil(len(waiting) / MAX_READ) or 1]:
            try:
                message = deserialize_message(data, Imu)
                samples.append(read_imu(message))
                self._frame_id = message.header.frame_id.removeprefix("/")  # as tf2 does
            except UserError as error:
                self._notices.warn(f"~/imu: {error}")
            except Exception as error:  # has no common base class
                self._notices.warn(f"an IMU message cannot be read and is ignored ({first_sentence(error)})")
        if samples:
            self._arrived = time.monotonic()
            self._keep(samples, stamp_ns)

    def _keep(self, samples: list[Sample], stamp_ns: int) -> None:
        """Keep samples by the camera's clock, given the stamp of the frame that is processed now [ns]."""
        if any(sample.stamp_ns is None for sample in samples):
            self._notices.warn("the IMU's messages are not stamped: their time of arrival is used instead")
        stamps = [sample.stamp_ns for sample in samples if sample.stamp_ns is not None]
        if stamps:
            newest = self._kept[-1][0] if self._kept else None
            if newest is not None and min(stamps) + self._offset_ns < newest - FAR_NS:  # its clock has started anew
                self._kept.clear()
            first = min([*stamps, *(when - self._offset_ns for when, _ in list(self._kept)[:1])])
            if first - FAR_NS <= stamp_ns <= max(stamps) + FAR_NS:
                self._change_clock(0)
            elif not first + self._offset_ns - FAR_NS <= stamp_ns <= max(stamps) + self._offset_ns + FAR_NS:
                self._change_clock(stamp_ns - max(stamps))
                self._notices.warn(
                    f"the IMU's stamps differ by {self._offset_ns * 1e-9:.3f} s from the images': it has another "
                    "clock, and the difference is taken out"
                )
        for sample in samples:
            when = stamp_ns if sample.stamp_ns is None else sample.stamp_ns + self._offset_ns
            self._kept.append((when, sample))

    def _change_clock(self, offset_ns: int) -> None:
        if offset_ns != self._offset_ns:
            self._kept.clear()
        self._offset_ns = offset_ns


def read_imu(message: Imu) -> Sample:
    """Return what a message tells of the vertical.

    A driver that has no such quantity says -1 in the first element of its covariance. Some that have none leave the
    message's defaults, an orientation of (0, 0, 0, 1) or zeros: these are not believed either.

    Raises:
        UserError: it tells nothing, or impossible numbers.
    """
    q, a, w = message.orientation, message.linear_acceleration, message.angular_velocity
    quaternion, force, rate = np.array([q.w, q.x, q.y, q.z]), np.array([a.x, a.y, a.z]), np.array([w.x, w.y, w.z])
    spread = np.asarray(message.orientation_covariance)
    is_default = not quaternion[1:].any() and not spread.any()
    has_orientation = spread[0] != -1 and not is_default and quaternion.any()
    has_force = message.linear_acceleration_covariance[0] != -1 and bool(force.any())
    has_rate = message.angular_velocity_covariance[0] != -1 and bool(rate.any())
    for is_used, name, values, largest in (
        (has_orientation, "orientation", quaternion, 2.0),
        (has_force, "linear_acceleration", force, MAX_FORCE),
        (has_rate, "angular_velocity", rate, MAX_RATE),
    ):
        if is_used and not (np.abs(values) < largest).all():  # NaN compares false
            raise UserError(
                f"a message is ignored because its {name} ({', '.join(f'{value:.3g}' for value in values)}) is "
                "impossible"
            )
    if has_orientation and abs(float(np.linalg.norm(quaternion)) - 1) < 0.1:
        force = GRAVITY * rotation_from_quaternion(quaternion)[2]  # the IMU's own axes, in which up is odom's z
    elif has_force:
        has_orientation = False
    else:
        raise UserError(
            "a message is ignored because it has neither a valid orientation nor a linear_acceleration; a covariance "
            "that begins with -1 means that there is none"
        )
    stamp = message.header.stamp
    stamp_ns = nanoseconds(stamp) if is_valid_stamp(stamp) and nanoseconds(stamp) > 0 else None
    return Sample(stamp_ns, force, rate if has_rate else None, bool(has_orientation))
