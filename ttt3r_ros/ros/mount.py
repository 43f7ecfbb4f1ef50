"""The camera's mount on the robot: base_frame -> camera frame, looked up in TF or assumed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, TransformException, TransformListener

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.ros.conversions import matrix_from_transform, nanoseconds, transform_message
from ttt3r_ros.ros.notices import Notices

POLL_SECONDS = 0.005
FIXED_FOR_SURE = 10  #: number of consecutive lookups of a static mount after which the node unsubscribes from /tf
MAX_ASSUMED = 16  #: maximum number of camera frames without a transform; more indicate invalid frame_ids
#: Longest wait for the pose of a moving mount at an image's stamp; and, after waiting in vain, time until the next
#: wait, so that a mount that is published rarely slows the node down only a little [s].
LAG_WAIT, LAG_WAIT_AGAIN = 0.15, 1.0

#: No part of a robot is further away from another [m].
MAX_OFFSET = 1000.0

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class MountReading:
    """The mount of a camera at one moment.

    Attributes:
        T_base_camera: (4, 4) the mount.
        corrects: (4, 4) mount that was returned for earlier frames and was wrong; None if there is none. A mount that
            moves does not correct anything.
    """

    T_base_camera: FloatArray
    corrects: FloatArray | None = None


@dataclass(frozen=True)
class _Found:
    """A transform in TF; its stamp is that of its oldest moving part [ns], 0 if no part of it moves."""

    T_base_camera: FloatArray
    stamp_ns: int


class _Listener(TransformListener):
    """Counts the messages on /tf_static whose transforms are in the buffer, and leaves out the node's own."""

    def __init__(self, buffer: Buffer, node: Node, own: dict[str, TransformStamped], parents: dict[str, str]) -> None:
        self.static_messages = 0
        self._own, self._parents = own, parents
        super().__init__(buffer, node)

    def static_callback(self, data: TFMessage) -> None:
        """Process a message."""
        others = [transform for transform in data.transforms if transform != self._own.get(transform.child_frame_id)]
        super().static_callback(TFMessage(transforms=others))
        self._parents |= {t.child_frame_id.removeprefix("/"): t.header.frame_id.removeprefix("/") for t in others}
        self.static_messages += 1


