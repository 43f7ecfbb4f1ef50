"""A folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.camera.encoded_image import FILE_FORMATS, decode_image, gray_samples
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.camera.stamps import NOT_NEWER
from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.dataset import (
    NS_PER_UNIT,
    camera_beside,
    color_images,
    image_folders,
    is_color,
    is_result,
    listed_stamps,
    poses_beside,
    time_ns,
)
from ttt3r_ros.sources.frame import SourceFrame, SourceReport

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
#: Images that OpenCV cannot read on every platform; the user is told how to convert them.
UNREADABLE_SUFFIXES = frozenset({".heic", ".heif", ".avif"})

_DEFAULT_FPS = 30.0

#: Number of images that are checked for being depth: 16 bits, with so many pixels without depth, and others with at
#: least so much [mm].
_DEPTH_SAMPLES, _MIN_MISSING, _MIN_DEPTH = 4, 0.005, 100

#: Number of images that are checked for the range of 16-bit samples before the first one is yielded.
_RANGE_SAMPLES = 8


class ImageFolderSource:
    """Images of a folder in natural order (2 before 10), stamped by their names if those are times.

    Cameras and poses that datasets store with their images are read as well (`ttt3r_ros.sources.dataset`).
    """

    T_base_camera = None

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        """List the images.

        Args:
            path: of the folder, or of a dataset that contains such a folder.
            fps: ignore recorded times and number the images at this rate.

        Raises:
            UserError: the folder contains no image, or nothing but depth.
        """
        folders = image_folders(path)[1:] if is_result(path) else image_folders(path)
        folder = next((found for found in folders if _images(found)), None)
        if folder is None:
            raise UserError(_why_no_images(path))
        _refuse_depth(folder, _images(folder))
        self.report = SourceReport()
        files = sorted(color_images(_images(folder)), key=_natural_key)
        if unreadable := _images(folder, UNREADABLE_SUFFIXES):
            self.report.left_out["HEIC or AVIF"] += len(unreadable)
            self.report.warn(
                f"{len(unreadable)} HEIC or AVIF images in {folder} are skipped; convert them to JPEG to include them"
            )
        times = _stamps_from_names(files) or listed_stamps(folder, files)
        if times:
            files = self._in_order(files, times)
        self._files = files
        self._times_ns = [times[file] for file in files] if times else None
        if self._times_ns is not None and len(files) > 1 and fps is None:
            self.recorded_time = True
            self._stamps_ns = self._times_ns
            self.rate_hz = (len(files) - 1) * 1e9 / (self._stamps_ns[-1] - self._stamps_ns[0])
        else:
            self.recorded_time = False
            self.rate_hz = fps or _DEFAULT_FPS
            self._stamps_ns = [round(i * 1e9 / self.rate_hz) for i in range(len(files))]
            if fps is None:
                self.report.warn(
                    f"the images in {folder} have no times: assuming {self.rate_hz:g} Hz; set another rate with --fps"
                )
        self.name = f"images in {folder}"
        self.length: int | None = len(files)
        self._camera = camera_beside(folder, self.report)
        self._pose = poses_beside(folder, files, self._camera, self.report)
        self.has_truth = self._pose is not None
        self._range = self._find_range()

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the images from ``start_s`` on, without reading those before."""
        start_ns = self._stamps_ns[0] + round(start_s * 1e9)
        held = self._range
        for index, (file, stamp_ns) in enumerate(zip(self._files, self._stamps_ns, strict=True)):
            if stamp_ns < start_ns:
                continue
            image, held = decode_image(_content(file), held, str(file), formats=FILE_FORMATS)
            time_ns = None if self._times_ns is None else self._times_ns[index]
            yield SourceFrame(
                image=image,
                stamp_ns=stamp_ns,
                calibration=self._calibration(image.shape[1], image.shape[0]),
                T_world_camera=None if self._pose is None else self._pose(index, time_ns),
            )

    def _in_order(self, files: list[Path], times: dict[Path, int]) -> list[Path]:
        """Return the files in order of time, keeping the first of several with the same time (such as two formats)."""
        by_time: dict[int, Path] = {}
        for file in sorted(files, key=times.__getitem__):
            if by_time.setdefault(times[file], file) is not file:
                self.report.left_out[NOT_NEWER] += 1
                self.report.warn(f"several images in {file.parent} have the same time; only the first is used")
        return list(by_time.values())

    def _calibration(self, width: int, height: int) -> Calibration | None:
        if self._camera is None:
            return None
        calibration = self._camera.calibration(width, height)
        if calibration is None:
            self.report.warn(f"{self._camera.file} is ignored: it does not fit images of {width}x{height} pixels")
        return calibration

    def _find_range(self) -> SampleRange:
        """Return the range of 16-bit samples in a few images spread over the folder."""
        bits = SampleRange().bits
        step = max(1, len(self._files) // _RANGE_SAMPLES)
        for file in self._files[::step]:
            if not _has_16_bits(file):
                break
            _, found = decode_image(_content(file), SampleRange(), str(file), formats=FILE_FORMATS)
            bits = max(bits, found.bits)
        return SampleRange(bits)


def _refuse_depth(folder: Path, files: list[Path]) -> None:
    """Refuse a folder of depth images: gray, 16 bits, and named so or with pixels that have no depth.

    A camera's dark pixels have small values; depth is 0 or at least some centimeters.

    Raises:
        UserError: it is one.
    """
    named = not is_color(folder.name) or not any(is_color(file.stem) for file in files)
    for file in sorted(files)[:: max(1, len(files) // _DEPTH_SAMPLES)]:
        pixels = gray_samples(file)
        if pixels is None:
            return
        missing, small = (pixels == 0).mean(), ((pixels > 0) & (pixels < _MIN_DEPTH)).mean()
        if not (named or (missing > _MIN_MISSING and small == 0 and missing < 1)):
            return
    raise UserError(
        f"the images in {folder} are depth or the like, not a camera's; give the folder of the color images (or "
        "convert these to 8 bits if they are a camera's)"
    )


def _has_16_bits(file: Path) -> bool:
    """Return whether a file is a PNG with 16 bits per sample; rarer 16-bit formats widen the range when read."""
    with file.open("rb") as stream:
        head = stream.read(25)
    return head.startswith(b"\x89PNG") and head[24:25] == b"\x10"


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from None


def _images(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
        ]
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read: {error.strerror or error}") from None


def _why_no_images(path: Path) -> str:
    if is_result(path):
        return (
            f"{path} holds the results of a run, whose pictures are no camera's; give the recording that it was made "
            "from (`reconstruct --rgb` keeps the images in rgb/)"
        )
    if _images(path, UNREADABLE_SUFFIXES):
        return (
            f"the images in {path} are HEIC or AVIF, which cannot be decoded; convert them to JPEG, for example with "
            "heif-convert or ImageMagick (magick mogrify -format jpg *.heic)"
        )
    kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    sentence = f"the folder {path} contains neither images ({kinds}) nor a rosbag2 (metadata.yaml, .mcap, .db3)"
    inner = next((folder for folder in sorted(path.iterdir()) if _images(folder)), None)
    if inner is not None:
        return f"{sentence}; {inner} contains images"
    video = next((file for file in sorted(path.iterdir()) if file.suffix.lower() in _VIDEO_SUFFIXES), None)
    return sentence if video is None else f"{sentence}; give a video as a file, such as {video}"


def _natural_key(file: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts 2.png before 10.png by comparing runs of digits as numbers."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]


def _stamps_from_names(files: list[Path]) -> dict[Path, int]:
    """Return the stamps [ns] in the file names; empty unless every name is a time, since names may be mere numbers.

    Names such as 1.1 and 1.10 are numbers, of a camera and its images.
    """
    stamps = {file: stamp for file in files if (stamp := _stamp_from_name(file.stem)) is not None}
    times = set(stamps.values())
    is_one_each = len(times) == len({file.stem for file in stamps})
    return stamps if len(times) > 1 and is_one_each and len(stamps) == len(files) else {}


def _stamp_from_name(stem: str) -> int | None:
    """Return the time [ns] in a file name: decimal seconds (TUM) or an integer time since the epoch (EuRoC)."""
    if re.fullmatch(r"\d+\.\d+", stem) or (re.fullmatch(r"[1-9]\d*", stem) and len(stem) in NS_PER_UNIT):
        return time_ns(stem)
    return None
