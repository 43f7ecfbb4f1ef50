"""One camera's images in, estimates out, segments chained into one world.

A *segment* is the run of frames between two resets. The network's poses are relative to the segment's first camera;
segments are chained so that the stream has one world, that of its very first camera. All functions here are pure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.camera.focal import intrinsics_of, with_focal_of
from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.camera.preprocess import check_image, interleaved, normalize
from ttt3r_ros.camera.upright import turned, turned_axes
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics, T_from_pose, inverse, orthonormal
from ttt3r_ros.model.network import POINTS_CAMERA, Prediction, State, Trace
from ttt3r_ros.model.update import rule_by_name
from ttt3r_ros.runtime.device_outputs import DeviceOutputs, packed_pose, without_batch
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream import scale_filter
from ttt3r_ros.stream.alignment import LogRatio, scale_between
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS, DESCRIPTOR, IMAGE, POINTS, Estimate, Float32Array, Timings
from ttt3r_ros.stream.scale_filter import ScaleState
from ttt3r_ros.stream.settings import StreamSettings

Scalar = TypeVar("Scalar", bound=np.generic)

#: State tokens this many times as large as after the segment's first frame have exploded: those of sound states stay
#: within a few per cent for hundreds of frames.
EXPLODED = 100.0

#: Frames of a segment that differ in kind: the first, FILT3R's second, and all others.
KINDS_OF_FRAMES = 3


@dataclass(frozen=True)
class LastFrame:
    """What is kept of a frame for a segment that may begin with it.

    Attributes:
        image: (1, 3, H, W), the network's input.
        points: (1, H, W, 3) as the network predicted them, in the axes of its image; None if nobody has wanted them.
        confidence: (1, H, W); None like the points.
        trace: what to compute both from where they are None.
        hidden: (H, W) bool, pixels of the network's image that have no point; None where all have.
    """

    image: Tensor
    points: Tensor | None
    confidence: Tensor | None
    trace: Trace | None = None
    hidden: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, image: Tensor, prediction: Prediction, hidden: npt.NDArray[np.bool_] | None) -> LastFrame:
        """Return what is kept of an image, what the network said of it, and which of its pixels are hidden."""
        points, confidence = prediction.points_camera, prediction.confidence
        trace = prediction.trace if points is None or confidence is None else None
        return cls(image, points, confidence, trace, hidden)


@dataclass(frozen=True)
class SegmentState:
    """All that segments carry from frame to frame: whoever keeps it can return to that frame.

    Attributes:
        state: the network's; None where the next frame starts a segment.
        last: the last frame; None where the next segment cannot begin with it.
        before: (1, 3, H, W), the network's input one frame earlier; None where the next segment cannot begin with it.
        reset_due: whether the next frame belongs to a new segment, which begins with the last one.
        scale_state: what is known of the factor on the network's lengths in this segment.
        first_level: mean magnitude of the state tokens' values after the segment's first frame.
        input_size: (width, height) of the last image.
        image_size: long side of the network's image [px] that was asked for.
        turns: quarter turns, counterclockwise, from the camera's image to the network's, see `upright`.
        update_rule: name of the rule that the network's state has followed.
        segment: number of this segment, from 0; -1 before the first frame.
        segment_frames: frames of it so far.
        T_world_camera: (4, 4) pose of the last camera.
        T_world_before: (4, 4) pose of the camera one frame earlier.
        T_world_segment: (4, 4) from the network's coordinates in this segment, multiplied by the scale.
        focals: focal lengths found in the first frames' points [px of the network's image].
    """

    state: State | None = None
    last: LastFrame | None = None
    before: Tensor | None = None
    reset_due: bool = False
    scale_state: ScaleState = field(default_factory=ScaleState)
    first_level: float = 1.0
    input_size: tuple[int, int] | None = None
    image_size: int = 0
    turns: int = 0
    update_rule: str = ""
    segment: int = -1
    segment_frames: int = 0
    T_world_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    T_world_before: FloatArray = field(default_factory=lambda: np.eye(4))
    T_world_segment: FloatArray = field(default_factory=lambda: np.eye(4))
    focals: tuple[float, ...] = ()

    @property
    def scale(self) -> float:
        """Factor on the network's lengths."""
        return self.scale_state.factor

    def reset(self) -> SegmentState:
        """Return the state whose next frame belongs to a new segment that begins with the last two.

        The last frame is fed again, so that the motion between it and the next one is not lost (as TTT3R does, arXiv
        2509.26645). Every segment predicts a scale of its own; that frame's two pointmaps tell the ratio, which is
        divided out (see `scale_filter`). A network sees a segment's very first frame in another size than the same
        frame later on, so that the frame before it is fed first.
        """
        return replace(self, reset_due=self.state is not None)

    def without_state(self) -> SegmentState:
        """Return the state of a stream whose next frame starts a segment of its own; the pose stays."""
        return replace(self, state=None, last=None, before=None, reset_due=False)


