"""A camera, a consumer and the real node around the tests, over real DDS."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from forked_node import ForkedNode
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from waiting import PATIENCE, send_until, wait_until

from ttt3r_ros.geometry import FloatArray, T_from_pose
from ttt3r_ros.ros.topics import TOPICS

ROOT = Path(__file__).parent.parent.parent

#: Parameters for networks made by rule, which see the camera fly about, and for pictures that show nothing or the same.
ANY_MOTION = {"max_speed": 0.0, "max_turn_rate": 0.0, "check_images": "false"}

OUTPUTS = {name: kind for name, (kind, _) in TOPICS.items()}

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def subscribers(node: Node, topic: str) -> int:
    """Return how many subscriptions a node's publishers of a topic have met, so that they get what is sent now."""
    return sum(p.get_subscription_count() for p in node.publishers if p.topic_name == topic)


@dataclass
class Running:
    """A node in a process of its own."""

    process: subprocess.Popen[str] | ForkedNode
    log: Path

    def text(self) -> str:
        return self.log.read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE)


@contextlib.contextmanager
def node(
    log: Path,
    *arguments: str,
    wait: str = "ready: listening",
    under: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    **parameters: object,
) -> Iterator[Running]:
    """Run the node until the block ends; parameters by name, remappings and the like as arguments.

    `wait` is what it says once the block may begin. `under` is a command that runs the node's command; `variables` go
    into its environment. With either, or with nothing to wait for, it starts as a user's does; otherwise it is forked,
    which is faster.
    """
    arguments = ("--ros-args", *arguments)
    for name, value in {**ANY_MOTION, **parameters}.items():
        arguments += ("-p", f"{name}:={value}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
    log.write_text("")
    process: subprocess.Popen[str] | ForkedNode
    if wait and not under and not variables:
        process = ForkedNode([*arguments], log, ROOT, environment)
    else:
        command = [*under, sys.executable, "-m", "ttt3r_ros.ros.node", *arguments]
        with log.open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, text=True, env=environment
            )
    running = Running(process, log)
    try:
        if wait:
            wait_until(lambda: wait in running.text() or process.poll() is not None, "the node to get ready")
            assert process.poll() is None, running.text()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Bench:
    """A node of the test's own: publishes camera images, collects outputs by topic and stamp."""

    def __init__(self, name: str = "bench", *heard: str, parameter_overrides: list[Any] | None = None) -> None:
        """Start; `heard` are names for `hear`."""
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node(name, context=self.context, parameter_overrides=parameter_overrides)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.sent_at: dict[tuple[str, int], int] = {}  #: (topic, stamp): the publisher's clock [ns]
        self._publishers: dict[str, Any] = {}
        self.sent: set[int] = set()  #: stamps of all images [ns]
        self.next_stamp = 1_000_000_123  #: [ns]; odd on purpose, a stamp must survive to the last bit
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.hear(*heard)

    def _spin(self) -> None:
        while not self._closing.is_set():
            self.executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def listen(
        self,
        topic: str,
        kind: type,
        reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
        key: str | None = None,
    ) -> Any:
        """Collect a topic's messages under its name or a key."""
        name = key or topic
        self.received.setdefault(name, [])

        def note(message: Any, info: dict[str, Any]) -> None:
            stamp = _stamp(message)
            if stamp is not None:
                self.sent_at.setdefault((name, stamp), info["source_timestamp"])
            self.received[name].append(message)

        return self.node.create_subscription(kind, topic, note, QoSProfile(depth=100, reliability=reliability))

    def hear(self, *names: str, namespace: str = "") -> list[Any]:
        """Collect outputs of the node by their names, or what else it says as "tf" and "diagnostics"."""
        others = {"tf": ("/tf", TFMessage), "diagnostics": ("/diagnostics", DiagnosticArray)}
        topics = {name: (f"{namespace}/ttt3r/{name}", kind) for name, kind in OUTPUTS.items()} | others
        return [self.listen(*topics[name], key=name) for name in names]

    def listen_to_all(self) -> None:
        self.hear(*OUTPUTS, "tf", "diagnostics")

    def unlisten(self, subscription: Any) -> None:
        """Collect a topic's messages no longer."""
        self.executor.remove_node(self.node)
        self.node.destroy_subscription(subscription)
        self.executor.add_node(self.node)

    def publisher(self, kind: type, topic: str, qos: Any = 1) -> Any:
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(kind, topic, qos)
        return self._publishers[topic]

    def end_publisher(self, topic: str) -> None:
        """Take a topic's publisher back, as the end of its node does."""
        self.node.destroy_publisher(self._publishers.pop(topic))

    def wait_for_node(self, topic: str = "/image") -> None:
        """Wait until somebody listens to this topic."""
        publisher = self.publisher(Image, topic)
        wait_until(publisher.get_subscription_count, f"somebody to listen to {topic}")

    def send(
        self,
        image: np.ndarray | None = None,
        *,
        topic: str = "/image",
        stamp: int | None = None,
        frame_id: str = "camera",
        step: float = 0.1,
    ) -> int:
        """Publish an image; return its stamp [ns]."""
        if stamp is None:
            stamp = self.next_stamp
        self.next_stamp = stamp + int(step * 1e9)
        image = picture(stamp) if image is None else image
        message = Image(height=image.shape[0], width=image.shape[1], encoding="rgb8", step=image.shape[1] * 3)
        message.header = header(stamp, frame_id)
        message.data = array.array("B", image.tobytes())
        self.sent.add(stamp)
        self.publisher(Image, topic).publish(message)
        return stamp

    def stamps(self, key: str) -> list[int]:
        return [stamp for message in list(self.received[key]) if (stamp := _stamp(message)) is not None]

    def get(self, key: str, stamp: int) -> Any:
        """Return the message of a topic with this stamp, once it has come."""

        def find() -> Any:
            return next((m for m in list(self.received[key]) if _stamp(m) == stamp), None)

        return wait_until(find, f"{key} with stamp {stamp}")

    def send_until_answered(self, key: str = "odom", *, by: Bench | None = None, **options: Any) -> int:
        """Send images (from another bench's camera, where given) until answers come; return the last image's stamp.

        That image has been answered as well by then, so that nothing is under way.
        """
        sender, sent = by or self, list[int]()
        send_until(
            lambda: sent.append(sender.send(**options)),
            lambda: set(sent) & set(self.stamps(key)),
            f"{key} after an image",
        )
        self.get(key, sent[-1])
        return sent[-1]

    def exchange(self, count: int = 1, key: str = "odom", **options: Any) -> list[int]:
        """Send images one by one, each after the answer to the one before; return their stamps."""
        stamps = []
        for _ in range(count):
            stamps.append(self.send(**options))
            self.get(key, stamps[-1])
        return stamps

    def diagnostics(self, name: str = "ttt3r: stream") -> dict[str, str]:
        """Return the newest diagnostics of the node as {key: value}, with 'level' and 'message'."""
        for array_message in reversed(list(self.received["diagnostics"])):
            for status in array_message.status:
                if status.name == name:
                    values = {item.key: item.value for item in status.values}
                    return {**values, "level": str(status.level[0]), "message": status.message}
        return {}

    def trigger(self, service: str) -> tuple[bool, str]:
        """Call a service of the node; return whether it succeeded, and its sentence."""
        answer = self.call(Trigger, f"/ttt3r/{service}")
        assert "\n" not in answer.message
        return answer.success, answer.message

    def call(self, kind: type, service: str, request: Any = None) -> Any:
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(timeout_sec=PATIENCE), f"no service {service}"
        future = client.call_async(request or kind.Request())
        wait_until(future.done, f"an answer of {service}")
        self.node.destroy_client(client)
        return future.result()


