"""Messages that wait in the middleware until they are asked for."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node, SubscriptionEventCallbacks  # whose module has a different name in each distribution
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from ttt3r_ros.ros.receiver import ServedElsewhere


class Inbox:
    """A subscription whose messages wake no thread when they arrive: they are taken, as bytes, when they are needed.

    Attributes:
        topic: its full name.
    """

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile, *, overridable: bool = True) -> None:
        """Subscribe; `overridable` declares the QoS as parameters, which only one subscription to a topic can."""
        self._node, self._kind = node, kind
        self._subscription: Any = node.create_subscription(
            kind,
            topic,
            lambda _: None,  # see `take`
            qos,
            callback_group=ServedElsewhere(),
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            raw=True,
            qos_overriding_options=QoSOverridingOptions.with_default_policies() if overridable else None,
        )
        self.topic = str(self._subscription.topic_name)

    def has_publisher(self) -> bool:
        """Return whether anybody publishes the topic."""
        return bool(self._node.count_publishers(self.topic))

    def take(self, most: int) -> list[bytes]:
        """Return messages that have arrived, serialized, the oldest first."""
        handle, messages = self._subscription.handle, list[bytes]()
        with handle:
            while len(messages) < most and (taken := handle.take_message(self._kind, True)) is not None:
                messages.append(taken[0])
        return messages