def fitted(
    backbone: Backbone, state: SegmentState, width: int, height: int, settings: StreamSettings, turns: int = 0
) -> tuple[str | None, SegmentState]:
    """Return why a frame of this size [px], turned so often, cannot join the running segment, and a state that it can.

    Returns:
        One clause, None where it joins; the state.
    """
    image_size = backbone.image_size(settings.image_size)
    if state.segment >= 0 and state.input_size is not None and state.input_size != (width, height):
        return "the image's size has changed", replace(state.without_state(), focals=())
    if state.segment >= 0 and state.image_size != image_size:
        return "image_size has changed", replace(state.without_state(), focals=())
    if state.segment >= 0 and state.turns != turns:
        return "the camera's mount has been turned", state.without_state()
    if state.state is not None and state.update_rule != settings.update_rule:
        return "the update rule has changed", state.reset()
    return None, state


@torch.inference_mode()
def prepare(backbone: Backbone, state: SegmentState, settings: StreamSettings) -> SegmentState:
    """Do now what the next frame would otherwise wait for: start the new segment if a reset is due."""
    if not state.reset_due:
        return state
    fresh = state.without_state()
    if state.last is None:
        return fresh
    image, rule, network_state, first = state.last.image, rule_by_name(settings.update_rule), None, None
    if state.before is not None:
        earlier, network_state = backbone.step(state.before, None, rule=rule, outputs=frozenset())
        first = packed_pose(earlier, network_state)
    prediction, network_state = backbone.step(image, network_state, rule=rule, outputs={POINTS_CAMERA})
    pose, first = download((packed_pose(prediction, network_state), first))
    if first is not None and _fault(first, None, None) is not None:
        return fresh
    if _fault(pose, None, None) is not None:  # the next frame starts the segment instead
        return fresh
    last = LastFrame.of(image, prediction, state.last.hidden)
    scale = scale_filter.chained(state.scale_state, _scale_ratio(backbone, state.last, last))
    return replace(
        _next_segment(
            state,
            pose if first is None else first,
            scale,
            state.T_world_camera if first is None else state.T_world_before,
        ),
        state=network_state,
        last=last,
        reset_due=False,
        update_rule=settings.update_rule,
        segment_frames=1,
    )


@torch.inference_mode()
def finished(backbone: Backbone, state: SegmentState) -> SegmentState:
    """Return the state with nothing left in it that only this network can finish, as for keeping it in a file."""
    last = state.last
    return replace(state, last=last and LastFrame(last.image, *_points(backbone, last)))


@torch.inference_mode()
def last_points(backbone: Backbone, state: SegmentState) -> tuple[Float32Array, Float32Array] | None:
    """Return points (H, W, 3) [m] and confidence (H, W) of the last frame, in its camera's frame; None without one.

    Computed now if nobody wanted them then.
    """
    if state.last is None:
        return None
    points, confidence = _points(backbone, state.last)
    points, confidence = download((without_batch(points, state.scale), without_batch(confidence)))
    seen = points.numpy()
    if state.last.hidden is not None:
        seen = np.where(state.last.hidden[..., None], np.float32(np.nan), seen)
    return _points_of_camera(seen, state.turns), _turned(confidence.numpy(), -state.turns)


