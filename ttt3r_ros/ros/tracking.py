"""Everything that the node has between configure and cleanup: the network, its topics and its services."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rclpy.node import Node
from rclpy.qos import qos_profile_parameters
from std_srvs.srv import SetBool, Trigger

from ttt3r_ros.ros.camera_input import MISSING_AFTER, CameraInput
from ttt3r_ros.ros.diagnostics import INACTIVE, OK, PAUSED, WARN, Counters, Health
from ttt3r_ros.ros.frame_queue import FrameQueue
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import Parameters, qos_overrides
from ttt3r_ros.ros.pipeline import Pipeline, stream_settings
from ttt3r_ros.ros.pose_input import HintInput, PoseInput
from ttt3r_ros.ros.saving import Saving
from ttt3r_ros.ros.topics import ODOM
from ttt3r_ros.ros.watches import LEASE_S, LEAVING_S, Watches
from ttt3r_ros.runtime.threads import choose_threads
from ttt3r_ros.stream.load import LoadedBackbone, load_backbone
from ttt3r_ros.stream.segments import warm_up

WARM_UP_SIZE = (480, 640)  # of a blank image: the most common camera resolution


class Tracking:
    """Connects topics and services to the pipeline that does the work.

    Attributes:
        camera_input: takes images from the camera's topic.
        pipeline: turns them into what is published.
        saving: the services that save and load.
    """

    def __init__(
        self,
        node: Node,
        parameters: Callable[[], Parameters],
        notices: Notices,
        on_error: Callable[[Exception], object],
    ) -> None:
        """Load the weights, warm up the network, and create topics and services; images come after `activate`.

        Raises:
            UserError: a parameter or a file cannot be used; nothing remains on the node.
        """
        self._node, self._parameters, self._notices = node, parameters, notices
        with contextlib.ExitStack() as cleanup:
            cleanup.enter_context(_temporary_entities(node))
            self._connect(self._load(), on_error, cleanup)
            self._cleanup = cleanup.pop_all()

    def _connect(
        self, loaded: LoadedBackbone, on_error: Callable[[Exception], object], cleanup: contextlib.ExitStack
    ) -> None:
        node, parameters = self._node, self._parameters()
        self._queue = queue = FrameQueue(latest_only=parameters.drop_frames)
        self.camera_input = CameraInput(
            node,
            queue,
            transport=parameters.image_transport,
            latest_only=parameters.drop_frames,
            max_gap=lambda: self._parameters().max_frame_gap,
            on_error=on_error,
        )
        with qos_overrides(node):
            self.pipeline = Pipeline(
                node, loaded.backbone, loaded.segment_frames, parameters, queue, min_rate_hz=loaded.min_rate_hz
            )
        cleanup.callback(self.pipeline.stop)
        self._watches = Watches(node, f"~/{ODOM}")
        PoseInput(node, self.pipeline, self._notices, parameters.odom_frame)
        if parameters.publish_map_frame:
            HintInput(node, self.pipeline, self._notices, parameters.map_frame)
        self.saving = Saving(node, self.pipeline, self._parameters)
        cleanup.callback(self.saving.stop)
        cleanup.callback(self.camera_input.stop)
        deep = qos_profile_parameters  # by default, the eleventh request or answer that waits pushes out the first
        node.create_service(Trigger, "~/reset", self._on_reset, qos_profile=deep)
        node.create_service(Trigger, "~/reset_odometry", self._on_reset_odometry, qos_profile=deep)
        node.create_service(SetBool, "~/enable", self._on_enable, qos_profile=deep)
        self.pipeline.start()
        if parameters.load_at_start:
            self.saving.load_at_start()
        if parameters.load_map_at_start:
            self.saving.load_map_at_start()

    def _load(self) -> LoadedBackbone:
        """Load and warm up the network, logging each slow step."""
        log, parameters = self._node.get_logger(), self._parameters()
        begun = time.monotonic()
        log.info(f"loading weights {parameters.weights or 'of the package'}")
        loaded = load_backbone(parameters, warn=log.warning)
        choose_threads(loaded.backbone.network)
        backbone, device, precision = loaded.backbone, loaded.backbone.device, loaded.precision
        log.info(f"warming up on {device} in {precision}")
        warm_up(backbone, *WARM_UP_SIZE, stream_settings(parameters, loaded.segment_frames), log.info)
        log.info(f"network ready after {time.monotonic() - begun:.1f} s")
        if loaded.note:
            log.warning(loaded.note)
        self._facts = {
            "weights": loaded.source,
            "device": str(device),
            "precision": precision,
            **({"weights_note": loaded.note} if loaded.note else {}),
        }
        return loaded

    def activate(self) -> None:
        """Listen to the camera and publish.

        Raises:
            UserError: the user's QoS does not fit the topic of the camera or of odometry.
        """
        with qos_overrides(self._node), contextlib.ExitStack() as undone:
            self.pipeline.set_active(True)
            undone.callback(self.pipeline.set_active, False)
            self.camera_input.start()
            undone.pop_all()

    def deactivate(self) -> None:
        """Publish nothing more, not even the frame in progress, and stop listening to the camera."""
        self.pipeline.set_active(False)
        self.camera_input.stop()

    def close(self) -> None:
        """Stop all threads and remove topics and services; the pipeline frees the memory of the network.

        A frame or file that takes longer than a second ends by itself, later.
        """
        self._cleanup.close()

    def counters(self, callbacks_failed: int) -> Counters:
        """Return the counters since configure; ``callbacks_failed`` is counted elsewhere."""
        segment, segment_frames = self.pipeline.segment
        return Counters(
            input_rate_hz=self.camera_input.rate.hz(),
            frames_received=self.camera_input.received,
            frames_waiting=len(self._queue),
            frames_dropped=self._queue.dropped,
            frames_dropped_by_stamp=sum(self.camera_input.dropped_by_stamp.values()),
            frames_failed=self.pipeline.failed,
            frames_lost=self.pipeline.lost,
            camera_infos_refused=self.pipeline.camera_infos_refused,
            callbacks_failed=callbacks_failed,
            segment=segment,
            segment_frames=segment_frames,
        )

    def facts(self) -> dict[str, str]:
        """Return what the diagnostics say beside the counters."""
        parameters = self._parameters()
        return {
            **self.pipeline.statistics.facts(),
            **self._facts,
            "update_rule": parameters.update_rule,
            "intrinsics": self.pipeline.intrinsics_source,
            "stamp_faults": ", ".join(f"{count} {why}" for why, count in self.camera_input.dropped_by_stamp.items()),
            "mask": self.pipeline.masks.fact(),
            "imu": self.pipeline.imu.fact,
            **self.pipeline.map.facts(),
            **self.pipeline.map_facts(),
            **self.pipeline.scale_facts(),
            "reset_policy": parameters.reset_policy,
            "segment_reason": self.pipeline.segment_reason,
        }

    def health(self) -> Health:
        """Return the health; what the user should know is also logged."""
        if not self.pipeline.is_active:
            return INACTIVE
        if not self.camera_input.enabled:
            return PAUSED
        if (others := self._watches.other_publishers(LEAVING_S)) is not None:
            self._notices.warn(others)
        if (timeless := self._watches.missing_clock()) is not None:
            self._notices.warn(timeless)
        if self.camera_input.seconds_without_image() > MISSING_AFTER:
            why = self.camera_input.why_nothing_arrives()
            self._notices.warn(why)
            return Health(WARN, "no input", f"{why}; {timeless}" if timeless else why)
        health = self.pipeline.health
        if health.level == OK and (others := self._watches.other_publishers(LEASE_S)) is not None:
            return Health(WARN, "ambiguous", others)
        return health

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.pipeline.reset()
        response.success = True
        response.message = "the recurrent state is reset; the pose continues from the last one"
        self._node.get_logger().info(response.message)
        return response

    def _on_reset_odometry(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.pipeline.reset_odometry()
        response.success = True
        then = self.pipeline.map_after_odometry()
        response.message = f"the recurrent state is reset; the pose starts again from the origin{then}"
        self._node.get_logger().info(response.message)
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.camera_input.set_enabled(request.data)
        response.success = True
        on = "processing images; after a pause, the pose goes on without what the camera has moved meanwhile"
        response.message = on if request.data else "paused: images are ignored until it is resumed"
        self._node.get_logger().info(response.message)
        return response


@contextlib.contextmanager
def _temporary_entities(node: Node) -> Iterator[None]:
    """At the end, destroy the topics, services and guard conditions that were created on the node in the meantime."""
    before = {*node.publishers, *node.subscriptions, *node.services, *node.guards}
    try:
        yield
    finally:
        for subscription in {*node.subscriptions} - before:
            node.destroy_subscription(subscription)
        for publisher in {*node.publishers} - before:
            node.destroy_publisher(publisher)
        for service in {*node.services} - before:
            node.destroy_service(service)
        for guard in {*node.guards} - before:
            node.destroy_guard_condition(guard)
