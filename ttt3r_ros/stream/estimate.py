"""The estimate for one frame, in the stream's world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import FloatArray, Intrinsics

if TYPE_CHECKING:
    from ttt3r_ros.camera.preprocess import PixelMap

Float32Array = npt.NDArray[np.float32]

#: Outputs that can be requested in addition to the pose.
POINTS, IMAGE, DESCRIPTOR = "points", "image", "descriptor"
DEFAULT_OUTPUTS = frozenset({POINTS})


@dataclass(frozen=True)
class Timings:
    """Seconds spent on one frame. On a GPU, the network's time shows up in `download`, where the host waits for it."""

    preprocess: float
    network: float
    download: float

    @property
    def total(self) -> float:
        return self.preprocess + self.network + self.download


@dataclass(frozen=True)
class Estimate:
    """Everything estimated from a frame; camera axes are OpenCV's, lengths in meters, images of the network's size H×W.

    Attributes:
        T_world_camera: (4, 4) float64; the world is the stream's first camera.
        fault: None, or why this estimate must not be used; the other fields are then meaningless.
        learning_rate: (N,) float32, β of each state token.
        state_level: mean magnitude of the state tokens' values after the frame.
        segment: number of segments started before this one.
        segment_frames: frames of this segment so far, including this one. It is 1 if this frame started the segment and
            shares no frame with the segment before, so that the motion up to it is unknown.
        pixel_map: from the input image to the network's image.
        scale: factor on the network's points in this segment; the fields of the estimate include it.
        timings: seconds spent.
        scale_sigma: standard deviation of the logarithm of `scale`.
        points: (H, W, 3) float32 pointmap in the camera frame, as predicted, NaN where masked; None if not requested.
        depth: (H, W) float32, the points' z: meters along the optical axis; None if points were not requested.
        confidence: (H, W) float32 >= 1, 1 where masked; None if points were not requested.
        image: (H, W, 3) uint8 RGB, the network's input; None if not requested.
        descriptor: (2·C_e,) float32, mean and standard deviation over the image of the encoder's tokens: similar images
            have similar ones; None if not requested.
        turns: quarter turns, counterclockwise, after which the network has seen the image, see `upright`; undone in all
            that is here.
        intrinsics: of the network's image; None while unknown (no camera calibration and no points yet).
        intrinsics_source: 'given' by the caller, 'estimated' from the points, or 'assumed' (a common lens) as long as
            no focal length fits the points.
    """

    T_world_camera: FloatArray
    fault: str | None
    learning_rate: Float32Array
    state_level: float
    segment: int
    segment_frames: int
    pixel_map: PixelMap
    scale: float
    timings: Timings
    scale_sigma: float = 1.0
    points: Float32Array | None = None
    depth: Float32Array | None = None
    confidence: Float32Array | None = None
    image: npt.NDArray[np.uint8] | None = None
    descriptor: Float32Array | None = None
    turns: int = 0
    intrinsics: Intrinsics | None = None
    intrinsics_source: Literal["given", "estimated", "assumed"] = "given"

    @property
    def dense(self) -> tuple[Float32Array, Float32Array] | None:
        """Points and confidence; None if points were not requested."""
        return None if self.points is None or self.confidence is None else (self.points, self.confidence)

    def typical_confidence(self) -> float | None:
        """Return the (upper) median over every fourth pixel along both axes that has a depth; None without any."""
        if self.confidence is None:
            return None
        some = self.confidence[::4, ::4].ravel()
        if self.depth is not None:
            some = some[np.isfinite(self.depth[::4, ::4]).ravel()]
        if not some.size:
            return None
        middle = some.size // 2
        return float(np.partition(some, middle)[middle])  # a hundred times as fast as np.median over all pixels

    def typical_depth(self) -> float | None:
        """Return the same of the depth [m]; None where it is not known."""
        if self.depth is None:
            return None
        some = self.depth[::4, ::4].ravel()
        some = some[np.isfinite(some)]
        middle = some.size // 2
        depth = float(np.partition(some, middle)[middle]) if some.size else 0.0
        return depth if depth > 0.0 else None