@torch.inference_mode()
def advance(
    backbone: Backbone,
    state: SegmentState,
    image: npt.NDArray[np.uint8],
    camera: Intrinsics | None = None,
    settings: StreamSettings | None = None,
    *,
    outputs: Set[str] = DEFAULT_OUTPUTS,
    mask: Mask | None = None,
    turns: int = 0,
) -> tuple[Estimate, SegmentState]:
    """Read one frame.

    Args:
        backbone: reads it.
        state: after the last frame; `SegmentState()` before the first.
        image: (H, W, 3) uint8 RGB, without lens distortion.
        camera: intrinsics of this image where known.
        settings: of which `update_rule` and `image_size` count here.
        outputs: which of 'points', 'image' and 'descriptor' to compute beside the pose.
        mask: of the pixels that have no point; the image is filled there.
        turns: quarter turns, counterclockwise, after which the image is upright; the network sees it so, the estimate
            is of the camera as it is.

    Returns:
        The estimate, and the state for the next frame. Where the estimate's `fault` is set, that state is one whose
        next frame starts a new segment.

    Raises:
        UserError: the image or its intrinsics cannot be used.
    """
    settings = StreamSettings() if settings is None else settings
    image = check_image(image)
    height, width = image.shape[:2]
    if camera is not None and (camera.width, camera.height) != (width, height):
        raise UserError(
            f"the intrinsics are for {camera.width}x{camera.height} pixels but the image has {width}x{height}"
        )
    mapping = backbone.pixel_map(width, height, settings.image_size)

    begun = time.perf_counter()
    state = prepare(backbone, fitted(backbone, state, width, height, settings, turns)[1], settings)
    begins = state.state is None
    if begins and state.segment >= 0:
        state = replace(state, scale_state=scale_filter.unchained(state.scale_state))
    planes = backbone.planes(image, mapping)
    network_input = normalize(turned(planes, turns))
    prepared = time.perf_counter()

    wanted = {POINTS_CAMERA} if POINTS in outputs else set()
    rule = rule_by_name(settings.update_rule)
    prediction, network_state = backbone.step(network_input, state.state, rule=rule, outputs=wanted)
    stepped = time.perf_counter()

    shown = planes if IMAGE in outputs else None
    describes = DESCRIPTOR in outputs
    seen = download(DeviceOutputs.of(prediction, network_state, state.scale, shown, describes=describes))
    pose, points = seen.pose, None if seen.points is None else _points_of_camera(seen.points.numpy(), turns)
    confidence = None if seen.confidence is None else _turned(seen.confidence.numpy(), -turns)
    hidden = None if mask is None else mask.on(mapping)
    if hidden is not None and points is not None and confidence is not None:
        points = np.where(hidden[..., None], np.float32(np.nan), points)
        confidence = np.where(hidden, np.float32(1.0), confidence)
    depth = None if points is None else np.ascontiguousarray(points[..., 2])  # read more than once
    downloaded = time.perf_counter()

    fault = _fault(pose, depth, None if state.state is None else state.first_level)
    image_size = backbone.image_size(settings.image_size)
    state = replace(state, input_size=(width, height), image_size=image_size, turns=turns)
    if fault is None:
        if begins:
            state = _next_segment(state, pose, state.scale_state, state.T_world_camera)
        state = replace(
            state,
            state=network_state,
            last=LastFrame.of(network_input, prediction, None if hidden is None else _turned(hidden, turns)),
            before=None if state.last is None else state.last.image,
            update_rule=settings.update_rule,
            segment_frames=state.segment_frames + 1,
            T_world_before=state.T_world_camera,
            T_world_camera=state.T_world_segment @ _T_segment_camera(pose, state.scale, turns),
            focals=state.focals if points is None or camera else with_focal_of(state.focals, points),
        )
    else:
        state = state.without_state()
    guessed = None if not state.focals and points is None else intrinsics_of(state.focals, *mapping.size)
    estimate = Estimate(
        T_world_camera=state.T_world_camera,
        fault=fault,
        learning_rate=seen.learning_rate.numpy(),
        state_level=float(pose[7]),
        segment=max(state.segment, 0),
        segment_frames=state.segment_frames,
        pixel_map=mapping,
        scale=state.scale,
        scale_sigma=state.scale_state.sigma,
        timings=Timings(prepared - begun, stepped - prepared, downloaded - stepped),
        points=points,
        depth=depth,
        confidence=confidence,
        image=None if seen.planes is None else interleaved(seen.planes.numpy()),
        descriptor=None if seen.descriptor is None else seen.descriptor.numpy(),
        turns=turns,
        intrinsics=mapping.intrinsics(camera) if camera else guessed,
        intrinsics_source="given" if camera else "estimated" if state.focals else "assumed",
    )
    return estimate, rescaled(state, scale_filter.slewed(state.scale_state))


