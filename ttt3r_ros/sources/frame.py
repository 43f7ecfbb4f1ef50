"""What every source of images yields."""

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
        stamp_ns: nanoseconds; since the epoch where the source recorded its time, else since its first frame.
        calibration: of the camera, None where unknown.
        T_world_camera: (4, 4) true pose of the camera (OpenCV axes, metres), None where unknown.
        depth: (H, W) float32 true depth [m] along the optical axis, None where unknown.
        jump: why the frame does not follow on the one before, in one clause; None where it does.
        shift_ns: added to the recorded stamp so that stamps increase where the recording's time jumps back.
    """

    image: npt.NDArray[np.uint8]
    stamp_ns: int
    calibration: Calibration | None = None
    T_world_camera: FloatArray | None = None
    depth: npt.NDArray[np.float32] | None = None
    jump: str | None = None
    shift_ns: int = 0

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


@dataclass
class SourceReport:
    """What a source could not give; each sentence goes to the log once.

    Attributes:
        left_out: frames that were there but not yielded, by reason.
        damage: what is missing of the recording, in sentences.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    _said: set[str] = field(default_factory=set)

    def warn(self, sentence: str) -> None:
        """Say something to the user, unless it has been said."""
        if sentence not in self._said:
            self._said.add(sentence)
            _log.warning("%s", sentence)

    def damaged(self, sentence: str) -> None:
        """Say that the recording is not whole."""
        if sentence not in self.damage:
            self.damage.append(sentence)
        self.warn(sentence)


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
    def report(self) -> SourceReport:
        """What could not be given so far."""

    @property
    def recorded_time(self) -> bool:
        """True where stamps are the recording's own clock, False where they count from zero at the first frame."""

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the frames from ``start_s`` seconds after the first one, with strictly increasing stamps.

        Raises:
            UserError: something cannot be read any further.
        """