def picture(seed: int, width: int = 80, height: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def setting(**values: object) -> SetParameters.Request:
    """Return a request to set parameters."""
    return SetParameters.Request(parameters=[Parameter(name, value=v).to_parameter_msg() for name, v in values.items()])


def pose_of(odometry: Odometry) -> FloatArray:
    """Return the transform from the child's coordinates to those of the header's frame."""
    p, q = odometry.pose.pose.position, odometry.pose.pose.orientation
    return T_from_pose([p.x, p.y, p.z], [q.w, q.x, q.y, q.z])


def velocity_is_unknown(odometry: Odometry) -> bool:
    return odometry.twist.twist.linear.x == 0.0 and odometry.twist.covariance[0] > 1000


def header(stamp: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000), frame_id=frame_id)


def _stamp(message: Any) -> int | None:
    if isinstance(message, TFMessage):
        return _stamp(message.transforms[0]) if message.transforms else None
    stamp = getattr(message, "header", None) and message.header.stamp
    return None if stamp is None else stamp.sec * 1_000_000_000 + stamp.nanosec


class Mailbox:
    """Stands for a subscription's handle."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.waiting: list[bytes] = []

    def take_message(self, kind: type, raw: bool) -> tuple[bytes, None] | None:
        assert kind is self.kind
        assert raw
        return (self.waiting.pop(0), None) if self.waiting else None

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
