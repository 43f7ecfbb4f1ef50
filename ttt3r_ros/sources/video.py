"""A video file, read by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame

#: What a container that does not say its rate is played at [Hz].
_USUAL_FPS = 30.0


class VideoSource:
    """Frames of a video with the stamps of its container, so that variable rates (phones) stay true."""

    recorded_time = False

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        """Open once to see that it can be read.

        Args:
            path: of the file.
            fps: ignore the container's stamps and count frames at this rate.

        Raises:
            UserError: OpenCV cannot decode it.
        """
        self._path = path
        self._fps = fps
        self.name = f"video {path.name}"
        capture = self._open()
        try:
            if not capture.grab():
                raise UserError(f"{path} opens as a video but has no frame that can be decoded; is it cut off?")
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            container_fps = capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        self.length: int | None = frames if frames > 0 else None
        plausible = np.isfinite(container_fps) and 0.0 < container_fps < 1000.0
        self.rate_hz: float = fps or (float(container_fps) if plausible else _USUAL_FPS)

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the frames from ``start_s`` on; the ones before are skipped without conversion."""
        capture = self._open()
        start_ns = round(start_s * 1e9)
        try:
            index, first_ms, last_ns = 0, 0.0, -1
            while capture.grab():
                container_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                if index == 0:
                    first_ms = container_ms
                stamp_ns = round((container_ms - first_ms) * 1e6)
                if self._fps is not None or (index > 0 and stamp_ns <= last_ns):
                    # counted: asked for, or the container does not say (OpenCV then repeats the last value)
                    stamp_ns = max(round(index * 1e9 / self.rate_hz), last_ns + 1)
                index, last_ns = index + 1, stamp_ns
                if stamp_ns < start_ns:
                    continue
                decoded, image = capture.retrieve()
                if decoded:
                    rgb = cast("npt.NDArray[np.uint8]", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                    yield SourceFrame(image=rgb, stamp_ns=stamp_ns)
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise UserError(f"{self._path} cannot be read as a video; convert it with ffmpeg, for example to an .mp4")
        return capture
