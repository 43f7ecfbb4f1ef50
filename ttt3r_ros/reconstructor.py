"""One camera stream: images in, estimates out, segments chained into one world.

A *segment* is the run of frames between two resets. The network's poses are relative to the segment's first camera; the
reconstructor chains segments so that the stream has one world, that of its very first camera.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.alignment import scale_between
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics, T_from_pose, focal_from_points, inverse
from ttt3r_ros.model.network import POINTS_CAMERA, Network, Prediction, State
from ttt3r_ros.model.update import Ttt3r, UpdateRule
from ttt3r_ros.preprocess import PixelMap, check_image, normalize, pixel_map, resample

Float32Array = npt.NDArray[np.float32]

#: What `Reconstructor.process` can be asked for beside the pose.
POINTS, IMAGE = "points", "image"
DEFAULT_OUTPUTS = frozenset({POINTS})

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

#: The focal length is the median over this many frames and then held, so that a consumer sees one camera.
FOCAL_FRAMES = 30
#: Pixels are thinned by this factor on each axis before a focal length is fitted to them.
FOCAL_STRIDE = 4
#: Focal lengths over the image's long side that a lens can have (a field of view from 5 to 160 degrees).
FOCAL_RANGE = (0.09, 12.0)
#: The same ratio where nothing better is known: about 58 degrees, a common lens.
ASSUMED_FOCAL = 0.9


@dataclass(frozen=True)
class Timings:
    """Seconds spent on one frame. On a GPU the network's share shows in `download`, where the host waits for it."""

    preprocess: float
    network: float
    download: float

    @property
    def total(self) -> float:
        return self.preprocess + self.network + self.download


@dataclass(frozen=True)
class _LastFrame:
    """What is kept of a frame for a segment that may begin with it: the network's image, and what it said of it."""

    image: Tensor
    prediction: Prediction


@dataclass(frozen=True)
class Estimate:
    """What is known after a frame; camera axes are OpenCV's, lengths in metres, images of the network's size H×W.

    Attributes:
        T_world_camera: (4, 4) float64; the world is the stream's first camera.
        fault: None, or why this estimate must not be used; the other fields then hold whatever came out.
        learning_rate: (N,) float32, β of each state token.
        segment: number of segments begun before this one.
        segment_frames: frames of this segment so far, this one included; 1 where this frame began it without one that
            the segment before has seen, so that the motion up to it is not known.
        pixel_map: from the input image to the network's.
        scale: factor on the network's lengths in this segment; the fields of the estimate include it.
        timings: seconds spent.
        points: (H, W, 3) float32 pointmap in the camera frame, as predicted; None if not asked for.
        confidence: (H, W) float32 >= 1; None if points were not asked for.
        image: (H, W, 3) uint8 RGB as the network saw it; None if not asked for.
        intrinsics: of the network's image; None while unknown (no camera calibration and no points yet).
        intrinsics_source: 'given' by the caller, 'estimated' from the points, or 'assumed' (a common lens) while the
            points fit none.
    """

    T_world_camera: FloatArray
    fault: str | None
    learning_rate: Float32Array
    segment: int
    segment_frames: int
    pixel_map: PixelMap
    scale: float
    timings: Timings
    points: Float32Array | None = None
    confidence: Float32Array | None = None
    image: npt.NDArray[np.uint8] | None = None
    intrinsics: Intrinsics | None = None
    intrinsics_source: Literal["given", "estimated", "assumed"] = "given"

    @property
    def depth(self) -> Float32Array | None:
        """(H, W) float32 metres along the optical axis, a view of `points`; None if those were not asked for."""
        return None if self.points is None else self.points[..., 2]