def rescaled(state: SegmentState, scale: ScaleState) -> SegmentState:
    """Return the state whose next frames are multiplied by another factor; the last pose stays where it is."""
    camera, T_world_segment = state.T_world_camera[:3, 3], state.T_world_segment.copy()
    T_world_segment[:3, 3] = camera + (T_world_segment[:3, 3] - camera) * (scale.factor / state.scale)
    return replace(state, scale_state=scale, T_world_segment=T_world_segment)


def corrected(state: SegmentState, T_world_camera: FloatArray) -> SegmentState:
    """Return the state whose last camera stands elsewhere; the next frames go on from there."""
    T = T_world_camera @ inverse(state.T_world_camera)
    T[:3, :3] = orthonormal(T[:3, :3])
    return replace(state, T_world_segment=T @ state.T_world_segment, T_world_camera=T_world_camera)


@torch.inference_mode()
def look(
    backbone: Backbone,
    state: SegmentState,
    image: npt.NDArray[np.uint8],
    camera: Intrinsics | None,
    settings: StreamSettings,
    *,
    outputs: Set[str],
) -> Estimate:
    """Return what is known of a camera that stands where it stood at the last frame, without the network.

    Args:
        backbone: of the stream.
        state: after the last frame, with a network's state.
        image: (H, W, 3) uint8 RGB.
        camera: intrinsics of this image where known.
        settings: in force.
        outputs: 'image' where it is wanted; points are none.
    """
    assert state.state is not None
    begun = time.perf_counter()
    mapping = backbone.pixel_map(image.shape[1], image.shape[0], settings.image_size)
    planes = download(backbone.planes(image, mapping)) if IMAGE in outputs else None
    guessed = intrinsics_of(state.focals, *mapping.size) if state.focals else None
    return Estimate(
        T_world_camera=state.T_world_camera,
        fault=None,
        learning_rate=np.zeros(state.state.tokens.shape[1], dtype=np.float32),
        state_level=state.first_level,
        segment=state.segment,
        segment_frames=state.segment_frames,
        pixel_map=mapping,
        scale=state.scale,
        scale_sigma=state.scale_state.sigma,
        timings=Timings(time.perf_counter() - begun, 0.0, 0.0),
        image=None if planes is None else interleaved(planes.numpy()),
        intrinsics=mapping.intrinsics(camera) if camera else guessed,
        intrinsics_source="given" if camera else "estimated" if state.focals else "assumed",
    )


def held(state: SegmentState, estimate: Estimate) -> Estimate:
    """Return an estimate with the last frame's pose instead of its own, and without a trace in the recurrent state."""
    return replace(
        estimate,
        T_world_camera=state.T_world_camera,
        learning_rate=np.zeros_like(estimate.learning_rate),
        segment_frames=state.segment_frames,
    )


def warm_up(
    backbone: Backbone,
    height: int,
    width: int,
    settings: StreamSettings | None = None,
    say: Callable[[str], object] | None = None,
) -> None:
    """Run blank frames of this size [px], so that no later frame pays for what the first ones set up.

    On a CPU one is enough; on a GPU every kind that a stream has is run, so that its steps are recorded. `say` is told
    in a sentence which part begins.
    """
    blank = np.zeros((height, width, 3), dtype=np.uint8)
    kinds = [{POINTS, IMAGE}, {IMAGE}] if backbone.is_captured else [{POINTS, IMAGE}]
    frames = KINDS_OF_FRAMES if backbone.is_captured else 1
    for kind, outputs in enumerate(kinds):
        state = SegmentState()
        for frame in range(frames):
            if say is not None:
                say(f"warming up {kind * frames + frame + 1} of {len(kinds) * frames}")
            _, state = advance(backbone, state, blank, settings=settings, outputs=outputs)


