"""One camera's stream without ROS: images in, odometry and dense estimates out.

`step` is pure: what a stream carries from frame to frame is one value, `StreamState`. Rolling back is keeping the old
value, a reset replaces a part of it, saving writes it (`saved_state`). `Stream` is the face that node, offline tools
and library users hold, so that they agree frame by frame.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.camera.preprocess import check_image
from ttt3r_ros.camera.upright import quarter_turns
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, Intrinsics, checked_transform, inverse, orthonormal
from ttt3r_ros.stream import (
    gravity,
    ground,
    image_check,
    motion_check,
    odometry,
    reset_policy,
    scale_sources,
    segments,
    still_check,
    tracks,
)
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.continuity import why_broken
from ttt3r_ros.stream.covariance import Certainty, unseen
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS, POINTS, Estimate, Float32Array
from ttt3r_ros.stream.gravity import GravityState, ImuSamples
from ttt3r_ros.stream.gray import gray_of
from ttt3r_ros.stream.ground import GroundState
from ttt3r_ros.stream.image_check import ImageState
from ttt3r_ros.stream.motion_check import MotionState
from ttt3r_ros.stream.odometry import Motion, OdometryState
from ttt3r_ros.stream.reset_policy import PolicyState
from ttt3r_ros.stream.scale_sources import SourcesState
from ttt3r_ros.stream.segments import SegmentState
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.still_check import StillState
from ttt3r_ros.stream.tracks import Tracked, TracksState, View
from ttt3r_ros.stream.wheels import OdometrySample

#: Odometry's covariance needs a confidence; while nobody wants dense outputs, every so many frames compute one.
CONFIDENCE_INTERVAL = 10
#: And no more often than this where another keyframe is wanted for points that are followed.
KEY_INTERVAL = 3
#: Frames in a row that the network fails at before its state is blamed: one may be a glitch, after which the segment
#: goes on as if nothing had been; a state that is broken, or a camera that is elsewhere, fails at every one.
PATIENCE = 2
#: Stamps are signed 64-bit integers, also in files [ns].
MAX_STAMP_NS = 2**63 - 1
#: Sentences kept for the log until a frame takes them along.
MAX_EVENTS = 10


@dataclass(frozen=True)
class CameraFrame:
    """An image and what is known about it.

    Attributes:
        image: (H, W, 3) uint8 RGB, without lens distortion.
        stamp_ns: when it was taken [ns]; `camera.stamps` tells which stamps of a camera to believe.
        T_base_camera: (4, 4) mount of the camera on the robot at that time, optical axes; looks forward by default. The
            network sees the image turned by the quarter turns that make it upright.
        camera: intrinsics of this image where known.
        outputs: which of 'points', 'image' and 'descriptor' to compute beside the pose; the stream may add to them.
        break_reason: why this frame does not follow smoothly on the last one, where the caller knows.
        clock_step_ns: by how much the clock of the stamps has been set since the last frame, where the caller knows
            [ns]: no such time has passed.
        mask: of pixels that never show the scene, of the image's size; None where all do.
        imu: what the IMU has measured since the last frame; None without one.
        T_ground_camera: (4, 4) pose of the camera over the ground that the robot stands on (z up, 0 on the ground; x
            and y do not matter), optical axes; None where it is not known.
        other_odometry: poses of the robot by another odometry (wheels) that have come since the last frame, in order of
            arrival, stamped by the clock of the images; they may be late, or end before this frame.
    """

    image: npt.NDArray[np.uint8]
    stamp_ns: int
    T_base_camera: FloatArray = field(default_factory=lambda: T_BASE_CAMERA)
    camera: Intrinsics | None = None
    outputs: Set[str] = DEFAULT_OUTPUTS
    break_reason: str | None = None
    mask: Mask | None = None
    imu: ImuSamples | None = None
    T_ground_camera: FloatArray | None = None
    other_odometry: Sequence[OdometrySample] = ()
    clock_step_ns: int = 0


@dataclass(frozen=True)
class StreamResult:
    """What became of a frame.

    Attributes:
        stamp_ns: of the image [ns].
        estimate: what the network saw; None where the image was refused.
        motion: the robot's odometry; None while lost: nothing of this frame may be published.
        lost: why it is lost, in one clause; None where it is not.
        is_still: whether the camera stands where it stood, so that pose and scale are held.
        events: sentences for the log.
    """

    stamp_ns: int
    estimate: Estimate | None
    motion: Motion | None
    lost: str | None = None
    is_still: bool = False
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamState:
    """All that a stream carries from frame to frame; whoever has it can go on from there.

    Attributes:
        segments: the network's state, and how its segments are chained.
        odometry: pose, velocity and covariance of the robot.
        gravity: which way is up, from an IMU.
        ground: the plane that the robot moves on, where it is known how the camera stands over the ground.
        images: what the image check compares with.
        still: what the check for standing still compares with.
        motions: what the motion check compares with.
        tracks: points that are followed through the images.
        policy: what the adaptive reset policy has noticed.
        sources: what camera height and other odometry say about the scale.
        depth: typical of the last frame whose points were computed [m]; None before the first.
        last_stamp_ns: of the last image, refused or not [ns].
        segment_reason: why the running segment began, in one clause.
        is_blind: whether the last image was refused.
        failures: frames in a row that the network has failed at.
        is_resumed: whether time has passed since the last frame, by a clock that may have started anew.
        pending: the last frame's estimate, which the reset policy has yet to see; None in a state that is prepared.
        events: sentences for the log that no frame has taken along yet.
    """

    segments: SegmentState = field(default_factory=SegmentState)
    odometry: OdometryState = field(default_factory=OdometryState)
    gravity: GravityState = field(default_factory=GravityState)
    ground: GroundState = field(default_factory=GroundState)
    images: ImageState = field(default_factory=ImageState)
    still: StillState = field(default_factory=StillState)
    motions: MotionState = field(default_factory=MotionState)
    tracks: TracksState = field(default_factory=TracksState)
    policy: PolicyState = field(default_factory=PolicyState)
    sources: SourcesState = field(default_factory=SourcesState)
    depth: float | None = None
    last_stamp_ns: int | None = None
    segment_reason: str = "the stream began"
    is_blind: bool = False
    failures: int = 0
    is_resumed: bool = False
    pending: Estimate | None = None
    events: tuple[str, ...] = ()


def step(
    backbone: Backbone, frame: CameraFrame, state: StreamState | None, settings: StreamSettings
) -> tuple[StreamResult, StreamState]:
    """Take in a frame. Pure: all that is carried is in the state.

    A frame is used only where the image shows something, the network's answer is sound, and the motion is one that the
    camera can have made; else it is *lost*: nothing of it may be published, and the recurrent state is as if it had
    never come. When that happens to `PATIENCE` frames in a row that the network has seen, the state itself is suspect,
    and the next frame starts a segment of its own where the pose stood.

    Args:
        backbone: the network.
        frame: to take in.
        state: after the last frame; None to begin.
        settings: in force.

    Returns:
        What became of the frame, and the state for the next one.

    Raises:
        UserError: the image, its stamp, its intrinsics, its mask or a transform cannot be used.
    """
    frame = _checked(frame, state)
    image, stamp_ns, mask = frame.image, frame.stamp_ns, frame.mask
    state, break_reason = prepare(backbone, state or StreamState(), settings), frame.break_reason
    if state.is_resumed:
        state, break_reason = _after_pause(state, stamp_ns), None
    elif frame.clock_step_ns:
        state = _with_clock_set(state, frame.clock_step_ns)
    if settings.judges_gaps and state.last_stamp_ns is not None:
        break_reason = break_reason or why_broken(state.last_stamp_ns, stamp_ns, settings.max_frame_gap)
    sources = scale_sources.received(state.sources, frame.T_ground_camera, frame.other_odometry)
    state = replace(state, last_stamp_ns=stamp_ns, sources=sources)
    if break_reason:
        state = start_segment(state, break_reason)
    checking = backbone.beside(_check_image, state, image, stamp_ns, settings, mask)
    if state.is_blind and (looked := checking.result()).refused:
        return _refused(state, stamp_ns, looked)
    seconds = state.odometry.seconds_lost(stamp_ns)
    if seconds > settings.max_frame_gap and state.segments.state is not None:
        state = start_segment(state, f"lost for {seconds:.1f} s")
    as_before = state
    turns = quarter_turns(frame.T_base_camera, state.segments.turns)
    misfit, fitting = segments.fitted(backbone, state.segments, image.shape[1], image.shape[0], settings, turns)
    if misfit:
        state = _told(replace(state, segments=fitting), misfit)
    if state.segments.state is None:
        state = _with_robot_where_it_was(state, frame.T_base_camera)

    outputs = set(frame.outputs)
    age = state.odometry.frames_since_confidence + 1
    needs_key = settings.correct_motion and tracks.is_worn(state.tracks) and age >= KEY_INTERVAL
    if age >= CONFIDENCE_INTERVAL or needs_key or scale_sources.wants_points(state.sources):
        outputs.add(POINTS)
    can_hold = settings.hold_still and state.segments.state is not None and state.odometry.T_odom_base is not None
    needs_no_network = can_hold and state.still.is_still and POINTS not in frame.outputs
    if needs_no_network and (looked := checking.result()).is_still:
        return _held(backbone, frame, state, looked, settings)
    try:
        estimate, advanced = segments.advance(
            backbone, state.segments, image, frame.camera, settings, outputs=outputs, mask=mask, turns=turns
        )
    finally:
        looked = checking.result()  # found out while the network worked
    if looked.refused:
        return _refused(as_before, stamp_ns, looked)
    if can_hold and looked.is_still and estimate.fault is None:
        return _held(backbone, frame, state, looked, settings, estimate)
    state = replace(state, images=looked.images, is_blind=False)
    if estimate.segment_frames == 1:  # nothing is known of the motion up to here
        state = replace(
            state,
            motions=MotionState(),
            tracks=TracksState(),
            sources=scale_sources.interrupted(state.sources),
            odometry=odometry.interrupted(state.odometry),
        )
    T_world_before, is_first = state.segments.T_world_camera, estimate.segment_frames == 1
    certainty = None
    if settings.correct_motion and not is_first and estimate.fault is None:
        estimate, advanced, certainty = _corrected(state, looked.tracked, estimate, advanced)
    T_world_camera = estimate.T_world_camera
    fault = estimate.fault or motion_check.check(
        state.motions, T_world_camera, stamp_ns, settings.max_speed, settings.max_turn_rate
    )
    if fault:
        return _result(fail(state, fault), stamp_ns, estimate, lost=fault)
    depth = estimate.typical_depth() or state.depth
    T_last_now = inverse(T_world_before) @ T_world_camera
    before = gravity.leveled(state.odometry, frame.imu, settings.covariance)
    model = replace(settings.covariance, scale=scale_sources.sigma(state.sources, estimate, settings.covariance.scale))
    motion, moved = odometry.update(
        before,
        T_world_camera,
        frame.T_base_camera,
        stamp_ns,
        estimate.typical_confidence(),
        model,
        certainty,
        is_scale_measured=bool(state.sources.in_charge),
    )
    motion, moved, vertical = gravity.corrected(
        state.gravity, before, motion, moved, frame.imu, is_fitted=certainty is not None
    )
    motion, moved, on_ground = ground.corrected(
        state.ground,
        before,
        motion,
        moved,
        frame.T_base_camera,
        frame.T_ground_camera,
        is_floor_seen=scale_sources.is_floor_seen(state.sources),
        is_level=vertical.force is not None,
    )
    T_world_base = T_world_camera @ inverse(frame.T_base_camera)
    sources = scale_sources.seen(state.sources, stamp_ns, T_world_base, depth, is_fitted=certainty is not None)
    state = replace(
        state,
        depth=depth,
        segments=advanced,
        sources=sources,
        odometry=moved,
        still=looked.still,  # only now: the anchor is an image whose pose is known
        gravity=vertical,
        ground=on_ground,
        motions=motion_check.accepted(state.motions, T_world_camera, stamp_ns),
        tracks=tracks.moved(state.tracks, looked.tracked, T_last_now, is_found=certainty is not None),
        failures=0,
        pending=estimate,
    )
    return _result(state, stamp_ns, estimate, odometry.flattened(motion) if settings.two_d_mode else motion)


def prepare(backbone: Backbone, state: StreamState, settings: StreamSettings) -> StreamState:
    """Do now what the next frame would otherwise wait for; pure, to be called when a frame has been published."""
    if state.pending is not None:
        estimate, state = state.pending, replace(state, pending=None)
        state = replace(_rescaled(state, estimate, settings), tracks=tracks.renewed(state.tracks, estimate))
        reason, policy = _reset_reason(backbone, state, estimate, settings)
        state = replace(state, policy=policy)
        if reason:
            state = reset(state, reason, is_routine=settings.reset_policy == "interval")
    return replace(state, segments=segments.prepare(backbone, state.segments, settings))


def _with_robot_where_it_was(state: StreamState, T_base_camera: FloatArray) -> StreamState:
    """Return the state whose next segment begins where the robot stood last, with the camera as it is mounted now.

    A mount may have moved since the last frame: a segment that began where the camera stood would turn the robot.
    """
    T_odom_world, T_odom_base = state.odometry.T_odom_world, state.odometry.T_odom_base
    if T_odom_world is None or T_odom_base is None:
        return state
    T_world_camera = inverse(T_odom_world) @ T_odom_base @ T_base_camera
    T_world_camera[:3, :3] = orthonormal(T_world_camera[:3, :3])
    return replace(state, segments=replace(state.segments, T_world_camera=T_world_camera))


def reset(state: StreamState, reason: str = "asked for", *, is_routine: bool = False) -> StreamState:
    """Return the state whose next frame belongs to a new segment; the pose goes on from the last one.

    Args:
        state: after the last frame.
        reason: why, in one clause.
        is_routine: not worth a sentence in the log.
    """
    if state.segments.state is None:
        return state
    return _told(replace(state, segments=state.segments.reset()), reason, is_routine=is_routine)


def start_segment(state: StreamState, reason: str) -> StreamState:
    """Return the state whose next frame follows on nothing, as after a gap; the pose goes on from the last one."""
    if state.segments.segment < 0:
        return state
    state = replace(
        state,
        segments=state.segments.without_state(),
        still=StillState(),
        motions=MotionState(),
        tracks=TracksState(),
        gravity=GravityState(),
        ground=ground.interrupted(state.ground),
        sources=scale_sources.interrupted(state.sources),
        odometry=odometry.interrupted(state.odometry),
    )
    return _told(state, reason, without=", without what the camera has moved since then")


def set_pose(
    state: StreamState, T_odom_base: FloatArray, covariance: FloatArray, settings: StreamSettings
) -> StreamState:
    """Return the state of a robot whose pose at the last frame is known to be another; odometry goes on from there.

    Args:
        state: after the last frame, or before the first.
        T_odom_base: (4, 4) pose.
        covariance: (6, 6) of position and orientation [m², rad²], in the axes of odom.
        settings: in force.
    """
    placed = odometry.placed(state.odometry, T_odom_base, covariance, settings.covariance)
    return replace(state, odometry=placed, gravity=GravityState(), ground=GroundState())


def fail(state: StreamState, reason: str) -> StreamState:
    """Return the state after a frame that the network has failed at, of which nothing is used."""
    state = replace(state, odometry=odometry.interrupted(state.odometry), failures=state.failures + 1)
    if state.failures == PATIENCE:
        state = start_segment(state, f"{PATIENCE} frames in a row were lost ({reason})")
    return state


class Stream:
    """Follows one camera: holds a backbone, settings and a state. Not safe for use from several threads at once.

    Attributes:
        backbone: the network.
        settings: may be replaced between frames.
        state: may be kept and put back between frames.
    """

    def __init__(self, backbone: Backbone, settings: StreamSettings | None = None) -> None:
        self.backbone = backbone
        self.settings = StreamSettings() if settings is None else settings
        self.state = StreamState()

    def process(
        self,
        image: npt.NDArray[np.uint8],
        stamp_ns: int,
        T_base_camera: FloatArray = T_BASE_CAMERA,
        camera: Intrinsics | None = None,
        *,
        outputs: Set[str] = DEFAULT_OUTPUTS,
        break_reason: str | None = None,
        mask: Mask | None = None,
        imu: ImuSamples | None = None,
        T_ground_camera: FloatArray | None = None,
        other_odometry: Sequence[OdometrySample] = (),
        clock_step_ns: int = 0,
    ) -> StreamResult:
        """Take in a frame; see `CameraFrame` and `step`.

        Raises:
            UserError: the image, its stamp, its intrinsics, its mask or a transform cannot be used; nothing has changed
                then.
        """
        frame = CameraFrame(
            image,
            stamp_ns,
            T_base_camera,
            camera,
            outputs,
            break_reason,
            mask,
            imu,
            T_ground_camera,
            other_odometry,
            clock_step_ns,
        )
        result, self.state = step(self.backbone, frame, self.state, self.settings)
        return result

    def prepare(self) -> None:
        """Do now what the next frame would otherwise wait for; to be called when a frame has been published."""
        self.state = prepare(self.backbone, self.state, self.settings)

    def reset(self, reason: str = "asked for") -> None:
        """Forget the recurrent state before the next frame; the pose goes on from the last one."""
        self.state = reset(self.state, reason)

    def reset_odometry(self) -> None:
        """Forget everything: the next frame is the origin of a new odometry."""
        self.state = StreamState()

    def set_pose(self, T_odom_base: FloatArray, covariance: FloatArray | None = None) -> None:
        """Say what the pose (4, 4) at the last frame is, with its covariance (6, 6); odometry goes on from there."""
        T_odom_base = checked_transform(T_odom_base, "T_odom_base")
        covariance = np.zeros((6, 6)) if covariance is None else np.asarray(covariance, np.float64)
        if covariance.shape != (6, 6) or not np.isfinite(covariance).all():
            raise UserError("the covariance of a pose must be a (6, 6) array of finite numbers")
        if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[0] < -1e-9:
            raise UserError("the covariance of a pose must be symmetric and without negative eigenvalues")
        self.state = set_pose(self.state, T_odom_base, covariance, self.settings)

    def start_segment(self, reason: str) -> None:
        """Forget the recurrent state and the last frame, as after a gap; the pose goes on from the last one."""
        self.state = start_segment(self.state, reason)

    def remount(self, T_base_wrong: FloatArray, T_base_camera: FloatArray) -> None:
        """Correct the mount of all frames so far; see `odometry.remounted`."""
        is_level = self.state.gravity.force is not None
        corrected = odometry.remounted(self.state.odometry, T_base_wrong, T_base_camera, is_level=is_level)
        self.state = replace(self.state, odometry=corrected, ground=GroundState())

    def interrupt(self) -> None:
        """Publish no velocity for the next frame, since its pose may not continue smoothly from the last one."""
        self.state = replace(self.state, odometry=odometry.interrupted(self.state.odometry))

    def fail(self, reason: str) -> None:
        """Say that the network has failed at a frame, of which nothing is used."""
        self.state = fail(self.state, reason)

    def resume(self, state: StreamState, *, later: bool = False) -> None:
        """Go on from a state, whose tensors are on the network's device.

        Args:
            state: of a stream with the same weights, image size and update rule.
            later: the next frame does not follow on the state's last one: time has passed, by a clock that may have
                started anew. Its segment goes on, but its velocity is not known.
        """
        self.state = replace(state, is_resumed=True, is_blind=False, failures=0, events=()) if later else state


def _checked(frame: CameraFrame, state: StreamState | None) -> CameraFrame:
    """Return a frame that can follow on a state, with its mask applied.

    Raises:
        UserError: a part of it cannot be used.
    """
    image, stamp_ns, mask, T_ground_camera = check_image(frame.image), _check_stamp(frame.stamp_ns), frame.mask, None
    if state is not None and stamp_ns == state.last_stamp_ns and not state.is_resumed and not frame.break_reason:
        raise UserError(f"two images have the same stamp of {stamp_ns} ns: give each image the time it was taken")
    if frame.T_ground_camera is not None:
        T_ground_camera = checked_transform(frame.T_ground_camera, "T_ground_camera")
    if mask is not None:
        mask.check(image.shape[1], image.shape[0])
        image = mask.filled(image)
    return replace(
        frame,
        image=image,
        stamp_ns=stamp_ns,
        T_base_camera=checked_transform(frame.T_base_camera, "T_base_camera"),
        T_ground_camera=T_ground_camera,
    )


def _check_stamp(stamp_ns: object) -> int:
    try:
        stamp = operator.index(stamp_ns)  # type: ignore[arg-type]  # checked here
    except TypeError:
        raise UserError(f"a stamp must be a whole number of nanoseconds, not {reprlib.repr(stamp_ns)}") from None
    if not 0 <= stamp <= MAX_STAMP_NS:
        raise UserError(f"a stamp must be from 0 to {MAX_STAMP_NS} ns, not {reprlib.repr(stamp_ns)}")
    return stamp


@dataclass(frozen=True)
class _Looked:
    """What the image alone tells.

    Attributes:
        refused: why it must not be used, in one clause; None where it may.
        is_still: whether it shows that the camera stands where it stood.
        images, still: what is known after it.
        tracked: where it shows the points that are followed.
    """

    refused: str | None
    is_still: bool
    images: ImageState
    still: StillState
    tracked: Tracked


def _check_image(
    state: StreamState, image: npt.NDArray[np.uint8], stamp_ns: int, settings: StreamSettings, mask: Mask | None
) -> _Looked:
    gray = gray_of(image)
    refused, images, is_still, still = None, state.images, False, state.still
    if settings.check_images:
        refused, images = image_check.check(state.images, image, gray, stamp_ns, settings.frozen_timeout, mask)
    if refused is None:
        is_still, still = still_check.check(state.still, gray, stamp_ns, mask)
    visible = None if mask is None else mask.visible(gray.shape[1], gray.shape[0], tracks.MASK_MARGIN)
    is_followed = refused is None and not (is_still and settings.hold_still)
    tracked = tracks.follow(state.tracks if is_followed else TracksState(), View(gray, visible))
    return _Looked(refused, is_still, images, still, tracked)


def _corrected(
    state: StreamState, tracked: Tracked, estimate: Estimate, advanced: SegmentState
) -> tuple[Estimate, SegmentState, Certainty | None]:
    """Return a frame's estimate, and the state after it, with the motion that the pixels tell of where they do.

    Returns:
        Both, and how certain the motion is; None where the pixels do not tell.
    """
    T_world_last = state.segments.T_world_camera
    found = tracks.motion(state.tracks, tracked, inverse(T_world_last) @ estimate.T_world_camera, estimate)
    if found is None:
        return estimate, advanced, None
    T_world_camera = T_world_last @ found.T_last_now
    T_world_camera[:3, :3] = orthonormal(T_world_camera[:3, :3])
    advanced = segments.corrected(advanced, T_world_camera)
    return replace(estimate, T_world_camera=T_world_camera), advanced, found.certainty


def _held(
    backbone: Backbone,
    frame: CameraFrame,
    state: StreamState,
    looked: _Looked,
    settings: StreamSettings,
    seen: Estimate | None = None,
) -> tuple[StreamResult, StreamState]:
    """Return the result of a frame whose camera stands still: pose, scale and recurrent state stay as they are.

    Args:
        backbone, frame, settings: as in `step`.
        state: before the frame.
        looked: what the image tells.
        seen: what the network sees from the state before it, of which only the dense parts are used; None where it
            has not been run.
    """
    estimate = (
        segments.look(backbone, state.segments, frame.image, frame.camera, settings, outputs=frame.outputs)
        if seen is None
        else seen
    )
    estimate = segments.held(state.segments, estimate)
    motion, odometry_state = odometry.held(
        state.odometry, estimate.T_world_camera, frame.T_base_camera, frame.stamp_ns, settings.covariance
    )
    motion, odometry_state, vertical = gravity.corrected(
        state.gravity, state.odometry, motion, odometry_state, frame.imu, unseen(settings.covariance)
    )
    state = replace(
        state,
        images=looked.images,
        still=looked.still,
        is_blind=False,
        failures=0,
        odometry=odometry_state,
        gravity=vertical,
        motions=motion_check.held(state.motions, frame.stamp_ns),
    )
    if settings.two_d_mode:
        motion = odometry.flattened(motion)
    result, state = _result(state, frame.stamp_ns, estimate, motion)
    return replace(result, is_still=True), state


def _rescaled(state: StreamState, estimate: Estimate, settings: StreamSettings) -> StreamState:
    """Return the state whose sources of scale have been asked about a frame."""
    if state.sources.view is None:
        return state
    sources, scale, told = scale_sources.asked(state.sources, state.segments.scale_state, estimate)
    running = replace(state.segments, scale_state=scale)
    moved = odometry.rescaled(state.odometry, sources.measured, settings.covariance)
    state = replace(state, sources=sources, segments=running, odometry=moved)
    return replace(state, events=(*state.events, *told)[-MAX_EVENTS:])


def _reset_reason(
    backbone: Backbone, state: StreamState, estimate: Estimate, settings: StreamSettings
) -> tuple[str | None, PolicyState]:
    def points() -> tuple[Float32Array, Float32Array] | None:
        if estimate.points is not None and estimate.confidence is not None:
            return estimate.points, estimate.confidence
        return segments.last_points(backbone, state.segments)

    frames = estimate.segment_frames
    if settings.reset_policy == "interval" and frames >= settings.segment_frames:
        return f"after {frames} frames", state.policy
    if settings.reset_policy == "adaptive":
        return reset_policy.check(state.policy, estimate, settings.segment_frames, points)
    return None, state.policy


def _after_pause(state: StreamState, stamp_ns: int) -> StreamState:
    """Return the state of a stream that stood still until the frame of this stamp [ns]."""
    return replace(
        state,
        is_resumed=False,
        last_stamp_ns=None,
        images=replace(state.images, checksum=None),  # the same pixels are no frozen camera
        still=StillState(),
        tracks=TracksState(),
        gravity=GravityState(),
        ground=ground.interrupted(state.ground),
        motions=motion_check.resumed(state.motions, stamp_ns),
        odometry=odometry.resumed(state.odometry, stamp_ns),
    )


def _with_clock_set(state: StreamState, step_ns: int) -> StreamState:
    """Return the state as if the clock of the stamps had always been set that much further [ns].

    What compares samples with stamps ends with the segment, as the new clock begins (`start_segment`).
    """
    motions, sources, last_ns = state.motions, state.sources, state.last_stamp_ns
    if motions.stamp_ns is not None:
        motions = replace(motions, stamp_ns=motions.stamp_ns + step_ns)
    if sources.last_ns is not None:
        height_ns = None if sources.height_ns is None else sources.height_ns + step_ns
        sources = replace(sources, last_ns=sources.last_ns + step_ns, height_ns=height_ns)
    return replace(
        state,
        last_stamp_ns=None if last_ns is None else last_ns + step_ns,
        images=replace(state.images, same_since=state.images.same_since + step_ns),
        still=replace(state.still, since_ns=state.still.since_ns + step_ns),
        odometry=replace(state.odometry, stamp_ns=state.odometry.stamp_ns + step_ns),
        motions=motions,
        sources=sources,
    )


def _told(state: StreamState, reason: str, *, is_routine: bool = False, without: str = "") -> StreamState:
    """Return the state with the reason of its new segment, and a sentence about it for the log."""
    events = state.events
    if not is_routine:
        sentence = f"{reason}: starting a new segment; the pose goes on from the last one{without}"
        events = (*events, sentence)[-MAX_EVENTS:]
    return replace(state, segment_reason=reason, events=events)


def _refused(state: StreamState, stamp_ns: int, looked: _Looked) -> tuple[StreamResult, StreamState]:
    state = replace(state, images=looked.images, is_blind=True, odometry=odometry.interrupted(state.odometry))
    return _result(state, stamp_ns, lost=looked.refused)


def _result(
    state: StreamState,
    stamp_ns: int,
    estimate: Estimate | None = None,
    motion: Motion | None = None,
    lost: str | None = None,
) -> tuple[StreamResult, StreamState]:
    """Return a result that takes the events along, and the state without them."""
    return StreamResult(stamp_ns, estimate, motion, lost, events=state.events), replace(state, events=())