class Reconstructor:
    """Feeds one camera's images to a network and chains what it says.

    Not safe for use from several threads at once.
    """

    def __init__(
        self,
        network: Network,
        *,
        rule: UpdateRule | None = None,
        reset_interval: int = 0,
        image_size: int | None = None,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ) -> None:
        """Take over a network.

        Args:
            network: moved to the device and precision; not usable elsewhere afterwards.
            rule: of the state's learning rate; TTT3R's where None.
            reset_interval: frames after which a new segment starts; 0 for never.
            image_size: side of the network's image [px]; None for the size it was trained on.
            device: to compute on.
            precision: of the weights, 'float32', 'bfloat16' or 'float16'; heads and state are float32 always.

        Raises:
            UserError: the precision does not exist.
        """
        if precision not in PRECISIONS:
            raise UserError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device).set_precision(PRECISIONS[precision])
        self.rule: UpdateRule = Ttt3r() if rule is None else rule
        self.reset_interval = reset_interval
        self.image_size = image_size or network.config.image_size
        self.restart()

    def restart(self) -> None:
        """Forget everything: the next frame is the origin of a new world."""
        self._state: State | None = None
        self._pending_reset = False
        self._last: _LastFrame | None = None
        self._scale = 1.0
        self._input_size: tuple[int, int] | None = None
        self._segment = -1
        self._segment_frames = 0
        self._T_world_last: FloatArray = np.eye(4)
        self._T_world_segment: FloatArray = np.eye(4)
        self._focals: list[float] = []

    def reset(self) -> None:
        """Forget the recurrent state before the next frame; the pose goes on from the last one.

        The last frame is fed again as the first of the new segment, so that the motion between it and the next one is
        not lost (as TTT3R does, arXiv 2509.26645). Every segment predicts a scale of its own; that frame's two
        pointmaps tell the ratio, which is divided out, so that the stream keeps the scale it began with.
        """
        self._pending_reset = self._state is not None

    def break_segment(self) -> None:
        """Forget the recurrent state and the last frame, as after a gap; the pose goes on from the last one."""
        self._state, self._last, self._pending_reset = None, None, False

    def set_rule(self, rule: UpdateRule) -> None:
        """Change the update rule from the next frame on, which starts a new segment."""
        if rule != self.rule:
            self.rule = rule
            self.reset()

    def set_image_size(self, image_size: int | None) -> None:
        """Change the side of the network's image [px] (None or 0: as trained), which breaks the segment."""
        image_size = image_size or self.network.config.image_size
        if image_size != self.image_size:
            self.image_size = image_size
            self._focals.clear()
            self.break_segment()

    def warm_up(self, height: int, width: int) -> None:
        """Run blank frames of this size, so that no later frame pays for what the first one sets up."""
        blank = np.zeros((height, width, 3), dtype=np.uint8)
        for _ in range(2):
            self.process(blank, outputs={POINTS, IMAGE})
        self.restart()

    @torch.inference_mode()
    def settle(self) -> None:
        """Do now what the next frame would otherwise wait for: start the new segment if a reset is due."""
        if not self._pending_reset:
            return
        last = self._last
        self.break_segment()
        if last is None:
            return
        prediction, state = self.network.step(last.image, None, rule=self.rule, outputs={POINTS_CAMERA})
        pose = _packed_pose(prediction, state)
        if _fault(pose, None) is None:  # else the next frame starts the segment instead
            self._scale *= self._scale_ratio(last.prediction, prediction)
            self._begin_segment(_pose(pose, self._scale))
            self._segment_frames = 1
            self._state, self._last = state, _LastFrame(last.image, prediction)

    @torch.inference_mode()
    def process(
        self,
        image: npt.NDArray[np.uint8],
        camera: Intrinsics | None = None,
        *,
        outputs: Set[str] = DEFAULT_OUTPUTS,
    ) -> Estimate:
        """Read one frame.

        Args:
            image: (H, W, 3) uint8 RGB, without lens distortion.
            camera: intrinsics of this image where known.
            outputs: which of 'points' and 'image' to compute beside the pose.

        Returns:
            The estimate. Where its `fault` is set, the state has been dropped and the next frame starts a new segment.

        Raises:
            UserError: the image or its intrinsics cannot be used; nothing has changed then.
        """
        image = check_image(image)
        height, width = image.shape[:2]
        if camera is not None and (camera.width, camera.height) != (width, height):
            raise UserError(
                f"the intrinsics are for {camera.width}x{camera.height} pixels but the image has {width}x{height}"
            )
        mapping = pixel_map(width, height, image_size=self.image_size, square=self.network.config.square_input)

        begun = time.perf_counter()
        if self._input_size not in (None, (width, height)):
            self.break_segment()
            self._focals.clear()
        self._input_size = (width, height)
        self.settle()
        pixels = resample(image, mapping, self.device)
        network_input = normalize(pixels)
        prepared = time.perf_counter()

        wanted = {POINTS_CAMERA} if POINTS in outputs else set()
        prediction, state = self.network.step(network_input, self._state, rule=self.rule, outputs=wanted)
        stepped = time.perf_counter()

        pose = _packed_pose(prediction, state)
        points = _numpy(prediction.points_camera, self._scale)
        confidence = _numpy(prediction.confidence)
        learning_rate = prediction.learning_rate[0].float().cpu().numpy()
        seen = pixels.cpu().numpy() if IMAGE in outputs else None
        downloaded = time.perf_counter()

        fault = _fault(pose, points)
        if fault is None:
            T_segment_camera = _pose(pose, self._scale)
            if self._state is None:
                self._begin_segment(T_segment_camera)
            self._T_world_last = self._T_world_segment @ T_segment_camera
            self._state, self._last = state, _LastFrame(network_input, prediction)
            self._segment_frames += 1
            if self.reset_interval and self._segment_frames >= self.reset_interval:
                self._pending_reset = True
        else:
            self.break_segment()
        return Estimate(
            T_world_camera=self._T_world_last.copy(),
            fault=fault,
            learning_rate=learning_rate,
            segment=max(self._segment, 0),
            segment_frames=self._segment_frames,
            pixel_map=mapping,
            scale=self._scale,
            timings=Timings(prepared - begun, stepped - prepared, downloaded - stepped),
            points=points,
            confidence=confidence,
            image=seen,
            intrinsics=mapping.intrinsics(camera) if camera else self._estimated_intrinsics(mapping, points, fault),
            intrinsics_source="given" if camera else "estimated" if self._focals else "assumed",
        )

    def _begin_segment(self, T_segment_first: FloatArray) -> None:
        """Anchor a new segment: its first camera stands where the stream's last one stood."""
        self._segment += 1
        self._segment_frames = 0
        self._T_world_segment = self._T_world_last @ inverse(T_segment_first)

    def _scale_ratio(self, before: Prediction, after: Prediction) -> float:
        """Return how much larger the segment before saw the frame that both segments have seen; 1 if it cannot tell."""
        (points_a, confidence_a), (points_b, confidence_b) = (self._points(seen) for seen in (before, after))
        ratio = scale_between(points_a[0], confidence_a[0], points_b[0], confidence_b[0])
        return 1.0 if ratio is None else ratio

    def _points(self, prediction: Prediction) -> tuple[Tensor, Tensor]:
        """Return a frame's points and confidence, computed now if nobody wanted them then."""
        if prediction.points_camera is None or prediction.confidence is None:
            return self.network.camera_points(prediction.trace.decoded)
        return prediction.points_camera, prediction.confidence

    def _estimated_intrinsics(
        self, mapping: PixelMap, points: Float32Array | None, fault: str | None
    ) -> Intrinsics | None:
        if points is not None and fault is None and len(self._focals) < FOCAL_FRAMES:
            focal = FOCAL_STRIDE * focal_from_points(points[::FOCAL_STRIDE, ::FOCAL_STRIDE])
            if FOCAL_RANGE[0] < focal / max(mapping.size) < FOCAL_RANGE[1]:  # NaN compares false
                self._focals.append(focal)
        if not self._focals and points is None:
            return None
        width, height = mapping.size
        focal = statistics.median(self._focals) if self._focals else ASSUMED_FOCAL * max(width, height)
        return Intrinsics(focal, focal, width // 2, height // 2, width, height)


def _packed_pose(prediction: Prediction, state: State) -> Tensor:
    """Return translation, quaternion wxyz and whether the state is finite, (8,) on the CPU: one download."""
    finite = torch.isfinite(state.tokens).all() & torch.isfinite(state.memory).all()
    return torch.cat([prediction.translation[0], prediction.quaternion[0], finite[None].float()]).cpu()


def _pose(values: Tensor, scale: float) -> FloatArray:
    """Return the (4, 4) transform of a packed pose, its lengths multiplied by the scale."""
    return T_from_pose(values[:3].numpy() * scale, values[3:7].numpy())


def _fault(pose: Tensor, points: Float32Array | None) -> str | None:
    if not torch.isfinite(pose).all():
        return "the network returned a pose that is not a number"
    if not pose[7]:
        return "the recurrent state is no longer finite"
    if points is not None and not np.isfinite(points[..., 2]).any():
        return "the network returned no finite depth"
    return None


def _numpy(tensor: Tensor | None, scale: float = 1.0) -> Float32Array | None:
    if tensor is None:
        return None
    return (tensor[0].float() if scale == 1.0 else tensor[0].float() * scale).cpu().numpy()
