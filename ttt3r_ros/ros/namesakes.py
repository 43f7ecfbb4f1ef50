"""Notices other nodes that publish the same outputs, such as a second node of the same name."""

from __future__ import annotations

import time

from rclpy.node import Node

#: A killed node stays in the graph until its lease has expired (20 s with Fast DDS); younger ones are not reported [s].
LEASE_S = 25.0


class Namesakes:
    """Watches the publishers of a topic that only its own node should publish."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self._topic = node, node.resolve_topic_name(topic)
        self._since: float | None = None  # when another publisher was first seen

    def why(self) -> str | None:
        """Return a sentence about another publisher that stays; None if there is none."""
        if self._node.count_publishers(self._topic) < 2:
            self._since = None
            return None
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since < LEASE_S:
            return None
        found = self._node.get_publishers_info_by_topic(self._topic)
        names = sorted(_name(each.node_namespace, each.node_name) for each in found)
        return (
            f"{len(names)} nodes publish {self._topic} ({', '.join(names)}), so odometry and TF alternate between "
            "them: stop one, or give each its own namespace and frame_prefix"
        )


def _name(namespace: str, name: str) -> str:
    """Return a node's full name; the middleware may not have learned it yet."""
    return "one of unknown name" if "UNKNOWN" in name else f"{namespace.rstrip('/')}/{name}"
