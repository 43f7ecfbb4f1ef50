"""A buffer that can wait for a transform."""

from __future__ import annotations

from time import sleep

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.time import Time

from tf2_ros.buffer_core import BufferCore

POLL_SECONDS = 0.02
JUMP_BACK = Duration(seconds=3.0)  # a larger jump back in time ends the wait


class Buffer(BufferCore):
    """``BufferCore`` whose lookups wait up to a timeout on the node's clock.

    The listener's callbacks must run meanwhile: in another thread, or with ``TransformListener(spin_thread=True)``.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self.clock = node.get_clock() if node is not None else Clock()
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(backwards, post_callback=self.time_jump_callback)

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Clears the buffer after a jump back in time, as when a bag starts over."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration = Duration()
    ) -> TransformStamped:
        """Returns ``T_target_source`` at ``time`` (zero: the latest), waiting up to ``timeout`` for it.

        Raises:
            TransformException: The transform is still not available, and why (see ``tf2_ros.exceptions``).
        """
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Time,
        timeout: Duration = Duration(),
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Returns whether the transform is available within ``timeout``; with ``return_debug_tuple`` also why not."""
        start = self.clock.now()
        result = self.can_transform_core(target_frame, source_frame, time)
        while not result[0] and start <= self.clock.now() + JUMP_BACK and self.clock.now() < start + timeout:
            sleep(POLL_SECONDS)
            result = self.can_transform_core(target_frame, source_frame, time)
        return result if return_debug_tuple else result[0]
