"""What happens to a frame: from an image message to odometry, TF, depth and cloud, in a thread of its own."""

from __future__ import annotations

import threading
import time
import traceback

import numpy as np
import torch
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ttt3r_ros.covariance import covariances
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, inverse, twist_between
from ttt3r_ros.model.update import rule_by_name
from ttt3r_ros.reconstructor import POINTS, Estimate, Reconstructor
from ttt3r_ros.ros import diagnostics
from ttt3r_ros.ros.camera_input import CameraInput
from ttt3r_ros.ros.conversions import Camera, camera_from_info, nanoseconds, rgb_from_message
from ttt3r_ros.ros.diagnostics import Health
from ttt3r_ros.ros.frame_queue import FrameQueue, QueuedFrame
from ttt3r_ros.ros.mount import Mount
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.outputs import Motion, Outputs
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.statistics import StreamStatistics

#: Odometry's covariance needs a confidence; while nobody listens to dense outputs, every so many frames compute one.
CONFIDENCE_INTERVAL = 10
#: Seconds the first frame waits for a camera_info that somebody publishes.
CAMERA_INFO_WAIT = 1.0


class Pipeline:
    """Runs the network over the frames of a queue and publishes what comes out.

    `health`, `statistics`, `failed`, `segment` and `intrinsics_source` may be read from any thread; `reset`, `reset_odometry`,
    `change_parameters`, `start` and `stop` be called from any.
    """

    def __init__(
        self, node: Node, reconstructor: Reconstructor, parameters: Parameters, queue: FrameQueue, camera: CameraInput
    ) -> None:
        self._node, self._reconstructor, self._queue, self._input = node, reconstructor, queue, camera
        self._parameters = parameters
        self._notices = Notices(node.get_logger())
        self._outputs = Outputs(node, parameters)
        self._mount = Mount(node, parameters.base_frame)
        self._requests = threading.Lock()
        self._reset_wanted = False
        self._origin = 0  # counts calls of reset_odometry, so that a frame in flight knows it has become stale
        self._forget_odometry()
        self._camera: tuple[CameraInfo, bool, Camera | None] | None = None
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        self.statistics = StreamStatistics()
        self.health: Health = diagnostics.STARTING
        self.failed = 0
        self.segment = (0, 0)
        self.intrinsics_source = "unknown"

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Take no more frames; wait for the one in work as long as the timeout [s]."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def reset(self) -> None:
        """Forget the recurrent state before the next frame; the pose goes on."""
        with self._requests:
            self._reset_wanted = True

    def reset_odometry(self) -> None:
        """Forget the state and the pose; frames from before publish nothing any more."""
        with self._requests:
            self._origin += 1
            self._reset_wanted = False

    def change_parameters(self, parameters: Parameters) -> None:
        """Use other parameters from the next frame on."""
        self._parameters = parameters

    def _run(self) -> None:
        while (frame := self._queue.take()) is not None:
            try:
                self._process(frame)
                self._reconstructor.settle()
            except UserError as error:
                self.failed += 1
                self.health = diagnostics.unreadable(str(error))
                self._notices.warn(str(error)[:60], str(error))
            except Exception as error:
                if not self._node.context.ok():
                    return
                self._recover(error)

    def _process(self, frame: QueuedFrame) -> None:
        parameters, origin = self._parameters, self._obey_requests()
        message = frame.message
        stamp = nanoseconds(message.header.stamp)
        if frame.break_reason:
            self._node.get_logger().info(f"{frame.break_reason}: starting a new segment; the pose goes on from the last one")
            self._break()

        image = rgb_from_message(message)
        camera = self._camera_of(message, image.shape[1], image.shape[0], parameters)
        if camera is not None and camera.rectifier is not None:
            image = camera.rectifier.rectify(image)
        wanted = self._outputs.wanted()
        if self._frames_since_confidence >= CONFIDENCE_INTERVAL - 1:
            wanted.add(POINTS)
        estimate = self._reconstructor.process(image, camera.intrinsics if camera else None, outputs=wanted)
        self.segment = (estimate.segment, estimate.segment_frames)
        if estimate.fault:
            self.failed += 1
            self._break()
            self.health = diagnostics.lost(estimate.fault)
            self._notices.error("lost", f"lost: {estimate.fault}; nothing is published for this frame, the state is reset")
            return

        camera_frame = message.header.frame_id or parameters.camera_frame
        T_base_camera = self._mount.T_base_camera(camera_frame, parameters.wait_for_transform)
        motion = self._motion(estimate, T_base_camera, stamp)
        with self._requests:
            if origin != self._origin:
                return
        if estimate.intrinsics is not None:
            self.intrinsics_source = estimate.intrinsics_source
        stamp_message = message.header.stamp
        self._outputs.publish_motion(motion, Header(stamp=stamp_message, frame_id=parameters.odom_frame), parameters)
        self._outputs.publish_dense(estimate, Header(stamp=stamp_message, frame_id=camera_frame), parameters)
        self.health = diagnostics.TRACKING
        self.statistics.add(time.perf_counter() - frame.received, estimate.learning_rate)

    def _obey_requests(self) -> int:
        """Carry out what other threads asked for since the last frame; return the odometry's origin."""
        parameters, reconstructor = self._parameters, self._reconstructor
        with self._requests:
            reset, self._reset_wanted = self._reset_wanted, False
            origin = self._origin
        if origin != self._origin_used:
            self._origin_used = origin
            reconstructor.restart()
            self._forget_odometry()
            self._outputs.forget_path()
        elif reset:
            reconstructor.reset()
        reconstructor.set_rule(rule_by_name(parameters.update_rule))
        reconstructor.set_image_size(parameters.image_size)
        reconstructor.reset_interval = parameters.reset_interval
        return origin

    def _motion(self, estimate: Estimate, T_base_camera: FloatArray, stamp: int) -> Motion:
        """Bring the camera's pose in its world to the robot's in odom, which starts where the base stood at first."""
        if self._T_odom_world is None:
            self._T_odom_world = T_base_camera
        T_odom_base = self._T_odom_world @ estimate.T_world_camera @ inverse(T_base_camera)
        if estimate.confidence is not None:
            self._confidence = float(np.median(estimate.confidence))
            self._frames_since_confidence = 0
        else:
            self._frames_since_confidence += 1
        seconds, twist = None, (np.zeros(3), np.zeros(3))
        if self._previous is not None:
            previous_stamp, T_odom_base_before = self._previous
            if stamp > previous_stamp:
                seconds = (stamp - previous_stamp) * 1e-9
                twist = twist_between(T_odom_base_before, T_odom_base, seconds)
        self._previous = (stamp, T_odom_base)
        return Motion(T_odom_base, twist, covariances(self._confidence, seconds))

    def _camera_of(
        self, message: Image | CompressedImage, width: int, height: int, parameters: Parameters
    ) -> Camera | None:
        """Return the camera of this image if a usable camera_info has come."""
        if self._camera is None:
            self._input.wait_for_camera_info(CAMERA_INFO_WAIT)
        info = self._input.camera_info
        if info is None:
            return None
        rectified = parameters.rectified_images
        if self._camera is None or self._camera[0] is not info:
            info_before, rectified_before, camera = self._camera or (None, None, None)
            if info_before is None or rectified_before != rectified or not _same_camera(info, info_before):
                camera = self._read_camera(info, rectified)
            self._camera = (info, rectified, camera)
        elif self._camera[1] != rectified:
            self._camera = (info, rectified, self._read_camera(info, rectified))
        camera = self._camera[2]
        if camera is not None and (camera.intrinsics.width, camera.intrinsics.height) != (width, height):
            self._notices.warn(
                "camera_info size",
                f"the camera_info is for {camera.intrinsics.width}x{camera.intrinsics.height} pixels but the images have "
                f"{width}x{height}: it is ignored and the focal length is estimated from the images",
            )
            return None
        return camera

    def _read_camera(self, info: CameraInfo, rectified: bool) -> Camera | None:
        try:
            return camera_from_info(info, rectified=rectified)
        except UserError as error:
            self._notices.warn("camera_info", str(error))
            return None

    def _recover(self, error: Exception) -> None:
        """Live on after something unforeseen: say it, forget the state, take the next frame."""
        self.failed += 1
        self._break()
        if isinstance(error, torch.cuda.OutOfMemoryError):
            torch.cuda.empty_cache()
        reason = " ".join(str(error).split()) or type(error).__name__
        self.health = diagnostics.lost(f"a frame failed ({type(error).__name__}: {reason})")
        self._notices.error(
            type(error).__name__, f"a frame failed and was dropped, the state is reset ({type(error).__name__}: {reason})"
        )
        self._node.get_logger().debug(traceback.format_exc())

    def _break(self) -> None:
        self._reconstructor.break_segment()
        self._previous = None

    def _forget_odometry(self) -> None:
        self._origin_used = self._origin
        self._T_odom_world: FloatArray | None = None
        self._previous: tuple[int, FloatArray] | None = None
        self._confidence = float("nan")
        self._frames_since_confidence = CONFIDENCE_INTERVAL


def _same_camera(a: CameraInfo, b: CameraInfo) -> bool:
    fields = ("width", "height", "distortion_model", "binning_x", "binning_y", "roi")
    arrays = ("k", "d", "p")
    return all(getattr(a, name) == getattr(b, name) for name in fields) and all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in arrays
    )
