"""The camera's mount on the robot: base_frame -> camera frame, looked up in TF or assumed."""

from __future__ import annotations

import time

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from tf2_ros import Buffer, StaticTransformBroadcaster, TransformException, TransformListener

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray
from ttt3r_ros.ros.conversions import matrix_from_transform, nanoseconds, transform_message

POLL_SECONDS = 0.02
FIXED_FOR_SURE = 10  #: number of consecutive lookups of a static mount after which the node unsubscribes from /tf
MAX_ASSUMED = 16  #: maximum number of camera frames without a transform; more indicate invalid frame_ids


class _Listener(TransformListener):
    """Counts the messages on /tf_static whose transforms are in the buffer."""

    static_messages = 0

    def static_callback(self, data: TFMessage) -> None:
        """Process a message."""
        super().static_callback(data)
        self.static_messages += 1


class Mount:
    """Looks up T_base_camera; must be called from another thread than the executor's, which fills the buffer.

    Robots publish /tf hundreds of times a second, and Python holds the interpreter lock while it parses each message.
    So if the mount consists of static transforms, the node soon listens to /tf_static only (docs/adr/0016).
    """

    def __init__(self, node: Node, base_frame: str) -> None:
        self._node = node
        self._base_frame = base_frame
        self._buffer = Buffer(node=node)  # clears dynamic transforms when time jumps back
        self._listener = _Listener(self._buffer, node)
        self._hears_moving = True
        self._known_since = ("", 0)  # the last camera frame found, and the number of static messages before
        self._fixed_in_a_row = 0
        self._static_broadcaster: StaticTransformBroadcaster | None = None
        self._known: dict[str, FloatArray] = {}
        self._assumed: dict[str, TransformStamped] = {}

    def T_base_camera(self, camera_frame: str, wait_seconds: float) -> FloatArray:
        """Return the (4, 4) mount of a camera frame.

        The first call for a frame waits for TF up to ``wait_seconds`` (wall time). If TF then has no transform, a
        forward-looking camera at the base's origin is assumed, which is logged and published on /tf_static. Later calls
        follow changes in TF (a pan-tilt head) and keep the last known mount if TF has lost it. Once a mount is known to
        be static, only /tf_static can change it.

        Raises:
            UserError: the mount had to be assumed for too many camera frames.
        """
        if camera_frame == self._base_frame:
            self._note(is_fixed=True)
            return np.eye(4)
        static_messages = self._listener.static_messages
        if not self._hears_moving and self._known_since == (camera_frame, static_messages):
            return self._known[camera_frame]
        T_base_camera = self._look_up(camera_frame)
        if T_base_camera is None and camera_frame not in self._known:
            if len(self._assumed) >= MAX_ASSUMED:
                raise UserError(
                    f"images from more than {MAX_ASSUMED} frames unknown to TF have arrived, most recently from "
                    f"{quoted(camera_frame)}: no further mount is assumed; publish base_frame -> camera in TF"
                )
            deadline = time.monotonic() + wait_seconds
            while T_base_camera is None and time.monotonic() < deadline and self._node.context.ok():
                time.sleep(POLL_SECONDS)
                T_base_camera = self._look_up(camera_frame)
            if T_base_camera is None:
                T_base_camera = self._assume(camera_frame, wait_seconds)
        if T_base_camera is not None:
            self._known[camera_frame] = T_base_camera
            self._known_since = camera_frame, static_messages
        return self._known[camera_frame]

    def _look_up(self, camera_frame: str) -> FloatArray | None:
        try:
            found = self._buffer.lookup_transform_core(self._base_frame, camera_frame, Time())
        except TransformException:
            self._note(is_fixed=False)
            return None
        # tf2 returns the time of the dynamic transforms in the chain, 0 if all are static
        self._note(is_fixed=nanoseconds(found.header.stamp) == 0 and camera_frame not in self._assumed)
        return matrix_from_transform(found.transform)

    def _note(self, *, is_fixed: bool) -> None:
        """Subscribe to /tf or unsubscribe from it, depending on whether recent lookups found a static mount."""
        self._fixed_in_a_row = self._fixed_in_a_row + 1 if is_fixed else 0
        if self._hears_moving and self._fixed_in_a_row >= FIXED_FOR_SURE:
            self._hears_moving = False
            self._node.destroy_subscription(self._listener.tf_sub)
        elif not (self._hears_moving or is_fixed):
            self._hears_moving = True
            self._listener.unregister()
            self._listener = _Listener(self._buffer, self._node)

    def _assume(self, camera_frame: str, waited: float) -> FloatArray:
        self._node.get_logger().warning(
            f"TF has no transform {self._base_frame} -> {quoted(camera_frame)[1:-1]} after {waited:g} s: assuming a "
            f"forward-looking camera at the origin of {self._base_frame}, and publishing that on /tf_static. "
            "Publish the real mount (a URDF with robot_state_publisher, or static_transform_publisher), or set "
            "base_frame."
        )
        if self._static_broadcaster is None:
            self._static_broadcaster = StaticTransformBroadcaster(self._node)
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._base_frame)
        self._assumed[camera_frame] = transform_message(T_BASE_CAMERA, header, camera_frame)
        self._static_broadcaster.sendTransform(list(self._assumed.values()))  # each message replaces the previous one
        return T_BASE_CAMERA
