"""The node in the test's own process, so that a test can see inside and break things."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from harness import ANY_MOTION
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from scripted_network import ScriptedNetwork
from waiting import PATIENCE

from ttt3r_ros.ros import notices, tracking
from ttt3r_ros.ros.ttt3r_node import Ttt3rNode
from ttt3r_ros.stream import load, segments
from ttt3r_ros.weights.load import Weights

NO_FILE = "''"  #: of weights, where a test replaces what loads them


class InProcess:
    """The real node, spun by a thread, with a record of what its network was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, weights: Path | str, **parameters: object) -> None:
        monkeypatch.setattr(notices, "PERIOD_S", math.inf)  # nothing is said a second time, on a slow machine either
        parameters = {"weights": weights, "wait_for_transform": 0.1, **ANY_MOTION, **parameters}
        rclpy.init(args=["--ros-args", *(part for p in parameters.items() for part in ("-p", f"{p[0]}:={p[1]}"))])
        self.node = Ttt3rNode()
        self.asked: list[set[str]] = []
        self.stream = self.node.pipeline.between_frames(lambda stream: stream).result(PATIENCE)
        self.network = self.stream.backbone.network
        advance = segments.advance

        def recorded(*args, outputs, **options):
            self.asked.append(set(outputs))
            return advance(*args, outputs=outputs, **options)

        monkeypatch.setattr(segments, "advance", recorded)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self._spin)
        self.thread.start()

    def _spin(self) -> None:
        while not self.closing.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def set(self, **values: object) -> None:
        """Set parameters."""
        results = self.node.set_parameters([Parameter(name, value=value) for name, value in values.items()])
        assert all(result.successful for result in results)

    @contextlib.contextmanager
    def changed(self, **values: object) -> Iterator[None]:
        """Set parameters until the block ends."""
        before = {name: self.node.get_parameter(name).value for name in values}
        self.set(**values)
        try:
            yield
        finally:
            self.set(**before)

    def close(self) -> None:
        self.closing.set()
        self.thread.join()
        self.node.stop()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


@contextlib.contextmanager
def node_in_process(weights: Path | ScriptedNetwork, **parameters: object) -> Iterator[InProcess]:
    """Run the node until the block ends, with weights from a file or with a network that follows a script."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if isinstance(weights, ScriptedNetwork):
            parameters = {"correct_motion": "false", **parameters}  # its pictures move in another way than it says
            scripted = Weights(weights, "scripted", "0" * 32)
            monkeypatch.setattr(tracking, "WARM_UP_SIZE", (60, 80))
            monkeypatch.setattr(load, "load_weights", lambda *_, **__: scripted)
        inside = InProcess(monkeypatch, NO_FILE if isinstance(weights, ScriptedNetwork) else weights, **parameters)
        try:
            yield inside
        finally:
            inside.close()
