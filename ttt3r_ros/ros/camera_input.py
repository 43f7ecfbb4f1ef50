"""The node's image subscription: judges stamps, detects gaps, and explains why no images arrive."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node, SubscriptionEventCallbacks  # whose module has a different name in each distribution
from rclpy.qos import (
    HistoryPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from ttt3r_ros.camera.stamps import MAX_LEAD_NS, StampState, judge_stamp
from ttt3r_ros.errors import quoted
from ttt3r_ros.ros.conversions import is_valid_stamp, nanoseconds
from ttt3r_ros.ros.frame_queue import MAX_QUEUE, FrameQueue, QueuedFrame
from ttt3r_ros.ros.receiver import Receiver, ServedElsewhere
from ttt3r_ros.ros.statistics import Rate
from ttt3r_ros.stream.continuity import why_broken

_UNKNOWN = "_NODE_NAME_UNKNOWN_"  #: what ROS calls a node of which it has only discovered the topics so far
MISSING_AFTER = 5.0  #: time without an image before the node warns [s]
MAX_NAMED = 5  #: number of other topics that the warning names


class CameraInput:
    """Puts images with a usable stamp into a queue, in the receiver's thread; see `ttt3r_ros.camera.stamps`."""

    def __init__(
        self,
        node: Node,
        queue: FrameQueue,
        *,
        transport: str,
        latest_only: bool,
        max_gap: Callable[[], float],
        on_error: Callable[[Exception], object],
    ) -> None:
        """Prepare; `start` subscribes.

        Args:
            node: to subscribe with.
            queue: where images go.
            transport: 'raw' or 'compressed'.
            latest_only: use a history depth of one message and best-effort delivery; else a depth of the queue's
                length and reliable delivery, unless a publisher does not offer it.
            max_gap: returns the longest gap between two stamps that does not break the stream [s].
            on_error: called with the error if a message cannot be received.
        """
        self._node, self._queue, self._max_gap = node, queue, max_gap
        self.enabled = True
        self.received = 0
        self.rate = Rate()
        self._stamps = StampState()
        self._follows_pause = False  # the next image is the first one after a pause
        self._last_frame_id: str | None = None
        self._last_arrival = time.monotonic()  # of an image that was not dropped
        self._last_drop: tuple[float, str] | None = None  # time and reason, if no image was accepted since
        self._topic = node.resolve_topic_name("image") + ("/compressed" if transport == "compressed" else "")
        self._kind = CompressedImage if transport == "compressed" else Image
        self._on_error = on_error
        self._receiver: Receiver | None = None
        self._images: Subscription[Any] | None = None
        self._qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1 if latest_only else MAX_QUEUE,
            reliability=ReliabilityPolicy.BEST_EFFORT if latest_only else ReliabilityPolicy.RELIABLE,
        )
        # the first subscription declares them as parameters, with the user's values
        self._overriding: QoSOverridingOptions | None = QoSOverridingOptions.with_default_policies()

    def start(self) -> None:
        """Subscribe, for the first time or again after `stop`; a gap between two images is noticed either way."""
        self._last_arrival, self._follows_pause = time.monotonic(), True
        self._receiver = Receiver(self._node.context, self._on_image, self._on_error)
        self._images = self._subscribe()
        self._receiver.listen_to(self._images)  # after `_images` is set, since its event callbacks use it

    def stop(self) -> bool:
        """Unsubscribe and discard waiting images; return whether the receiving thread has ended."""
        if self._receiver is None or self._images is None:
            return True
        has_ended = self._receiver.stop()
        self._node.destroy_subscription(self._images)
        self._receiver = self._images = None
        self._queue.clear()
        return has_ended

    @property
    def topic(self) -> str:
        """The full name of the image topic."""
        return str(self._images.topic_name if self._images else self._topic)

    @property
    def dropped_by_stamp(self) -> Mapping[str, int]:
        """Number of images dropped because of their stamp, by reason."""
        return self._stamps.dropped

    def seconds_without_image(self) -> float:
        """Return the wall time since the last image that was not dropped, or the start [s]; 0 while disabled."""
        return time.monotonic() - self._last_arrival if self.enabled else 0.0

    def why_nothing_arrives(self) -> str:
        """Return a sentence that names the topic, its publishers, and any mismatch in type or QoS."""
        topic = self.topic
        if self._last_drop is not None and time.monotonic() - self._last_drop[0] < MISSING_AFTER:
            return (
                f"no image on {topic} can be used: the last one is {self._last_drop[1]}; fix the camera driver's clock"
            )
        missing = f"no image has arrived on {topic}"
        if self.received:
            missing += f" for {self.seconds_without_image():.0f} s"
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            advice = "its publisher is gone" if self.received else "start the camera, or remap 'image' to its topic"
            if not self.received and (others := self._other_topics()):
                return f"{missing}: nothing publishes this topic, but there is {others}"
            if server := os.environ.get("ROS_DISCOVERY_SERVER"):
                advice += f"; ROS_DISCOVERY_SERVER is {quoted(server)}: nodes see each other only while a server runs"
            return f"{missing}: nothing publishes this topic{'' if self.received else ' yet'} ({advice})"
        for publisher in publishers:
            name = _node_of(publisher)
            if publisher.topic_type != self._kind_name():
                return (
                    f"{missing}: {name} publishes {publisher.topic_type} there, not "
                    f"{self._kind_name()}; see the parameter image_transport"
                )
            verdict, reason = qos_check_compatible(publisher.qos_profile, self._images_qos())
            if verdict == QoSCompatibility.ERROR:
                return f"{missing}: the QoS of {name} is incompatible with ours ({reason})"
        names = ", ".join(sorted({_node_of(publisher) for publisher in publishers}))
        return f"{missing}: {names} publishes it but {'sends nothing' if self.received else 'has sent nothing yet'}"

    def _other_topics(self) -> str:
        """Return which other topics have images, and how to listen to them, to end a sentence with; empty for none."""
        suffix = "/compressed" if self._kind is CompressedImage else ""
        own = f"{self._node.get_fully_qualified_name()}/"
        found = (
            topic.removesuffix(suffix)
            for topic, kinds in self._node.get_topic_names_and_types()
            if self._kind_name() in kinds
            and topic.endswith(suffix)
            and not topic.startswith(own)
            and self._node.count_publishers(topic) > 0
        )
        others = sorted(found, key=lambda topic: ("depth" in topic, topic))
        if not others:
            return ""
        shown = ", ".join(others[:MAX_NAMED]) + (", ..." if len(others) > MAX_NAMED else "")
        how = f"image:={others[0]}"
        return f"{shown}: start the node with {how} (without a launch file: --ros-args -r {how})"

    def set_enabled(self, enabled: bool) -> None:
        """Pause or resume; images that arrive in between are ignored."""
        if enabled and not self.enabled:
            self._last_arrival, self._follows_pause = time.monotonic(), True
        self.enabled = enabled
        if not enabled:
            self._queue.clear()

    def _subscribe(self) -> Subscription[Any]:
        return self._node.create_subscription(
            self._kind,
            self._topic,
            self._on_image,
            self._qos,
            callback_group=ServedElsewhere(),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos),
            qos_overriding_options=self._overriding,
        )

    def _on_incompatible_qos(self, event: Any) -> None:
        """Fall back to best effort if a camera offers nothing better and the user's qos_overrides do not forbid it."""
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._node.get_logger().warning(f"{self.topic}: a publisher's {policy} is incompatible with ours")
        by_user = f"qos_overrides.{self.topic}.subscription.reliability" in self._node._parameter_overrides
        reliable = self._qos.reliability == ReliabilityPolicy.RELIABLE
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY and reliable and not by_user:
            self._node.get_logger().warning(f"{self.topic}: listening with best effort; frames may be lost in transit")
            self._qos.reliability = ReliabilityPolicy.BEST_EFFORT
            self._overriding = None  # the parameters of the first subscription would override this one
            deaf, self._images = self._images, self._subscribe()
            if self._receiver is not None and deaf is not None:  # always: `stop` waits for this thread, the receiver's
                self._receiver.listen_to(self._images)
                self._node.destroy_subscription(deaf)

    def _kind_name(self) -> str:
        return f"sensor_msgs/msg/{self._kind.__name__}"

    def _images_qos(self) -> QoSProfile:
        own = [
            info.qos_profile
            for info in self._node.get_subscriptions_info_by_topic(self.topic)
            if (info.node_name, info.node_namespace) == (self._node.get_name(), self._node.get_namespace())
        ]
        return own[0] if own else self._qos

    def _on_image(self, message: Image | CompressedImage) -> None:
        if not self.enabled:
            return
        self.rate.count()
        frame = self._judged(message)
        self.received += 1  # with all that is known of it
        if frame is not None:
            self._queue.put(frame)

    def _judged(self, message: Image | CompressedImage) -> QueuedFrame | None:
        """Return an image as a frame; None if its stamp is not used."""
        stamp, last_ns = message.header.stamp, self._stamps.last_ns
        clock = self._node.get_clock()
        now_ns = clock.now().nanoseconds
        is_simulated = getattr(clock, "ros_time_is_active", False) and now_ns > 0
        verdict, self._stamps = judge_stamp(
            nanoseconds(stamp) if is_valid_stamp(stamp) else None,
            now_ns,
            self._stamps,
            steady_ns=now_ns if is_simulated else round(time.monotonic() * 1e9),  # which NTP does not set
            max_lead_ns=max(MAX_LEAD_NS, round(self._max_gap() * 1e9)),
        )
        if verdict.notice is not None:
            self._node.get_logger().warning(f"{self.topic}: {verdict.notice}")
        if verdict.stamp_ns is None:
            self._last_drop = time.monotonic(), verdict.dropped or ""
            return None
        self._last_arrival, self._last_drop = time.monotonic(), None
        reason = verdict.jump or self._break_reason(last_ns, verdict.stamp_ns, message.header.frame_id)
        self._last_frame_id = message.header.frame_id
        follows_pause, self._follows_pause = self._follows_pause, False
        return QueuedFrame(message, verdict.stamp_ns, time.perf_counter(), reason, verdict.clock_step_ns, follows_pause)

    def _break_reason(self, last_stamp_ns: int | None, stamp_ns: int, frame_id: str) -> str | None:
        if last_stamp_ns is None:
            return None
        if reason := why_broken(last_stamp_ns, stamp_ns, self._max_gap()):
            return reason
        if frame_id != self._last_frame_id:
            return f"the images' frame_id changed from {quoted(self._last_frame_id or '')} to {quoted(frame_id)}"
        return None


def _node_of(publisher: TopicEndpointInfo) -> str:
    if publisher.node_name == _UNKNOWN:
        return "a node whose name is unknown"
    return f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
