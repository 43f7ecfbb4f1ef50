"""One camera's stream without ROS: images in, odometry and dense estimates out.

The node and the offline tools run this same code, so that they agree frame by frame.
"""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.preprocess import check_image
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.stream.continuity import why_broken
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS, POINTS, Estimate, Float32Array
from ttt3r_ros.stream.image_health import ImageHealth, ImageMemory
from ttt3r_ros.stream.memory import Memory
from ttt3r_ros.stream.odometry import Motion, Odometry, OdometryMemory
from ttt3r_ros.stream.plausibility import MotionCheck, MotionMemory
from ttt3r_ros.stream.reconstructor import Reconstructor
from ttt3r_ros.stream.reset_policy import AdaptivePolicy, PolicyMemory

#: Odometry's covariance needs a confidence; while nobody wants dense outputs, every so many frames compute one.
CONFIDENCE_INTERVAL = 10
#: Frames in a row that the network fails at before its state is blamed: one may be a glitch, after which the segment
#: goes on as if nothing had been; a state that is broken, or a camera that is elsewhere, fails at every one.
PATIENCE = 2
#: Sentences kept for the log until a frame takes them along.
MOST_EVENTS = 10

ResetPolicy = Literal["never", "interval", "adaptive"]
POLICIES: tuple[ResetPolicy, ...] = get_args(ResetPolicy)


@dataclass(frozen=True)
class StreamSettings:
    """How a stream behaves; may be replaced between frames.

    Attributes:
        reset_policy: when a new segment starts by itself: 'never', after every `reset_interval` frames ('interval'), or
            when the segment has served its time ('adaptive', see `AdaptivePolicy`).
        reset_interval: frames of a segment under the policy 'interval'; under 'adaptive', about so many.
        max_frame_gap: a longer time between two stamps, or lost, breaks the segment [s].
        check_images: whether images that show nothing are refused, see `ImageHealth`.
        frozen_timeout: for how long a camera may send the same pixels [s]; 0 for as long as it likes.
        max_speed: that the camera can have [m/s]; 0 for any.
        max_turn_rate: that it can turn with [rad/s]; 0 for any.
        judges_gaps: whether the frames given are all that the camera sent. False where frames have been dropped on the
            way: only who saw them arrive can tell a gap then, and says so with `break_reason`.
    """

    reset_policy: ResetPolicy = "interval"
    reset_interval: int = 100
    max_frame_gap: float = 2.0
    check_images: bool = True
    frozen_timeout: float = 1.0
    max_speed: float = 5.0
    max_turn_rate: float = 6.0
    judges_gaps: bool = True


@dataclass(frozen=True)
class StreamFrame:
    """What became of a frame.

    Attributes:
        stamp_ns: of the image [ns].
        estimate: what the network saw; None where the image was refused.
        motion: the robot's odometry; None while lost: nothing of this frame may be published.
        lost: why it is lost, in one clause; None where it is not.
        events: sentences for the log.
    """

    stamp_ns: int
    estimate: Estimate | None
    motion: Motion | None
    lost: str | None = None
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamSnapshot:
    """All that a stream carries from frame to frame; one that resumes it goes on as if it had never stopped."""

    reconstructor: Memory
    odometry: OdometryMemory
    images: ImageMemory
    motions: MotionMemory
    policy: PolicyMemory
    last_stamp: int | None
    segment_reason: str


