"""The node's publishers on a node of their own."""

from __future__ import annotations

from typing import Any

import rclpy
from harness import OUTPUTS, Bench, subscribers
from rclpy.node import Node
from rclpy.parameter import Parameter
from waiting import wait_until

from ttt3r_ros.ros.outputs import Outputs
from ttt3r_ros.ros.parameters import Parameters


class OutputsNode:
    """A node called 'source'; its parameters are given by name, those of QoS for example."""

    def __init__(self, parameters: Parameters | None = None, **overrides: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        self.node = Node("source", context=self.context, parameter_overrides=given)
        self.outputs = Outputs(self.node, parameters or Parameters())
        self.outputs.set_active(True)

    def is_heard_by(self, bench: Bench, *names: str) -> list[Any]:
        """Let a bench listen to these topics; return its subscriptions once they are known."""
        made = [bench.listen(f"/source/{name}", OUTPUTS[name], key=name) for name in names]
        wait_until(lambda: all(subscribers(self.node, f"/source/{name}") for name in names), f"listeners of {names}")
        return made

    def close(self) -> None:
        self.node.destroy_node()
        self.context.try_shutdown()
