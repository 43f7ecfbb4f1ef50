"""Reads video files with OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.encoded_image import image_format, still_image_kind
from ttt3r_ros.camera.stamps import MAX_DISORDER_NS
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame, SourceReport
from ttt3r_ros.sources.timeline import RecordingClock

#: Frame rate assumed for a container that does not specify one [Hz].
_USUAL_FPS = 30.0

#: A video of varying rate may show one frame for this long; its frames have no time of arrival that tells [ns].
_MAX_PAUSE_NS = 10 * 10**9
#: Added to the times of a video, which begins at 0, because 0 is not a valid stamp [ns].
_NOT_ZERO_NS = 10**9

#: Bytes at the start of a file that identify its type.
_HEAD_BYTES = 4096
#: Control characters that occur in text: tab, line and page breaks, end of file, escape (for colors).
_TEXT_CONTROLS = frozenset(b"\t\n\v\f\r\x1a\x1b")
#: Header of a video format that begins with text.
_Y4M = b"YUV4MPEG2"
#: First bytes of archives: zip, gzip, bzip2, xz, 7z, rar, zstd.
_ARCHIVES = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
#: Suffixes of image streams without a container, which begin like a single image.
_IMAGE_STREAMS = frozenset({".mjpg", ".mjpeg"})

#: Containers round counts and durations, so a complete video may seem to lack this share of its frames, or this many.
_MISSING_SHARE, _MISSING_FRAMES = 0.02, 2.5

#: Rotation for each value of OpenCV's CAP_PROP_ORIENTATION_META [deg, clockwise].
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class VideoSource:
    """Upright frames of a video with the stamps of its container, so that variable frame rates (phones) are correct."""

    recorded_time = False
    has_truth = False
    T_base_camera = None

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        """Open the file once to check that it can be read.

        Args:
            path: of the file.
            fps: ignore the container's stamps and number the frames at this rate.

        Raises:
            UserError: OpenCV cannot decode the file, or it is not a video even though OpenCV can decode it.
        """
        _refuse_other_content(path)
        self._path = path
        self._fps = fps
        self.name = f"video {path.name}"
        self.report = SourceReport()
        capture = self._open()
        try:
            if not capture.grab():
                raise UserError(
                    f"{path} is a video but none of its frames can be decoded; it may be cut off: copy it again"
                )
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            container_fps = capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        self.length: int | None = frames if frames > 0 else None
        plausible = np.isfinite(container_fps) and 0.0 < container_fps < 1000.0
        self._container_hz = float(container_fps) if plausible else _USUAL_FPS
        self.rate_hz: float = fps or self._container_hz

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the frames from ``start_s`` on; earlier ones are skipped without conversion."""
        capture = self._open()
        turn = _turn_by_hand(capture)
        aspect = _pixel_aspect(capture)
        start_ns = round(start_s * 1e9)
        clock = RecordingClock(self.report, self.name, max_lead_ns=_MAX_PAUSE_NS)
        period_ns = round(1e9 / self.rate_hz)
        try:
            index, first_ms, latest_ms, told_ns = 0, 0.0, 0.0, -period_ns
            while capture.grab():
                container_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
                if index == 0:
                    first_ms = container_ms
                latest_ms = max(latest_ms, container_ms)
                stamp_ns = round((container_ms - first_ms) * 1e6)
                if self._fps is not None:
                    stamp_ns = round(index * 1e9 / self._fps)
                elif index > 0 and (container_ms == 0 or 0 <= told_ns - stamp_ns <= MAX_DISORDER_NS):
                    # the container has no stamp for this frame: OpenCV repeats the last one or returns 0
                    stamp_ns = told_ns + period_ns
                told_ns = stamp_ns
                placed = clock.place(stamp_ns + _NOT_ZERO_NS, index * period_ns)
                index += 1
                if placed is None or placed.stamp_ns - _NOT_ZERO_NS < start_ns:
                    continue
                decoded, image = capture.retrieve()
                if not decoded:
                    self.report.left_out["not decodable"] += 1
                    self.report.warn(f"{self.name}: a frame cannot be decoded and was skipped")
                    continue
                yield SourceFrame(
                    image=_rgb(image, turn, aspect),
                    stamp_ns=placed.stamp_ns - _NOT_ZERO_NS,
                    jump=placed.jump,
                    shift_ns=placed.shift_ns,
                )
            self._check_end(index, (latest_ms - first_ms) * 1e-3)
        finally:
            capture.release()

    def _check_end(self, frames: int, last_s: float) -> None:
        """Report damage if the file ends well before the length in its header.

        For containers without a frame count, OpenCV computes one from duration and frame rate, which is wrong for
        variable frame rates. So the last frame must also be too early.
        """
        if self.length is None:
            return
        missing_s = self.length / self._container_hz - last_s
        allowed = max(_MISSING_FRAMES, _MISSING_SHARE * self.length)
        if self.length - frames > allowed and missing_s > allowed / self._container_hz:
            self.report.damaged(
                f"{self.name} ends after {frames} of {self.length} frames: it is cut off or damaged; copy it again"
            )

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise UserError(f"{self._path} cannot be read as a video; convert it with ffmpeg, for example to an .mp4")
        return capture


def _refuse_other_content(path: Path) -> None:
    """Refuse files that FFmpeg would play although they are not videos: images, text (as a terminal), playlists.

    Raises:
        UserError: the file is one of these, or cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if still := still_image_kind(head):
        raise UserError(
            f"{path} is a {still} image, not a video; convert it to JPEG, for example with heif-convert or "
            "ImageMagick, and give the folder that contains it"
        )
    if head.startswith(_ARCHIVES):
        raise UserError(f"{path} is an archive; unpack it, and give what it contains")
    if _is_text(head):
        raise UserError(f"{path} is text, not a video; give a video file, a folder of images or a bag")
    if path.suffix.lower() not in _IMAGE_STREAMS and (kind := image_format(path)):
        raise UserError(f"{path} is a single {kind} image, not a video; give the folder that contains it")


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return bool(head) and not head.startswith(_Y4M) and all(byte >= 32 or byte in _TEXT_CONTROLS for byte in head)


def _turn_by_hand(capture: cv2.VideoCapture) -> int | None:
    """Return the rotation that makes frames upright; None if OpenCV applies it or none is needed.

    OpenCV 4.6, the version in Ubuntu 24.04, rotates counterclockwise instead of clockwise (its issue 22088), so images
    rotated by 90 degrees would be upside down.
    """
    if tuple(cv2.__version__.split(".")[:2]) != ("4", "6"):
        return None
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return _TURNS.get(-round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360)


def _pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Return the width of a pixel in the upright image divided by its height."""
    wide, high = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    aspect = wide / high if wide > 0 and high > 0 else 1.0
    if not 0.2 < aspect < 5.0:  # implausible for a camera
        return 1.0
    return 1.0 / aspect if round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90 else aspect


def _rgb(bgr: npt.ArrayLike, turn: int | None, aspect: float) -> npt.NDArray[np.uint8]:
    """Return an upright image with square pixels; it is only enlarged, never shrunk."""
    image = cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB)
    if turn is not None:
        image = cv2.rotate(image, turn)
    if aspect != 1.0:
        stretch = (max(aspect, 1.0), max(1.0 / aspect, 1.0))
        image = cv2.resize(image, None, fx=stretch[0], fy=stretch[1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(image, dtype=np.uint8)
