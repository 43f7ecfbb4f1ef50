"""A node with a camera input whose frames only the test takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from waiting import wait_until

from ttt3r_ros.ros.camera_input import CameraInput
from ttt3r_ros.ros.frame_queue import FrameQueue


class Ear:
    """A node that listens to its camera, and what it has said."""

    def __init__(
        self,
        *,
        transport: str = "raw",
        latest_only: bool = False,
        arguments: tuple[str, ...] = (),
        after_discovery_of: str = "",
        **overrides: str | int,
    ) -> None:
        """Listen; parameters, those of QoS for example, are given by name.

        `after_discovery_of` is a topic that somebody publishes, which is known before it is subscribed to.
        """
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        self.node = Node("ear", context=self.context, cli_args=["--ros-args", *arguments], parameter_overrides=given)
        self.said: list[str] = []
        self.node.get_logger = lambda: SimpleNamespace(warning=self.said.append)
        if after_discovery_of:
            wait_until(lambda: self.node.count_publishers(after_discovery_of), "the camera to be discovered")
        self.queue = FrameQueue(latest_only=latest_only)
        self.errors: list[Exception] = []
        self.max_gap = 2.0
        self.input = CameraInput(
            self.node,
            self.queue,
            transport=transport,
            latest_only=latest_only,
            max_gap=lambda: self.max_gap,
            on_error=self.errors.append,
        )
        self.input.start()

    def take(self, count: int = 1) -> list[Any]:
        """Return the next frames, once they have come."""
        wait_until(lambda: len(self.queue) >= count, f"{count} images")
        return [self.queue.take() for _ in range(count)]

    def qos(self) -> QoSProfile:
        """Return what the one subscription to the images has asked for."""
        (images,) = (own for own in self.node.subscriptions if own.topic_name == self.input.topic)
        return images.qos_profile

    def reliability(self) -> ReliabilityPolicy:
        def ours() -> list[TopicEndpointInfo]:
            return self.node.get_subscriptions_info_by_topic(self.input.topic)

        wait_until(lambda: len(ours()) == 1, "the nodes of earlier tests to be gone")
        return ours()[0].qos_profile.reliability

    def close(self) -> None:
        self.input.stop()
        self.node.destroy_node()
        self.context.try_shutdown()
