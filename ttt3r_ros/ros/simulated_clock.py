"""Notices that the node waits in vain for the clock of a simulation."""

from __future__ import annotations

import time

from rclpy.node import Node

#: How long a simulation may take to begin [s].
PATIENCE_S = 5.0


class SimulatedClock:
    """Watches /clock where use_sim_time is true."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._since: float | None = None  # when time was first seen to stand at 0

    def why_none(self) -> str | None:
        """Return a sentence where nothing publishes the clock; None where something does, or the node has its own."""
        clock = self._node.get_clock()
        is_simulated = getattr(clock, "ros_time_is_active", False)
        if not is_simulated or clock.now().nanoseconds or self._node.count_publishers("/clock"):
            self._since = None
            return None
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since < PATIENCE_S:
            return None
        return (
            "use_sim_time is true, but nothing publishes /clock, so the node's time stands at 0: let the simulation or "
            "the player of the bag publish it (ros2 bag play --clock), or set use_sim_time to false"
        )
