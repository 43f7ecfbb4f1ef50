"""What every source of images yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.geometry import FloatArray, Intrinsics


@dataclass(frozen=True)
class SourceFrame:
    """One image of one camera and what is known about it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        stamp_ns: nanoseconds; since the epoch where the source recorded its time, else since its first frame.
        calibration: of the camera, None where unknown.
        T_world_camera: (4, 4) true pose of the camera (OpenCV axes, metres), None where unknown.
        depth: (H, W) float32 true depth [m] along the optical axis, None where unknown.
    """

    image: npt.NDArray[np.uint8]
    stamp_ns: int
    calibration: Calibration | None = None
    T_world_camera: FloatArray | None = None
    depth: npt.NDArray[np.float32] | None = None

    @property
    def intrinsics(self) -> Intrinsics | None:
        """The pinhole camera of the image, taken as free of distortion; None where unknown.

        Raises:
            UserError: the calibration describes no camera, or one of another image size.
        """
        if self.calibration is None:
            return None
        height, width = self.image.shape[:2]
        return self.calibration.camera(rectified=True, image_size=(width, height)).intrinsics


class Source(Protocol):
    """A recorded or computed camera: frames in order of time, as often as asked for."""

    @property
    def name(self) -> str:
        """What it is, in a few words for people."""

    @property
    def length(self) -> int | None:
        """The number of frames; None where only reading to the end would tell."""

    @property
    def rate_hz(self) -> float:
        """Frames per second, on average."""

    @property
    def recorded_time(self) -> bool:
        """True where stamps are the recording's own clock, False where they count from zero at the first frame."""

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the frames from ``start_s`` seconds after the first one, with strictly increasing stamps.

        Raises:
            UserError: something cannot be read any further.
        """