class Stream:
    """Follows one camera. Not safe for use from several threads at once.

    What a frame says is used only where the image shows something, the network's answer is sound, and the motion is one
    that the camera can have made; else the frame is *lost*: nothing of it may be published, and the recurrent state is
    as if it had never come. When it happens to `PATIENCE` frames in a row that the network has seen, the state itself
    is suspect, and the next frame starts a segment of its own where the pose stood.
    """

    def __init__(self, reconstructor: Reconstructor, settings: StreamSettings | None = None) -> None:
        self.reconstructor = reconstructor
        self._looker = ThreadPoolExecutor(1, "image-health")
        reconstructor.reset_interval = 0  # the stream decides, and says why
        self.settings = StreamSettings() if settings is None else settings
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the origin of a new odometry."""
        self.reconstructor.restart()
        self._odometry = Odometry()
        self._images = ImageHealth()
        self._is_blind = False  # whether the last image was refused
        self._motions = MotionCheck()
        self._policy = AdaptivePolicy()
        self._last_stamp: int | None = None
        self._resumes_later = False
        self._failures = 0
        self._segment, self._reason_told = 0, False
        self._undecided: Estimate | None = None
        self._events: list[str] = []
        #: Why the segment began, in one clause.
        self.segment_reason = "the stream began"

    def reset(self, reason: str = "asked for", *, routine: bool = False) -> None:
        """Forget the recurrent state before the next frame; the pose goes on from the last one.

        Args:
            reason: why, in one clause.
            routine: not worth a sentence in the log.
        """
        if self.reconstructor.memory.state is not None:
            self.reconstructor.reset()
            self._tell_reason(reason, routine=routine)

    def break_segment(self, reason: str) -> None:
        """Forget the recurrent state and the last frame, as after a gap; the pose goes on from the last one."""
        if self.reconstructor.memory.segment >= 0:
            self.reconstructor.break_segment()
            self._motions.forget()
            self._odometry.interrupt()
            self._tell_reason(reason)

    def lose(self, reason: str) -> None:
        """Say that the network has failed at a frame, of which nothing is used."""
        self._odometry.interrupt()
        self._failures += 1
        if self._failures == PATIENCE:
            self.break_segment(f"{PATIENCE} frames in a row were lost ({reason})")

    def snapshot(self) -> StreamSnapshot:
        """Return what the stream carries to the next frame."""
        self.settle()
        return StreamSnapshot(
            self.reconstructor.snapshot(),
            self._odometry.memory,
            self._images.memory,
            self._motions.memory,
            self._policy.memory,
            self._last_stamp,
            self.segment_reason,
        )

    def resume(self, snapshot: StreamSnapshot, *, later: bool = False) -> None:
        """Go on from a snapshot, whose tensors are on the network's device.

        Args:
            snapshot: of a stream with the same weights, image size and update rule.
            later: the next frame does not follow on the snapshot's last one: time has passed, by a clock that may have
                started anew. Its segment goes on, but its velocity is not known.
        """
        self.restart()
        self._resumes_later = later
        self.reconstructor.memory = snapshot.reconstructor
        self._odometry.memory = snapshot.odometry
        self._images.memory = snapshot.images
        self._motions.memory = snapshot.motions
        self._policy.memory = snapshot.policy
        self._last_stamp, self.segment_reason = snapshot.last_stamp, snapshot.segment_reason
        self._segment = max(snapshot.reconstructor.segment, 0)

    def settle(self) -> None:
        """Do now what the next frame would otherwise wait for; to be called when a frame has been published."""
        if self._undecided is not None:
            estimate, self._undecided = self._undecided, None
            if reason := self._why_reset(estimate):
                self.reset(reason, routine=self.settings.reset_policy == "interval")
        self.reconstructor.settle()

    def process(
        self,
        image: npt.NDArray[np.uint8],
        stamp_ns: int,
        T_base_camera: FloatArray,
        camera: Intrinsics | None = None,
        *,
        outputs: Set[str] = DEFAULT_OUTPUTS,
        break_reason: str | None = None,
    ) -> StreamFrame:
        """Take in a frame.

        Args:
            image: (H, W, 3) uint8 RGB, without lens distortion.
            stamp_ns: when it was taken [ns].
            T_base_camera: (4, 4) mount of the camera on the robot at that time, optical axes.
            camera: intrinsics of this image where known.
            outputs: which of 'points' and 'image' to compute beside the pose; the stream may add to them.
            break_reason: why this frame does not follow smoothly on the last one, where the caller knows.

        Raises:
            UserError: the image or its intrinsics cannot be used; the recurrent state has not changed then.
        """
        image = check_image(image)
        self.settle()
        if self._resumes_later:
            self._resumes_later, self._last_stamp, break_reason = False, None, None
            self._images.memory = replace(self._images.memory, checksum=None)  # the same pixels are no frozen camera
            self._motions.resume_at(stamp_ns)
            self._odometry.resume_at(stamp_ns)
        settings, last_stamp = self.settings, self._last_stamp
        self._last_stamp = stamp_ns
        if settings.judges_gaps and last_stamp is not None:
            break_reason = break_reason or why_broken(last_stamp, stamp_ns, settings.max_frame_gap)
        if break_reason:
            self.break_segment(break_reason)
        looking = self._looker.submit(self._why_refused, image, stamp_ns, settings)
        if self._is_blind and (refusal := looking.result()):
            self._odometry.interrupt()
            return self._frame(stamp_ns, lost=refusal)
        seconds = self._odometry.seconds_lost(stamp_ns)
        if seconds > settings.max_frame_gap and self.reconstructor.memory.state is not None:
            self.break_segment(f"lost for {seconds:.1f} s")

        wanted = set(outputs)
        if self._odometry.frames_since_confidence >= CONFIDENCE_INTERVAL - 1:
            wanted.add(POINTS)
        before = self.reconstructor.memory
        try:
            estimate = self.reconstructor.process(image, camera, outputs=wanted)
        finally:
            refusal = looking.result()  # found out while the network worked
            self._is_blind = refusal is not None
        if refusal:
            self.reconstructor.memory = before
            self._odometry.interrupt()
            return self._frame(stamp_ns, lost=refusal)
        self._note_segment(estimate.segment)
        if estimate.segment_frames == 1:  # nothing is known of the motion up to here
            self._motions.forget()
            self._odometry.interrupt()
        fault = estimate.fault or self._motions.why_implausible(
            estimate.T_world_camera, stamp_ns, settings.max_speed, settings.max_turn_rate
        )
        if fault:
            self.reconstructor.memory = before
            self.lose(fault)
            return self._frame(stamp_ns, estimate, lost=fault)

        self._failures, self._undecided = 0, estimate
        self._motions.accept(estimate.T_world_camera, stamp_ns)
        confidence = estimate.typical_confidence()
        motion = self._odometry.update(estimate.T_world_camera, T_base_camera, stamp_ns, confidence)
        return self._frame(stamp_ns, estimate, motion)

    def _why_refused(self, image: npt.NDArray[np.uint8], stamp_ns: int, settings: StreamSettings) -> str | None:
        if not settings.check_images:
            return None
        return self._images.why_refused(image, stamp_ns, settings.frozen_timeout)

    def _why_reset(self, estimate: Estimate) -> str | None:
        settings, frames = self.settings, estimate.segment_frames
        if settings.reset_policy == "interval" and frames >= settings.reset_interval:
            return f"after {frames} frames"
        if settings.reset_policy == "adaptive":
            return self._policy.why_reset(estimate, settings.reset_interval, lambda: self._points_of(estimate))
        return None

    def _points_of(self, estimate: Estimate) -> tuple[Float32Array, Float32Array] | None:
        if estimate.points is not None and estimate.confidence is not None:
            return estimate.points, estimate.confidence
        return self.reconstructor.last_points()

    def _tell_reason(self, reason: str, *, routine: bool = False) -> None:
        self.segment_reason, self._reason_told = reason, True
        if not routine:
            sentence = f"{reason}: starting a new segment; the pose goes on from the last one"
            self._events = [*self._events, sentence][-MOST_EVENTS:]

    def _note_segment(self, segment: int) -> None:
        if segment != self._segment and not self._reason_told:
            self._tell_reason("the image's size or the update rule has changed")
        self._segment, self._reason_told = segment, False

    def _frame(
        self, stamp_ns: int, estimate: Estimate | None = None, motion: Motion | None = None, lost: str | None = None
    ) -> StreamFrame:
        events, self._events = tuple(self._events), []
        return StreamFrame(stamp_ns, estimate, motion, lost, events)