class SegmentReader:
    """Reads one camera's frames without checks and odometry: the face of `advance` for measuring a network.

    Attributes:
        state: may be replaced between frames.
    """

    def __init__(self, backbone: Backbone, settings: StreamSettings | None = None, *, reset_interval: int = 0) -> None:
        """Hold a backbone; after `reset_interval` frames a new segment starts, 0 for never."""
        self.backbone, self.settings = backbone, StreamSettings() if settings is None else settings
        self.reset_interval = reset_interval
        self.state = SegmentState()

    def read(
        self, image: npt.NDArray[np.uint8], camera: Intrinsics | None = None, *, outputs: Set[str] = DEFAULT_OUTPUTS
    ) -> Estimate:
        """Read one frame, see `advance`."""
        self._count()
        estimate, self.state = advance(self.backbone, self.state, image, camera, self.settings, outputs=outputs)
        return estimate

    def prepare(self) -> None:
        """Do now what the next frame would otherwise wait for."""
        self._count()
        self.state = prepare(self.backbone, self.state, self.settings)

    def _count(self) -> None:
        if self.reset_interval and self.state.segment_frames >= self.reset_interval:
            self.state = self.state.reset()


def _scale_ratio(backbone: Backbone, before: LastFrame, after: LastFrame) -> LogRatio | None:
    """Return how much larger the segment before saw the frame that both segments have seen."""
    (points_a, confidence_a), (points_b, confidence_b) = (_points(backbone, seen) for seen in (before, after))
    return scale_between(points_a[0], confidence_a[0], points_b[0], confidence_b[0])


def _points(backbone: Backbone, last: LastFrame) -> tuple[Tensor, Tensor]:
    """Return a frame's points and confidence, 1 where hidden, computed now if nobody wanted them then."""
    points, confidence = last.points, last.confidence
    if points is None or confidence is None:
        assert last.trace is not None  # see `LastFrame.of`
        points, confidence = backbone.points(last.trace)
    if last.hidden is None:
        return points, confidence
    return points, confidence.masked_fill(torch.from_numpy(last.hidden).to(confidence.device), 1.0)


def _next_segment(state: SegmentState, pose: Tensor, scale: ScaleState, T_world_camera: FloatArray) -> SegmentState:
    """Anchor a new segment: its first camera, of this packed pose, stands where it stood in the stream."""
    return replace(
        state,
        scale_state=scale,
        first_level=float(pose[7]),
        segment=state.segment + 1,
        segment_frames=0,
        T_world_segment=T_world_camera @ inverse(_T_segment_camera(pose, scale.factor, state.turns)),
    )


def _T_segment_camera(pose: Tensor, scale: float, turns: int) -> FloatArray:
    """Return the (4, 4) pose of the camera from the packed one of its turned image, lengths multiplied by the scale."""
    T = T_from_pose(pose[:3].numpy() * scale, pose[3:7].numpy())
    T[:3, :3] @= turned_axes(turns)
    return T


def _points_of_camera(points: Float32Array, turns: int) -> Float32Array:
    """Return (H, W, 3) points of a turned image as those of the camera's image, in the camera's optical axes."""
    return _turned(points, -turns) @ turned_axes(turns).astype(np.float32) if turns else points


def _turned(image: npt.NDArray[Scalar], turns: int) -> npt.NDArray[Scalar]:
    """Return an (H, W, ...) image after quarter turns, counterclockwise."""
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _fault(packed: Tensor, depth: Float32Array | None, first_level: float | None) -> str | None:
    *pose, level = packed.tolist()
    if not all(map(math.isfinite, pose)):
        return "the network returned a pose that is not a number"
    if not math.isfinite(level):
        return "the recurrent state is no longer finite"
    if first_level is not None and level > EXPLODED * first_level:
        return f"the recurrent state has exploded to {level / first_level:.0f} times its size"
    if depth is not None and not np.isfinite(depth).any():
        return "the network returned no finite depth"
    return None
