"""The interface of every image source."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.geometry import FloatArray, Intrinsics

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceFrame:
    """One image of one camera and what is known about it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        stamp_ns: since the epoch if the source recorded its time, else since its first frame [ns].
        calibration: of the camera; None if unknown.
        T_world_camera: (4, 4) true pose of the camera (OpenCV axes, meters); None if unknown.
        depth: (H, W) float32 true depth along the optical axis [m]; None if unknown.
        jump: why the frame does not continue the previous one, in one clause; None if it does.
        clock_step_ns: by how much the clock of the stamps has been set since the previous frame [ns].
        shift_ns: added to the recorded stamp so that stamps increase even if the recording's time jumps back [ns].
    """

    image: npt.NDArray[np.uint8]
    stamp_ns: int
    calibration: Calibration | None = None
    T_world_camera: FloatArray | None = None
    depth: npt.NDArray[np.float32] | None = None
    jump: str | None = None
    clock_step_ns: int = 0
    shift_ns: int = 0

    @property
    def intrinsics(self) -> Intrinsics | None:
        """The pinhole camera of the image, assuming no distortion; None if unknown.

        Raises:
            UserError: the calibration does not describe a valid camera, or is for a different image size.
        """
        if self.calibration is None:
            return None
        height, width = self.image.shape[:2]
        return self.calibration.camera(rectified=True, image_size=(width, height)).intrinsics


@dataclass
class SourceReport:
    """What a source could not provide; each sentence is logged once.

    Attributes:
        left_out: number of existing frames that were not yielded, by reason.
        damage: what is missing from the recording, in sentences.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def warn(self, sentence: str) -> None:
        """Log a warning, unless the same one has been logged before."""
        if sentence not in self._said:
            self._said.add(sentence)
            _log.warning("%s", sentence)

    def damaged(self, sentence: str) -> None:
        """Report that the recording is incomplete."""
        if sentence not in self.damage:
            self.damage.append(sentence)
        self.warn(sentence)


class Source(Protocol):
    """A recorded or synthetic camera: frames in order of time, which can be read repeatedly."""

    @property
    def name(self) -> str:
        """A short description for the user."""

    @property
    def length(self) -> int | None:
        """The number of frames; None if it is unknown before reading to the end."""

    @property
    def rate_hz(self) -> float:
        """Frames per second, on average."""

    @property
    def has_truth(self) -> bool:
        """Whether frames may come with their true poses or depth."""

    @property
    def T_base_camera(self) -> FloatArray | None:
        """The (4, 4) mount of the camera on a robot's base, on the floor and x forward; None if there is none."""

    @property
    def report(self) -> SourceReport:
        """What the source could not provide so far."""

    @property
    def recorded_time(self) -> bool:
        """Whether stamps are those of the recording's own clock; if not, they start at zero at the first frame."""

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the frames from ``start_s`` seconds after the first one, with strictly increasing stamps.

        Raises:
            UserError: the source cannot be read any further.
        """
