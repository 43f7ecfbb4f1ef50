"""The node: one camera in; odometry, TF, depth and cloud out."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros import diagnostics
from ttt3r_ros.ros.camera_input import MISSING_AFTER, CameraInput
from ttt3r_ros.ros.diagnostics import Counters, Health
from ttt3r_ros.ros.frame_queue import FrameQueue
from ttt3r_ros.ros.namesakes import Namesakes
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.outputs import ODOM
from ttt3r_ros.ros.parameters import (
    Parameters,
    declare,
    first_sentence,
    qos_overrides,
    unknown,
    with_changes,
    with_whole_numbers_as_floats,
)
from ttt3r_ros.ros.pipeline import Pipeline, stream_settings
from ttt3r_ros.ros.pose_input import PoseInput
from ttt3r_ros.ros.saving import Saving
from ttt3r_ros.ros.security import under_security
from ttt3r_ros.runtime.threads import choose_threads
from ttt3r_ros.stream.load import LoadedBackbone, load_backbone
from ttt3r_ros.stream.segments import warm_up

WARM_UP_SIZE = (480, 640)  # of a blank image: the most common camera resolution


class Ttt3rNode(Node):
    """Connects parameters, topics and services to the pipeline that does the work.

    Attributes:
        camera_input: takes images from the camera's topic.
        pipeline: turns them into what is published.
        saving: the services that save and load.
        callbacks_failed: number of callbacks that have raised an error.
    """

    def __init__(self) -> None:
        """Load the weights, warm up the network, then subscribe.

        Raises:
            UserError: a parameter or the weights cannot be used.
        """
        try:
            super().__init__("ttt3r")
        except ParameterException as error:
            raise UserError(first_sentence(error)) from error
        except RuntimeError as error:  # RCLError, which is private to rclpy
            raise UserError(f"ROS could not create the node{under_security()}: {first_sentence(error)}") from error
        self.callbacks_failed = 0
        self._settings = declare(self)
        self._notices = Notices(self.get_logger())
        loaded = self._load(self._settings)
        backbone = loaded.backbone
        queue = FrameQueue(latest_only=self._settings.drop_frames)
        self._queue = queue
        with qos_overrides(self):
            self.camera_input = CameraInput(
                self,
                queue,
                transport=self._settings.image_transport,
                latest_only=self._settings.drop_frames,
                max_gap=lambda: self._settings.max_frame_gap,
                on_error=self.survive,
            )
            self.pipeline = Pipeline(
                self, backbone, loaded.segment_frames, self._settings, queue, min_rate_hz=loaded.min_rate_hz
            )
        self._namesakes = Namesakes(self, f"~/{ODOM}")
        PoseInput(self, self.pipeline, self._notices, self._settings.odom_frame)
        self.saving = Saving(self, self.pipeline, lambda: self._settings)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/reset_odometry", self._on_reset_odometry)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # on a steady clock, so that diagnostics continue while a simulation is paused
        self.create_timer(1.0, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.add_on_set_parameters_callback(self._on_set_parameters)
        for sentence in unknown(self):
            self.get_logger().warning(sentence)
        self.pipeline.start()
        if self._settings.load_at_start:
            self.saving.load_at_start()
        self.get_logger().info(f"ready: listening to {self.camera_input.topic}")

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters, as the services do; invalid values are refused with our messages instead of rclpy's."""
        try:
            with_changes(self._settings, parameter_list)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return super().set_parameters_atomically(with_whole_numbers_as_floats(parameter_list))

    def stop(self) -> bool:
        """Stop all threads; return whether they have ended, since the current frame or file may take longer."""
        ended = [self.camera_input.stop(), self.saving.stop(), self.pipeline.stop()]
        return all(ended)

    def survive(self, error: Exception) -> None:
        """Log the error of a failed callback and go on; a library may fail on a message, for example."""
        self.callbacks_failed += 1
        self._notices.error(f"a message could not be handled ({type(error).__name__}: {first_sentence(error)[:300]})")
        self.get_logger().debug("".join(traceback.format_exception(error)))

    def _load(self, parameters: Parameters) -> LoadedBackbone:
        """Load and warm up the network, logging each slow step."""
        log = self.get_logger()
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

    def _on_reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.pipeline.reset()
        response.success = True
        response.message = "the recurrent state is reset; the pose continues from the last one"
        self.get_logger().info(response.message)
        return response

    def _on_reset_odometry(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.pipeline.reset_odometry()
        response.success = True
        response.message = "the recurrent state is reset; the pose starts again from the origin"
        self.get_logger().info(response.message)
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.camera_input.set_enabled(request.data)
        response.success = True
        response.message = "processing images" if request.data else "paused: images are ignored until enabled again"
        self.get_logger().info(response.message)
        return response

    def _on_set_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        try:
            parameters = with_changes(self._settings, changes)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = parameters
        self.pipeline.change_parameters(parameters)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        segment, segment_frames = self.pipeline.segment
        counters = Counters(
            input_rate_hz=self.camera_input.rate.hz(),
            frames_received=self.camera_input.received,
            frames_dropped=self._queue.dropped,
            frames_dropped_by_stamp=sum(self.camera_input.dropped_by_stamp.values()),
            frames_failed=self.pipeline.failed,
            frames_lost=self.pipeline.lost,
            camera_infos_refused=self.pipeline.camera_infos_refused,
            callbacks_failed=self.callbacks_failed,
            segment=segment,
            segment_frames=segment_frames,
        )
        facts = {
            **self._facts,
            "update_rule": self._settings.update_rule,
            "intrinsics": self.pipeline.intrinsics_source,
            "stamp_faults": ", ".join(f"{count} {why}" for why, count in self.camera_input.dropped_by_stamp.items()),
            "mask": self.pipeline.masks.fact(),
            "imu": self.pipeline.imu.fact,
            **self.pipeline.map.facts(),
            **self.pipeline.scale_facts(),
            "reset_policy": self._settings.reset_policy,
            "segment_reason": self.pipeline.segment_reason,
        }
        self._diagnostics.publish(
            diagnostics.diagnostic_array(
                self.get_fully_qualified_name(),
                self.get_clock().now(),
                self._health(),
                counters,
                self.pipeline.statistics.summary(),
                facts,
            )
        )

    def _health(self) -> Health:
        if not self.camera_input.enabled:
            return diagnostics.PAUSED
        if self.camera_input.seconds_without_image() > MISSING_AFTER:
            why = self.camera_input.why_nothing_arrives()
            self._notices.warn(why)
            return diagnostics.missing(why)
        health = self.pipeline.health
        if (others := self._namesakes.why()) is not None:
            self._notices.warn(others)
            if health.level == DiagnosticStatus.OK:
                return diagnostics.ambiguous(others)
        return health
