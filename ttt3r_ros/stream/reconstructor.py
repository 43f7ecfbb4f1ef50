"""One camera's images in, estimates out, segments chained into one world.

A *segment* is the run of frames between two resets. The network's poses are relative to the segment's first camera; the
reconstructor chains segments so that the stream has one world, that of its very first camera.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.camera.focal import intrinsics_of, with_focal_of
from ttt3r_ros.camera.preprocess import check_image, interleaved, normalize, pixel_map, resample
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics, T_from_pose, inverse
from ttt3r_ros.model.network import POINTS_CAMERA, Network
from ttt3r_ros.model.update import Ttt3r, UpdateRule
from ttt3r_ros.runtime.captured import CapturedStep
from ttt3r_ros.runtime.cuda_capture import CudaCapture
from ttt3r_ros.runtime.device_outputs import Answer, packed_pose, without_batch
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream.alignment import scale_between
from ttt3r_ros.stream.estimate import DEFAULT_OUTPUTS, IMAGE, POINTS, Estimate, Float32Array, Timings
from ttt3r_ros.stream.memory import LastFrame, Memory
from ttt3r_ros.weights.fingerprint import fingerprint

__all__ = ["DEFAULT_OUTPUTS", "IMAGE", "POINTS", "PRECISIONS", "Estimate", "Reconstructor"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}

#: What a reset keeps of the scale's logarithm. The ratios that resets chain have errors, which would add up for ever;
#: what the network itself says of metres has no such drift, so that every reset goes back towards it by this little:
#: where a new segment sees everything 1.3 times as large, what is published changes by half a per cent.
SCALE_KEPT = 0.98

#: State tokens this many times as large as after the segment's first frame have exploded: those of sound states stay
#: within a few per cent for hundreds of frames.
EXPLODED = 100.0

#: Frames of a segment that differ in kind: the first, FILT3R's second, and all others.
KINDS_OF_FRAMES = 3


class Reconstructor:
    """Feeds one camera's images to a network and chains what it says.

    `memory` is replaced by every frame, never changed in place; it may be kept and put back between frames.

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
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        """Take over a network.

        Args:
            network: moved to the device and precision; not usable elsewhere afterwards, on a GPU without the heads
                that are never asked.
            rule: of the state's learning rate; TTT3R's where None.
            reset_interval: frames after which a new segment starts; 0 for never.
            image_size: side of the network's image [px]; None for the size it was trained on.
            device: to compute on.
            precision: of the weights, 'float32', 'bfloat16', 'float16' or 'int8' (on a CPU); heads and state are always
                float32.
            warn: is told in a sentence if a GPU's steps cannot be recorded, which makes them slower.

        Raises:
            UserError: the precision does not exist, or not on this device.
        """
        if precision not in PRECISIONS:
            raise UserError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
        self.device = torch.device(device)
        self.weights_fingerprint = fingerprint(network)
        if self.device.type != "cpu":  # there they are memory-mapped: nobody reads them, so they take no memory
            network.drop_world_and_color()
        self.network = network.eval().requires_grad_(False).to(self.device).set_precision(PRECISIONS[precision])
        self._stepper: Network | CapturedStep = self.network
        if self.device.type == "cuda":
            self._stepper = CapturedStep(self.network, CudaCapture(self.device), warn)
        self.rule: UpdateRule = Ttt3r() if rule is None else rule
        self.reset_interval = reset_interval
        self.image_size = image_size or network.config.image_size
        self.memory = Memory()

    def restart(self) -> None:
        """Forget everything: the next frame is the origin of a new world."""
        self.memory = Memory()

    def reset(self) -> None:
        """Forget the recurrent state before the next frame; the pose goes on from the last one.

        The last frame is fed again as the first of the new segment, so that the motion between it and the next one is
        not lost (as TTT3R does, arXiv 2509.26645). Every segment predicts a scale of its own; that frame's two
        pointmaps tell the ratio, which is divided out, so that the stream keeps its scale (but for `SCALE_KEPT`).
        """
        self.memory = replace(self.memory, reset_due=self.memory.state is not None)

    def break_segment(self) -> None:
        """Forget the recurrent state and the last frame, as after a gap; the pose goes on from the last one."""
        self.memory = self.memory.without_state()

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
            self.memory = replace(self.memory.without_state(), focals=())

    def warm_up(self, height: int, width: int, say: Callable[[str], object] | None = None) -> None:
        """Run blank frames of this size, so that no later frame pays for what the first ones set up.

        On a CPU one is enough; on a GPU every kind that a stream has is run, so that its steps are recorded.

        Args:
            height: of the camera's images [px].
            width: likewise.
            say: is told in a sentence which part begins.
        """
        blank = np.zeros((height, width, 3), dtype=np.uint8)
        is_recorded = isinstance(self._stepper, CapturedStep)
        wishes = [{POINTS, IMAGE}, {IMAGE}] if is_recorded else [{POINTS, IMAGE}]
        frames = KINDS_OF_FRAMES if is_recorded else 1
        for part in range(len(wishes) * frames):
            if part % frames == 0:
                self.restart()
            if say is not None:
                say(f"warming up {part + 1} of {len(wishes) * frames}")
            self.process(blank, outputs=wishes[part // frames])
        self.restart()

    @torch.inference_mode()
    def settle(self) -> None:
        """Do now what the next frame would otherwise wait for: start the new segment if a reset is due."""
        memory = self.memory
        if not memory.reset_due:
            return
        self.memory = memory.without_state()
        if memory.last is None:
            return
        image = memory.last.image
        prediction, state = self._stepper.step(image, None, rule=self.rule, outputs={POINTS_CAMERA})
        pose = download(packed_pose(prediction, state))
        if _fault(pose, None, None) is None:  # else the next frame starts the segment instead
            last = LastFrame.of(image, prediction)
            scale = (memory.scale * self._scale_ratio(memory.last, last)) ** SCALE_KEPT
            self.memory = replace(
                _next_segment(memory, pose, scale),
                state=state,
                last=last,
                reset_due=False,
                segment_frames=1,
            )

    @torch.inference_mode()
    def snapshot(self) -> Memory:
        """Return the memory with nothing left in it that only this network can finish, as for keeping it in a file."""
        last = self.memory.last
        return replace(self.memory, last=last and LastFrame(last.image, *self._points(last)))

    @torch.inference_mode()
    def last_points(self) -> tuple[Float32Array, Float32Array] | None:
        """Return points (H, W, 3) [m] and confidence (H, W) of the last frame, in its camera's frame; None without one.

        Computed now if nobody wanted them then.
        """
        if self.memory.last is None:
            return None
        points, confidence = self._points(self.memory.last)
        points, confidence = download((without_batch(points, self.memory.scale), without_batch(confidence)))
        return points.numpy(), confidence.numpy()

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
        if self.memory.input_size not in (None, (width, height)):
            self.memory = replace(self.memory.without_state(), focals=())
        self.settle()
        planes = resample(image, mapping, self.device)
        network_input = normalize(planes)
        prepared = time.perf_counter()

        wanted = {POINTS_CAMERA} if POINTS in outputs else set()
        prediction, state = self._stepper.step(network_input, self.memory.state, rule=self.rule, outputs=wanted)
        stepped = time.perf_counter()

        answer = download(Answer.of(prediction, state, self.memory.scale, planes if IMAGE in outputs else None))
        pose, points = answer.pose, None if answer.points is None else answer.points.numpy()
        depth = None if points is None else np.ascontiguousarray(points[..., 2])  # read more than once
        downloaded = time.perf_counter()

        memory = replace(self.memory, input_size=(width, height))
        fault = _fault(pose, depth, None if memory.state is None else memory.first_level)
        if fault is None:
            if memory.state is None:
                memory = _next_segment(memory, pose, memory.scale)
            self.memory = memory = replace(
                memory,
                state=state,
                last=LastFrame.of(network_input, prediction),
                segment_frames=memory.segment_frames + 1,
                reset_due=bool(self.reset_interval) and memory.segment_frames + 1 >= self.reset_interval,
                T_world_camera=memory.T_world_segment @ _T_segment_camera(pose, memory.scale),
                focals=memory.focals if points is None or camera else with_focal_of(memory.focals, points),
            )
        else:
            self.memory = memory = memory.without_state()
        guessed = None if not memory.focals and points is None else intrinsics_of(memory.focals, *mapping.size)
        return Estimate(
            T_world_camera=memory.T_world_camera,
            fault=fault,
            learning_rate=answer.learning_rate.numpy(),
            state_level=float(pose[7]),
            segment=max(memory.segment, 0),
            segment_frames=memory.segment_frames,
            pixel_map=mapping,
            scale=memory.scale,
            timings=Timings(prepared - begun, stepped - prepared, downloaded - stepped),
            points=points,
            depth=depth,
            confidence=None if answer.confidence is None else answer.confidence.numpy(),
            image=None if answer.planes is None else interleaved(answer.planes.numpy()),
            intrinsics=mapping.intrinsics(camera) if camera else guessed,
            intrinsics_source="given" if camera else "estimated" if memory.focals else "assumed",
        )

    def _scale_ratio(self, before: LastFrame, after: LastFrame) -> float:
        """Return how much larger the segment before saw the frame that both segments have seen; 1 if it cannot tell."""
        (points_a, confidence_a), (points_b, confidence_b) = (self._points(seen) for seen in (before, after))
        ratio = scale_between(points_a[0], confidence_a[0], points_b[0], confidence_b[0])
        return 1.0 if ratio is None else ratio

    def _points(self, last: LastFrame) -> tuple[Tensor, Tensor]:
        """Return a frame's points and confidence, computed now if nobody wanted them then."""
        if last.points is not None and last.confidence is not None:
            return last.points, last.confidence
        assert last.trace is not None  # see `LastFrame.of`
        return self.network.camera_points(last.trace.decoded)


def _next_segment(memory: Memory, pose: Tensor, scale: float) -> Memory:
    """Anchor a new segment: its first camera stands where the stream's last one stood."""
    return replace(
        memory,
        scale=scale,
        first_level=float(pose[7]),
        segment=memory.segment + 1,
        segment_frames=0,
        T_world_segment=memory.T_world_camera @ inverse(_T_segment_camera(pose, scale)),
    )


def _T_segment_camera(pose: Tensor, scale: float) -> FloatArray:
    """Return the (4, 4) transform of a packed pose, its lengths multiplied by the scale."""
    return T_from_pose(pose[:3].numpy() * scale, pose[3:7].numpy())


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
