"""What a reconstructor carries from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.model.network import Prediction, State, Trace


@dataclass(frozen=True)
class LastFrame:
    """What is kept of a frame for a segment that may begin with it.

    Attributes:
        image: (1, 3, H, W), the network's input.
        points: (1, H, W, 3) as the network predicted them, camera frame; None if nobody has wanted them yet.
        confidence: (1, H, W); None like the points.
        trace: what to compute both from where they are None.
    """

    image: Tensor
    points: Tensor | None
    confidence: Tensor | None
    trace: Trace | None = None

    @classmethod
    def of(cls, image: Tensor, prediction: Prediction) -> LastFrame:
        """Return what is kept of an image and what the network said of it."""
        points, confidence = prediction.points_camera, prediction.confidence
        return cls(image, points, confidence, prediction.trace if points is None or confidence is None else None)


@dataclass(frozen=True)
class Memory:
    """All that a reconstructor carries from frame to frame: who keeps it can return to that frame.

    Attributes:
        state: the network's; None where the next frame starts a segment.
        last: the last frame; None where the next segment cannot begin with it.
        reset_due: whether the next frame belongs to a new segment, which begins with the last one.
        scale: factor on the network's lengths in this segment.
        first_level: mean magnitude of the state tokens' values after the segment's first frame.
        input_size: (width, height) of the last image.
        segment: number of this segment, from 0; -1 before the first frame.
        segment_frames: frames of it so far.
        T_world_camera: (4, 4) pose of the last camera.
        T_world_segment: (4, 4) from the network's coordinates in this segment, multiplied by the scale.
        focals: focal lengths found in the first frames' points [px of the network's image].
    """

    state: State | None = None
    last: LastFrame | None = None
    reset_due: bool = False
    scale: float = 1.0
    first_level: float = 1.0
    input_size: tuple[int, int] | None = None
    segment: int = -1
    segment_frames: int = 0
    T_world_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    T_world_segment: FloatArray = field(default_factory=lambda: np.eye(4))
    focals: tuple[float, ...] = ()

    def without_state(self) -> Memory:
        """Return the memory of a stream whose next frame starts a segment of its own; the pose stays."""
        return replace(self, state=None, last=None, reset_due=False)
