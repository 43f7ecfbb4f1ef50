"""Keeps a player from running ahead of the node, so that every image of a recording is processed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from ttt3r_ros.ros.conversions import nanoseconds

#: Counters in the node's diagnostics that together count the images it is done with.
_ANSWERED = ("frames_processed", "frames_lost", "frames_failed", "frames_dropped", "frames_dropped_by_stamp")

#: Images on their way: the node reports images without a pose once a second, and a queue must not fill its memory.
AHEAD = 30

#: Longest wait for the first diagnostics of a node that is there, which come once a second [s].
FIRST_S = 2.0

#: After this time without any sign from the node the next image is published all the same [s].
PATIENCE_S = 10.0


def frames_answered(diagnostics: Mapping[str, str]) -> int:
    """Return how many images the node was done with when it sent these diagnostics."""
    return sum(int(value) for key in _ANSWERED if (value := diagnostics.get(key, "")).isdigit())


class Backlog:
    """Counts the images that the node ``ttt3r`` has not answered: by odometry at once, otherwise by diagnostics."""

    def __init__(self, node: Node, *, ahead: int = AHEAD, patience_s: float = PATIENCE_S) -> None:
        """Listen with this node, which no other executor may run."""
        self._ahead, self._patience_s = ahead, patience_s
        self._index_of: dict[int, int] = {}  # of published images that odometry may answer, by stamp
        self._published = 0
        self._answered = 0
        self._before: int | None = None  # images that the node was done with before the first of these
        self._node = node
        node.create_subscription(Odometry, "ttt3r/odom", self._on_odometry, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def begin(self, stop: threading.Event) -> None:
        """Hear what the node is done with already, if it is there: another player may have played to it."""
        deadline = time.monotonic() + FIRST_S
        while self._before is None and self._node.count_publishers("/diagnostics") and not stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)
            if time.monotonic() > deadline:
                break

    def add(self, stamp_ns: int) -> None:
        """Count an image that has been published."""
        self._published += 1
        self._index_of[stamp_ns] = self._published

    def wait(self, stop: threading.Event) -> None:
        """Return when fewer than `ahead` images are on their way, when nothing has come for long, or when stopped."""
        since, answered = time.monotonic(), self._answered
        self._executor.spin_once(timeout_sec=0.0)
        while self._published - self._answered >= self._ahead and not stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)
            if self._answered > answered:
                since, answered = time.monotonic(), self._answered
            if time.monotonic() - since > self._patience_s:
                self._answered += 1

    def _on_odometry(self, message: Odometry) -> None:
        index = self._index_of.pop(nanoseconds(message.header.stamp), 0)
        self._answered = max(self._answered, index)  # the node takes images in order, so those before are done with
        self._index_of = {stamp: other for stamp, other in self._index_of.items() if other > index}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("ttt3r"):
                count = frames_answered({item.key: item.value for item in status.values})
                if self._before is None or count < self._before:  # the first, or of a node that has started anew
                    self._before = 0 if self._published else count
                self._answered = max(self._answered, min(count - self._before, self._published))
