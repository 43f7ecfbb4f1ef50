"""Fills a buffer from /tf and /tf_static."""

from __future__ import annotations

import atexit
import contextlib
from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer

AUTHORITY = "default_authority"


class TransformListener:
    """Subscribes with ``node`` to /tf and /tf_static and puts what comes into ``buffer``."""

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        """Starts listening.

        Args:
            buffer: Is filled.
            node: Owns the subscriptions.
            spin_thread: Spin ``node`` in a thread of its own; nothing else may spin it then.
            qos: Of /tf; reliable, volatile, depth 100 where not given.
            static_qos: Of /tf_static; reliable, transient local, depth 100 where not given.
        """
        if qos is None:
            qos = QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST)
        if static_qos is None:
            static_qos = QoSProfile(
                depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
            )
        self.buffer = buffer
        self.node = node
        # Reentrant, so that a callback of the node's default group can wait for a transform in a threaded executor.
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(TFMessage, "/tf", self.callback, qos, callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, "/tf_static", self.static_callback, static_qos, callback_group=self.group
        )
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            self.dedicated_listener_thread = Thread(target=self._spin, daemon=True)
            self.dedicated_listener_thread.start()
            atexit.register(self._stop_thread)

    def callback(self, data: TFMessage) -> None:
        """Takes a message of /tf."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        """Takes a message of /tf_static."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)

    def unregister(self) -> None:
        """Stops listening."""
        self._stop_thread()
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def _stop_thread(self) -> None:
        """Waits for the thread: one that still runs in C++ when Python exits brings the process down."""
        if hasattr(self, "executor"):
            atexit.unregister(self._stop_thread)
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