class Mount:
    """Looks up T_base_camera; must be called from another thread than the executor's, which fills the buffer.

    Robots publish /tf hundreds of times a second, and Python holds the interpreter lock while it parses each message.
    So if the mount consists of static transforms, the node soon listens to /tf_static only (docs/adr/0016).

    Attributes:
        buffer: what TF knows.
        used: the last mount returned for each camera frame.
        assumed: mounts that are assumed, and published, by camera frame.
    """

    def __init__(self, node: Node, base_frame: str, notices: Notices, T_given: FloatArray | None = None) -> None:
        """Listen to TF.

        Args:
            node: to listen with.
            base_frame: frame of the robot.
            notices: for the log.
            T_given: (4, 4) mount to use, without waiting, while TF has none; None to assume a forward-looking camera.
        """
        self._node, self._notices, self._T_given = node, notices, T_given
        self._base_frame = base_frame
        self.assumed: dict[str, TransformStamped] = {}
        self._own: dict[str, TransformStamped] = {}  # all that were ever assumed; the listener's thread reads it
        self.buffer = Buffer(node=node)  # clears dynamic transforms when time jumps back
        self._parents: dict[str, str] = {}  # of frames that are fixed to another
        self._listener = _Listener(self.buffer, node, self._own, self._parents)
        self._hears_moving = True
        self._known_since = ("", 0)  # the last camera frame found, and the number of static messages before
        self._fixed_in_a_row = 0
        self._publisher: Publisher | None = None
        self.used: dict[str, FloatArray] = {}
        self._fixed: set[str] = set()  # camera frames whose mount was static when last found
        self._no_wait_before = -np.inf
        self._has_checked_base = False
        self._said_unused: set[str] = set()  # camera frames for which TF has another mount than T_given

    def at(self, camera_frame: str, stamp_ns: int, wait_seconds: float) -> MountReading:
        """Return the mount of a camera frame at the time of an image.

        The first call for a frame waits for TF up to ``wait_seconds`` (wall time). If TF then has no transform, a
        forward-looking camera at the base's origin is assumed, which is logged and published on /tf_static until TF has
        one. Later calls follow changes in TF and keep the last known mount if TF has lost it. A moving mount (a
        pan-tilt head) is looked up at the image's stamp, or the latest one used if TF does not have that within
        `LAG_WAIT`. Once a mount is known to be static, only /tf_static can change it.

        Args:
            camera_frame: frame_id of the image, without a leading slash.
            stamp_ns: of the image [ns].
            wait_seconds: see above.

        Raises:
            UserError: the mount had to be assumed for too many camera frames.
        """
        self._check_base(camera_frame)
        if camera_frame == self._base_frame:
            self._note(is_fixed=True)
            return MountReading(np.eye(4))
        known, static_messages = self.used.get(camera_frame), self._listener.static_messages
        if known is not None and not self._hears_moving and self._known_since == (camera_frame, static_messages):
            return MountReading(known)
        found = self._look_up(camera_frame)
        if found is None and known is None:
            found = self._wait_for(camera_frame, wait_seconds if self._T_given is None else 0.0)
        self._note(is_fixed=found is not None and found.stamp_ns == 0)
        if found is None:
            return MountReading(self._assume(camera_frame, wait_seconds) if known is None else known)
        self._known_since = camera_frame, static_messages
        is_fixed = found.stamp_ns == 0
        T_base_camera = found.T_base_camera if is_fixed else self._at_stamp(camera_frame, stamp_ns, found)
        self._compare_with_given(camera_frame, T_base_camera)
        corrects = self._corrected(camera_frame, T_base_camera, is_fixed=is_fixed)
        self.used[camera_frame] = T_base_camera
        (self._fixed.add if is_fixed else self._fixed.discard)(camera_frame)
        return MountReading(T_base_camera, corrects)

    def root(self) -> str:
        """Return the frame that the base is fixed to, directly or through others, and that is fixed to none."""
        frame, seen = self._base_frame, set[str]()
        while frame in self._parents and frame not in seen:
            seen.add(frame)
            frame = self._parents[frame]
        return frame

    def stop(self) -> None:
        """Let the clock forget the buffer, before it is gone."""
        if (handle := getattr(self.buffer, "jump_handle", None)) is not None:  # not in every distribution
            handle.unregister()

    def T_base(self, frame: str) -> FloatArray | None:
        """Return the latest (4, 4) pose of another of the robot's frames in the base; None while TF has none."""
        if frame == self._base_frame:
            return np.eye(4)
        found = self._look_up(frame)
        if found is None or found.stamp_ns:
            self._note(is_fixed=False)
        return None if found is None else found.T_base_camera

    def T_ground_camera(self, ground_frame: str, camera_frame: str) -> FloatArray | None:
        """Return the (4, 4) pose of a camera frame over the ground; None where TF does not have it.

        A mount that is only assumed says nothing about the ground; one that the user has given does. The ground should
        be joined to the base by static transforms: once the mount is known to be static, nobody listens to others.
        """
        if not ground_frame:
            return None
        if camera_frame not in self.assumed:
            found = self._transform(ground_frame, camera_frame)
            return None if found is None else matrix_from_transform(found.transform)
        if self._T_given is None or ground_frame == self._base_frame:
            return self._T_given
        found = self._transform(ground_frame, self._base_frame)
        return None if found is None else matrix_from_transform(found.transform) @ self._T_given

    def _look_up(self, camera_frame: str, stamp_ns: int = 0) -> _Found | None:
        """Return the transform at a stamp [ns], by default the latest; None if TF does not have it."""
        found = self._transform(self._base_frame, camera_frame, stamp_ns)
        if found is None:
            return None
        # for the latest, tf2 returns the time of the dynamic transforms in the chain, 0 if all are static
        return _Found(matrix_from_transform(found.transform), nanoseconds(found.header.stamp))

    def _transform(self, parent: str, child: str, stamp_ns: int = 0) -> TransformStamped | None:
        """Return a transform at a stamp [ns], by default the latest; None if TF has none that a robot can have."""
        try:
            found = self.buffer.lookup_transform_core(parent, child, Time(nanoseconds=stamp_ns))
        except TransformException:
            return None
        offset = found.transform.translation
        if not max(abs(offset.x), abs(offset.y), abs(offset.z)) < MAX_OFFSET:  # NaN compares false
            self._notices.warn(
                f"TF places {quoted(child)} more than {MAX_OFFSET:g} m from {quoted(parent)} "
                f"({offset.x:.3g}, {offset.y:.3g}, {offset.z:.3g}): that is ignored; correct the transform",
                kind=f"offset of {child}",
            )
            return None
        return found

    def _wait_for(self, camera_frame: str, wait_seconds: float) -> _Found | None:
        if len(self.assumed) >= MAX_ASSUMED:
            raise UserError(
                f"images from more than {MAX_ASSUMED} frames unknown to TF have arrived, most recently from "
                f"{quoted(camera_frame)}: no further mount is assumed; publish base_frame -> camera in TF"
            )
        self._note(is_fixed=False)  # listen to /tf
        found, deadline = None, time.monotonic() + wait_seconds
        while found is None and time.monotonic() < deadline and self._node.context.ok():
            time.sleep(POLL_SECONDS)
            found = self._look_up(camera_frame)
        return found

    def _at_stamp(self, camera_frame: str, stamp_ns: int, latest: _Found) -> FloatArray:
        """Return a moving mount at the stamp of an image [ns]; the latest one if TF does not have that."""
        found = self._look_up(camera_frame, stamp_ns)
        now = time.monotonic()
        if found is None and latest.stamp_ns < stamp_ns and now >= self._no_wait_before:
            while found is None and time.monotonic() < now + LAG_WAIT and self._node.context.ok():
                time.sleep(POLL_SECONDS)
                found = self._look_up(camera_frame, stamp_ns)
            if found is None:
                self._no_wait_before = time.monotonic() + LAG_WAIT_AGAIN
        if found is not None:
            return found.T_base_camera
        latest = self._look_up(camera_frame) or latest
        if camera_frame not in self.used:  # TF may have begun after the image
            return latest.T_base_camera
        seconds = (stamp_ns - latest.stamp_ns) * 1e-9
        self._notices.warn(
            f"{self._name(camera_frame)} moves, and TF does not have it at the image's stamp: using the latest one, "
            f"which is {abs(seconds):.3f} s {'older' if seconds > 0 else 'newer'}; publish it more often or with less "
            "delay, and compare the clocks of camera and robot",
            kind=f"lag of {camera_frame}",
        )
        return latest.T_base_camera

    def _compare_with_given(self, camera_frame: str, T_base_camera: FloatArray) -> None:
        """Say once if the mount in TF is not the one that the user has given."""
        T_given = self._T_given
        if T_given is None or camera_frame in self._said_unused or np.allclose(T_given, T_base_camera, atol=1e-3):
            return
        self._said_unused.add(camera_frame)
        T_apart = inverse(T_given) @ T_base_camera
        meters, degrees = np.linalg.norm(T_apart[:3, 3]), np.degrees(np.linalg.norm(rotation_vector(T_apart[:3, :3])))
        self._node.get_logger().warning(
            f"TF has another {self._name(camera_frame)} than camera_pose, {meters:.3f} m and {degrees:.1f} degrees "
            "from it: TF's is used and camera_pose is not; leave camera_pose out, or let nothing else publish the mount"
        )

    def _corrected(self, camera_frame: str, T_base_camera: FloatArray, *, is_fixed: bool) -> FloatArray | None:
        """Return the mount used so far if this one shows that it was wrong, and log and publish the correction."""
        known = self.used.get(camera_frame)
        was_assumed = camera_frame in self.assumed
        if known is None or not (was_assumed or (is_fixed and camera_frame in self._fixed)):
            return None
        differs = not np.allclose(known, T_base_camera, atol=1e-6)
        if was_assumed:
            self._publish({frame: other for frame, other in self.assumed.items() if frame != camera_frame})
        if (was_assumed or differs) and not (was_assumed and camera_frame in self._said_unused):
            twice = "" if was_assumed else "; if this goes on, two nodes publish it: stop one of them"
            self._notices.warn(
                f"TF now has {'the real' if was_assumed else 'another'} {self._name(camera_frame)}, which replaces the "
                f"{'assumed' if was_assumed else 'previous'} one; position and heading continue{twice}",
                kind=f"{'real' if was_assumed else 'another'} mount of {camera_frame}",
            )
        return known if differs else None

    def _note(self, *, is_fixed: bool) -> None:
        """Subscribe to /tf or unsubscribe from it, depending on whether recent lookups found a static mount."""
        self._fixed_in_a_row = self._fixed_in_a_row + 1 if is_fixed else 0
        if self._hears_moving and self._fixed_in_a_row >= FIXED_FOR_SURE:
            self._hears_moving = False
            self._node.destroy_subscription(self._listener.tf_sub)
        elif not (self._hears_moving or is_fixed):
            self._hears_moving = True
            self._listener.unregister()
            self._listener = _Listener(self.buffer, self._node, self._own, self._parents)

    def _assume(self, camera_frame: str, waited: float) -> FloatArray:
        T_base_camera, log = T_BASE_CAMERA, self._node.get_logger()
        missing = f"TF has no transform {self._base_frame} -> {quoted(camera_frame)[1:-1]}"
        if self._T_given is not None:
            T_base_camera = self._T_given
            log.info(f"{missing}: publishing the camera_pose as that on /tf_static")
        else:
            log.warning(
                f"{missing} after {waited:g} s: assuming a forward-looking camera at the origin of {self._base_frame}, "
                "and publishing that on /tf_static. Publish the real mount (a URDF with robot_state_publisher, or "
                "static_transform_publisher), or set camera_pose or base_frame."
            )
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._base_frame)
        self._publish({**self.assumed, camera_frame: transform_message(T_base_camera, header, camera_frame)})
        self.used[camera_frame] = T_base_camera
        return T_base_camera

    def _publish(self, assumed: dict[str, TransformStamped]) -> None:
        """Assume these mounts; each message replaces the previous one for late subscribers."""
        self.assumed = assumed
        self._own.update(assumed)
        if self._publisher is None:
            self._publisher = self._node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._publisher.publish(TFMessage(transforms=list(assumed.values())))

    def _check_base(self, camera_frame: str) -> None:
        if self._has_checked_base:
            return
        self._has_checked_base = True
        if camera_frame == self._base_frame or self._base_frame.endswith(("_optical", "_optical_frame")):
            self._node.get_logger().warning(
                f"base_frame {quoted(self._base_frame)} is an optical frame (z forward, y down), so the z axis of the "
                "odometry points forward too; set base_frame to a frame with x forward and z up, such as base_link"
            )

    def _name(self, camera_frame: str) -> str:
        return f"mount {self._base_frame} -> {quoted(camera_frame)[1:-1]}"
