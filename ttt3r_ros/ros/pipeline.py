"""Processes frames in a separate thread: from an image message to odometry, TF, depth and cloud."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch
from rclpy.node import Node
from std_msgs.msg import Header

from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.ros.calibration import CalibrationInput
from ttt3r_ros.ros.conversions import read_message, time_message
from ttt3r_ros.ros.diagnostics import ERROR, STARTING, TRACKING, WARN, Health
from ttt3r_ros.ros.frame_queue import FrameQueue, QueuedFrame
from ttt3r_ros.ros.imu_input import ImuInput
from ttt3r_ros.ros.localization import Localization
from ttt3r_ros.ros.map_output import MapOutput
from ttt3r_ros.ros.mask_input import MaskInput
from ttt3r_ros.ros.mount import Mount
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.outputs import Outputs
from ttt3r_ros.ros.pace import Pace
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.spare_time import SpareTime
from ttt3r_ros.ros.statistics import StreamStatistics
from ttt3r_ros.ros.wheel_input import WheelInput
from ttt3r_ros.stream import scale_sources
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.covariance_file import read_covariance
from ttt3r_ros.stream.estimate import Estimate, Float32Array
from ttt3r_ros.stream.segments import last_points
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import CameraFrame, Stream, StreamState

T = TypeVar("T")

MAX_SETUP_S = 0.25  #: a frame that waits longer for its calibration and mount gives way to a newer one [s]
RECENT = 10  #: frames of which most must follow on the one before
MAX_REASON = 300  #: maximum length of an unexpected error's message in the log and the diagnostics [characters]


class Pipeline:
    """Runs the network on the frames of a queue and publishes the results.

    Attributes:
        queue: where frames come from.
        failed: number of images that could not be used at all, or that met an unexpected error.
        lost: number of the others for which there is no pose.

    Any thread may read `backbone.fingerprint`, `is_active`, `health`, `statistics`, `failed`, `lost`, `segment`,
    `segment_reason` and `intrinsics_source`, and call `map_after_odometry`, `reset`, `reset_odometry`,
    `between_frames`, `resume`, `set_pose`, `take_hint`, `change_parameters`, `start` and `stop`.
    """

    def __init__(
        self,
        node: Node,
        backbone: Backbone,
        segment_frames: int,
        parameters: Parameters,
        queue: FrameQueue,
        *,
        min_rate_hz: float = 0.0,
    ) -> None:
        """Prepare.

        Args:
            node: to publish with.
            backbone: the network.
            segment_frames: the recommended reset_interval for the weights.
            parameters: to begin with.
            queue: where frames come from.
            min_rate_hz: the rate of images below which the weights cannot track them.

        Raises:
            UserError: the covariance_file or the mask_file cannot be used, or the map lacks GTSAM.
        """
        self._node, self.queue = node, queue
        self._parameters, self._segment_frames = parameters, segment_frames
        self._covariance = read_covariance(
            parameters.covariance_file, backbone.fingerprint, warn=node.get_logger().warning
        )
        self.backbone = backbone
        self._stream = Stream(backbone, stream_settings(parameters, segment_frames, self._covariance))
        self._notices = Notices(node.get_logger())
        self._calibration = CalibrationInput(node, self._notices)
        self.masks = MaskInput(node, self._notices, parameters.mask_file)
        self._outputs = Outputs(node, parameters)
        with contextlib.ExitStack() as undone:  # if the rest cannot be created
            self.mount = Mount(node, parameters.base_frame, self._notices, parameters.T_base_camera)
            undone.callback(self.mount.stop)
            self.imu = ImuInput(node, self._notices, self.mount, parameters.base_frame)
            self._wheels = WheelInput(node, self._notices, parameters.base_frame)
            self.map = MapOutput(node, self._notices, parameters)
            undone.callback(self.map.stop)
            self.localization: Localization | None = None
            if parameters.publish_map_frame:
                self.localization = Localization(
                    node, self._notices, parameters, backbone, self._covariance, self.map, self._wake
                )
            undone.pop_all()
        self._requests = threading.Lock()
        self.is_active = False
        self._reset_wanted = False
        self._origin = 0  # counts calls of reset_odometry, so that a frame in flight knows it has become stale
        self._origin_used = 0
        self._samples = ("", SampleRange())  # a camera frame, and the range of its samples so far
        self._axes_frame: str | None = None  # the camera frame whose mount has set the odometry's axes, if known
        self._unread: QueuedFrame | None = None  # the last frame, if it could not be read
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self.statistics = StreamStatistics()
        self.health: Health = STARTING
        self.failed = 0
        self.lost = 0
        self._failed_in_a_row = 0
        self._spare_time = SpareTime()
        self._tracked_at: float | None = None  # arrival of the last frame with a pose; at first, of the first frame
        self._has_said_lost = False  # and not yet that it is tracking again
        self._pace, self._min_rate_hz = Pace(queue.arriving), min_rate_hz
        self._follows: deque[bool] = deque([True] * RECENT, maxlen=RECENT)  # of recent frames: whether on the last one
        self._interruption = ""  # why the last frame that follows on none does so
        self.segment = (0, 0)
        self.intrinsics_source = "unknown"

    def start(self) -> None:
        """Start processing frames."""
        self._thread.start()

    @property
    def camera_infos_refused(self) -> int:
        """Number of frames processed without a camera_info because it could not be used."""
        return self._calibration.refused

    @property
    def segment_reason(self) -> str:
        """Why the running segment began."""
        return self._stream.state.segment_reason

    def scale_facts(self) -> dict[str, str]:
        """Return what tells the scale, and why something does not, for the diagnostics."""
        state, refused = self._stream.state, self._wheels.refused
        scale = state.segments.scale_state
        facts = {"scale": f"{scale.factor:.3f}", **scale_sources.described(state.sources)}
        return {**facts, "wheel_odom_refused": str(refused)} if refused else facts

    def map_facts(self) -> dict[str, str]:
        """Return what the diagnostics say of the map of places."""
        localization = self.localization
        return {} if localization is None else localization.facts()

    def map_after_odometry(self) -> str:
        """Return what becomes of the map when another odometry begins, to end a sentence with; empty without one."""
        if self.localization is not None:
            return "; the map stays, and the robot has its place in it once one is recognized"
        return "; the accumulated map is discarded" if self._parameters.publish_map else ""

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop processing; wait at most the timeout [s] for the current frame; return whether all threads ended."""
        self.queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if (localization := self.localization) is not None:  # the thread works on, or has never been started
            localization.stop()
        has_mapped = self.map.stop(timeout)
        self.mount.stop()
        return has_mapped and not self._thread.is_alive()

    def set_active(self, active: bool) -> None:
        """Publish, or publish nothing from now on, not even the frame in progress.

        Raises:
            RuntimeError: ROS refuses to create the topic of odometry.
        """
        with self._requests:
            self._outputs.set_active(active)
            self.is_active = active

    def reset(self) -> None:
        """Reset the recurrent state before the next frame; the pose continues."""
        with self._requests:
            self._reset_wanted = True

    def reset_odometry(self) -> None:
        """Reset the recurrent state and the pose; frames already in progress publish nothing."""
        with self._requests:
            self._origin += 1
            self._reset_wanted = False

    def between_frames(self, job: Callable[[Stream], T]) -> Future[T]:
        """Run a job on the stream in the network's thread, between two frames; may be called from any thread."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                self._obey_requests()
                future.set_result(job(self._stream))
            except Exception as error:
                future.set_exception(error)

        self.queue.put_job(run)
        return future

    def resume(self, read: Callable[[Stream], StreamState]) -> Future[None]:
        """Resume from a saved state with the next frame, discarding path and map, which belong to another odometry.

        A map of places stays: the odometry has a place in it once one is recognized.

        Args:
            read: returns the state for this stream; if it raises an exception, nothing changes.
        """

        def job(stream: Stream) -> None:
            stream.resume(read(stream), later=True)
            self._unread = self._axes_frame = None
            self._begin_odometry()

        return self.between_frames(job)

    def set_pose(self, T_odom_base: FloatArray, covariance: FloatArray) -> None:
        """Go on from this pose (4, 4), with its covariance (6, 6), discarding path and map, which lead to another.

        In a map of places the robot stays where it is.
        """

        def job(stream: Stream) -> None:
            before = stream.state.odometry.T_odom_base
            stream.set_pose(T_odom_base, covariance)
            self._outputs.forget_path()
            if self.localization is None:
                self.map.clear()
            elif before is not None:
                self.localization.rename(T_odom_base @ inverse(before))

        self.between_frames(job)

    def take_hint(self, T_map_base: FloatArray, sigma: float) -> Future[None]:
        """Look for the robot near this pose (4, 4) in the map of places, with this standard deviation [m].

        The future raises a UserError if there is no map.
        """

        def job(_stream: Stream) -> None:
            assert self.localization is not None
            self.localization.take_hint(T_map_base, sigma)

        return self.between_frames(job)

    def change_parameters(self, parameters: Parameters) -> None:
        """Use other parameters from the next frame on."""
        self._parameters = parameters

    def _wake(self) -> None:
        """Let the network's thread look for work, though no image comes."""
        self.queue.put_job(lambda: None)

    def _work(self) -> None:
        """Do the map's work until an image or a job waits; where every image is kept, do all of it.

        Where images come faster than they are processed, it has its share of the time between two.
        """
        localization = self.localization
        while localization is not None and self.is_active:
            if not self._spare_time.allows(is_idle=self.queue.has_time()):
                return
            with self._spare_time.taken():
                is_more = localization.work()
            if not is_more:
                return

    def _begin_odometry(self) -> None:
        """Forget what leads to the odometry so far, since the next pose belongs to another one."""
        self._outputs.forget_path()
        if self.localization is None:
            self.map.clear()
        else:
            self.localization.start_track()

    def _run(self) -> None:
        try:
            self._process_all()
        finally:  # whatever still refers to this pipeline does not keep the network
            if self.localization is not None:
                self.localization.stop()
            del self._stream, self.backbone
            self.localization = None
            gc.collect()
            _empty_cache()

    def _process_all(self) -> None:
        while True:
            self._work()
            if (frame := self.queue.take()) is None:
                return
            if not isinstance(frame, QueuedFrame):
                frame()
                continue
            try:
                self._process(frame)
                self._stream.prepare()
            except UserError as error:
                self.failed += 1
                self.health = Health(ERROR, "bad input", str(error))
                self._notices.warn(str(error))
            except Exception as error:
                if not self._node.context.ok() or self.queue.is_closed:
                    return
                self._recover(error)

    def _process(self, frame: QueuedFrame) -> None:
        parameters, origin = self._parameters, self._obey_requests()
        if self._tracked_at is None:
            self._tracked_at = frame.received
        if self._unread is not None:
            frame = frame.after(self._unread)
        self._unread, message = frame, frame.message
        camera_frame = message.header.frame_id.removeprefix("/") or parameters.camera_frame  # as tf2 does
        if camera_frame == parameters.odom_frame:  # TF would return our own pose
            raise UserError(
                f"the images' frame_id is {quoted(camera_frame)}, the same as odom_frame; give the camera its own frame"
            )
        if self._samples[0] != camera_frame and not camera_frame.startswith(parameters.frame_prefix):
            self._notices.warn(
                f"the images' frame_id is {quoted(camera_frame)}, which does not begin with the frame_prefix "
                f"{parameters.frame_prefix!r}: cameras of several robots with one frame_id get each other's mount from "
                "TF; set the frame_id in the camera's driver"
            )
        held = self._samples[1] if self._samples[0] == camera_frame else SampleRange()
        image, held = read_message(message, held)
        self._samples = camera_frame, held
        begun = time.monotonic()
        camera = self._calibration.camera(image.shape[1], image.shape[0], rectified=parameters.rectified_images)
        mask = self.masks.mask(image.shape[1], image.shape[0], camera)
        if camera is not None and camera.rectifier is not None:
            image = camera.rectifier.rectify(image)
        T_base_camera = self._mount_at(camera_frame, frame.stamp_ns, parameters.wait_for_transform)
        if time.monotonic() - begun > MAX_SETUP_S and self.queue.is_overtaken():
            return  # the camera may have moved far in the meantime; a break before this frame counts for the next one
        if parameters.publish_tf and (root := self.mount.root()) not in (parameters.base_frame, parameters.odom_frame):
            self._notices.warn(
                f"{parameters.base_frame} has a parent in TF already: it is fixed below {root}, and this node "
                f"broadcasts {parameters.odom_frame} -> {parameters.base_frame}; two parents tear TF apart: set "
                f"base_frame to {root}, or publish_tf to false"
            )
        if self._stream.state.odometry.T_odom_world is None:
            self._axes_frame = camera_frame
        self._unread = None
        header = Header(stamp=time_message(frame.stamp_ns), frame_id=camera_frame)
        needed_hz = max(self._min_rate_hz, 1.0 / parameters.max_frame_gap)
        self._pace.processed(frame.stamp_ns, needed_hz, follows_break=frame.follows_break)
        localization = self.localization
        for_map = self.map.wanted(header, parameters) if localization is None else localization.wanted()
        intrinsics = camera.intrinsics if camera else None
        done = self._stream.process(
            image,
            frame.stamp_ns,
            T_base_camera,
            intrinsics,
            outputs=self._outputs.wanted() | for_map,
            break_reason=frame.break_reason,
            clock_step_ns=frame.clock_step_ns,
            mask=mask,
            imu=self.imu.samples(frame.stamp_ns),
            T_ground_camera=self.mount.T_ground_camera(parameters.ground_frame, camera_frame),
            other_odometry=self._wheels.take(frame.stamp_ns, frame.received),
        )
        for event in done.events:
            self._notices.info(event)
        estimate, motion = done.estimate, done.motion
        if estimate is not None:
            self.segment = (estimate.segment, estimate.segment_frames)
        if estimate is None or motion is None:
            self.lost += 1
            self.health = Health(ERROR, "lost", f"lost: {done.lost}")
            self._say_lost(f"lost: {done.lost}; nothing is published until tracking recovers")
            return
        odom_header = Header(stamp=header.stamp, frame_id=parameters.odom_frame)
        T_odom_camera = motion.T_odom_base @ T_base_camera
        T_map_odom = None if localization is None else localization.T_map_odom(T_odom_camera)
        with self._requests:  # held, so that nothing is published once a request has been answered
            if origin != self._origin or not self.is_active:
                return
            self._outputs.publish_motion(motion, odom_header, parameters, T_map_odom)
            if localization is not None and T_map_odom is not None:
                localization.publish_pose(T_map_odom, motion.T_odom_base, header.stamp)
            self._outputs.publish_dense(estimate, header, parameters)
        if estimate.intrinsics is not None:
            self.intrinsics_source = estimate.intrinsics_source
        if localization is None:
            self.map.offer(estimate, T_odom_camera, odom_header, parameters)
        else:
            taken = CameraFrame(image, frame.stamp_ns, T_base_camera, intrinsics, clock_step_ns=frame.clock_step_ns)
            localization.take(taken, done, lambda: self._points_of(estimate), parameters)
        self._failed_in_a_row = 0
        follows = estimate.segment_frames > 1 or done.is_still  # while it is still, no frame is added to the segment
        if not frame.follows_pause:  # that the motion up to it is unknown, the user knows
            self._follows.append(follows)
            if not follows:
                self._interruption = self.segment_reason
        self._say_tracking(frame.received)
        self.health = self._health()
        self.statistics.add(time.perf_counter() - frame.received, estimate.learning_rate)

    def _say_lost(self, text: str, kind: str | None = None) -> None:
        self._has_said_lost |= self._notices.error(text, kind)

    def _say_tracking(self, received: float) -> None:
        """Say that a loss is over if the log has it, and note when this frame arrived, by `time.perf_counter` [s]."""
        if self._has_said_lost and self._tracked_at is not None:
            self._has_said_lost = False
            self._node.get_logger().info(f"tracking again, {received - self._tracked_at:.1f} s after the last pose")
        self._tracked_at = received

    def _points_of(self, estimate: Estimate) -> tuple[Float32Array, Float32Array] | None:
        """Return points and confidence of the frame that has just been processed."""
        return estimate.dense or last_points(self._stream.backbone, self._stream.state.segments)

    def _mount_at(self, camera_frame: str, stamp_ns: int, wait_seconds: float) -> FloatArray:
        """Return T_base_camera of a frame; if it corrects that of earlier frames, correct the odometry as well."""
        reading = self.mount.at(camera_frame, stamp_ns, wait_seconds)
        if reading.corrects is not None and self._axes_frame == camera_frame:
            self._remount(reading.corrects, reading.T_base_camera)
        elif reading.corrects is not None:
            self._stream.interrupt()
        return reading.T_base_camera

    def _remount(self, T_base_wrong: FloatArray, T_base_camera: FloatArray) -> None:
        before = self._stream.state.odometry.T_odom_base
        self._stream.remount(T_base_wrong, T_base_camera)
        after = self._stream.state.odometry.T_odom_base
        if self.localization is None:
            self.map.clear()
        elif before is not None and after is not None:  # the camera is where it was, in an odometry with other axes
            T_new_old = after @ T_base_camera @ inverse(before @ T_base_wrong)
            self.localization.rename(T_new_old, T_base_camera)

    def _health(self) -> Health:
        """Return the health after an image has been tracked; what is not the worst of it stands in the log alone."""
        if (why_no_depth := self._outputs.why_no_depth) is not None:
            self._notices.warn(why_no_depth)
        begun = self._follows.count(False)
        if 2 * begun >= RECENT:
            why = (
                f"{begun} of the last {RECENT} images follow on none, so the motion up to them is unknown and the pose "
                f"stays behind; the last time because: {self._interruption}"
            )
            self._notices.warn(why, kind="images follow on none")
            return Health(WARN, "interrupted", why)
        if (why_slow := self._pace.why_slow) is not None:
            self._notices.warn(why_slow)
            return Health(WARN, "slow", why_slow)
        if why_no_depth is not None:
            return Health(WARN, "no depth", why_no_depth)
        return TRACKING

    def _obey_requests(self) -> int:
        """Carry out requests of other threads since the last frame; return the number of odometry resets."""
        parameters, stream = self._parameters, self._stream
        with self._requests:
            reset, self._reset_wanted = self._reset_wanted, False
            origin = self._origin
        if origin != self._origin_used:
            self._origin_used = origin
            stream.reset_odometry()
            self._begin_odometry()
        elif reset:
            stream.reset()
        stream.settings = stream_settings(parameters, self._segment_frames, self._covariance)
        return origin

    def _recover(self, error: Exception) -> None:
        """Recover from an unexpected error: log it, count it as a failure of the state, and go on to the next frame."""
        self.failed += 1
        self._failed_in_a_row += 1
        self._stream.fail("a frame failed")
        trace = traceback.format_exc()
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_REASON]}"
        if isinstance(error, torch.cuda.OutOfMemoryError):
            traceback.clear_frames(error.__traceback__)  # they reference the failed frame's tensors
            _empty_cache()
            reason = f"the GPU is out of memory; if this persists, set a smaller image_size. {reason}"
        again = f", {self._failed_in_a_row} frames in a row" if self._failed_in_a_row > 1 else ""
        self.health = Health(ERROR, "lost", f"lost: a frame failed{again} ({reason})")
        self._say_lost(f"a frame failed and was dropped ({reason})", kind=type(error).__name__)
        self._node.get_logger().debug(trace)


def _empty_cache() -> None:
    """Return memory that no tensor uses to the GPU."""
    with contextlib.suppress(RuntimeError):  # raised if the device is gone
        torch.cuda.empty_cache()


def stream_settings(
    parameters: Parameters, segment_frames: int, covariance: CovarianceModel | None = None
) -> StreamSettings:
    """Return the settings of the stream for the node's parameters.

    Args:
        parameters: current parameters.
        segment_frames: the recommended reset_interval for the weights.
        covariance: constants from the covariance_file; None for the package's own.
    """
    return StreamSettings.of(
        parameters,
        weights_interval=segment_frames,
        covariance=covariance or CovarianceModel(),
        judges_gaps=False,  # `CameraInput` checks gaps, since it sees the frames that are dropped before this point
    )
