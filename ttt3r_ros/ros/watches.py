"""Watches the graph for what makes a sound node useless: a second node of its name, a clock that nobody publishes."""

from __future__ import annotations

import time

from rclpy.node import Node

#: A killed node stays in the graph until its lease has expired (20 s with Fast DDS); what is older is alive [s].
LEASE_S = 25.0
#: How long a node may take to leave when it is replaced by another [s].
LEAVING_S = 3.0
#: How long a simulation may take to begin [s].
PATIENCE_S = 5.0


class Watches:
    """Complains of what has lasted for a while; to be asked about once a second."""

    def __init__(self, node: Node, topic: str) -> None:
        """Watch the clock, and a topic that only this node should publish, and others do only while they are active."""
        self._node, self._topic = node, node.resolve_topic_name(topic)
        self._since: dict[str, float] = {}

    def other_publishers(self, seconds: float) -> str | None:
        """Return a sentence about another publisher that has been there for so long [s]; None if there is none."""
        if not self._lasts("publishers", self._node.count_publishers(self._topic) >= 2, seconds):
            return None
        found = self._node.get_publishers_info_by_topic(self._topic)
        names = sorted(_name(each.node_namespace, each.node_name) for each in found)
        return (
            f"{len(names)} nodes publish {self._topic} ({', '.join(names)}), so odometry and TF alternate between "
            f"them: stop or deactivate one, or give each its own namespace and frame_prefix; "
            f"a killed one is gone within {LEASE_S:g} s"
        )

    def missing_clock(self) -> str | None:
        """Return a sentence where nothing publishes the clock of a simulation; None where time is as it should be."""
        clock = self._node.get_clock()
        stands = getattr(clock, "ros_time_is_active", False) and clock.now().nanoseconds == 0
        if not self._lasts("clock", stands and not self._node.count_publishers("/clock"), PATIENCE_S):
            return None
        return (
            "use_sim_time is true, but nothing publishes /clock, so the node's time stands at 0: let the simulation or "
            "the player of the bag publish it (ros2 bag play --clock), or set use_sim_time to false"
        )

    def _lasts(self, name: str, is_so: bool, seconds: float) -> bool:
        """Return whether something is so, and has been at every call for so long."""
        now = time.monotonic()
        if not is_so:
            self._since.pop(name, None)
            return False
        return now - self._since.setdefault(name, now) >= seconds


def _name(namespace: str, name: str) -> str:
    """Return a node's full name; the middleware may not have learned it yet."""
    return "one of unknown name" if "UNKNOWN" in name else f"{namespace.rstrip('/')}/{name}"
