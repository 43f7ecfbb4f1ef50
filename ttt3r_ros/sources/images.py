"""A folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources.frame import SourceFrame

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

#: Where well-known data sets keep the images of their first camera (TUM RGB-D, EuRoC), below the folder people name.
_DATASET_FOLDERS = ("rgb", "mav0/cam0/data", "cam0/data")

#: Digits of the time since the epoch in s, ms, µs and ns, for the years 2001 to 2286, and how many ns each unit has.
_NS_PER_UNIT = {10: 10**9, 13: 10**6, 16: 10**3, 19: 1}

_DEFAULT_FPS = 30.0


class ImageFolderSource:
    """Images of a folder in natural order (2 before 10), stamped by their names where these are times."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        """List the images.

        Args:
            path: of the folder, or of a TUM RGB-D or EuRoC sequence.
            fps: ignore times in names and count images at this rate.

        Raises:
            UserError: there is no image in it.
        """
        folder = next((found for found in (path, *(path / sub for sub in _DATASET_FOLDERS)) if _images(found)), None)
        if folder is None:
            kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
            raise UserError(f"the folder {path} holds neither images ({kinds}) nor a rosbag2 (metadata.yaml)")
        files = sorted(_images(folder), key=_natural_key)
        stamps = None if fps is not None else _stamps_from_names(files)
        self.recorded_time = stamps is not None
        if stamps is not None:
            order = sorted(range(len(files)), key=stamps.__getitem__)
            self._files = [files[i] for i in order]
            self._stamps_ns = [stamps[i] for i in order]
            span_ns = self._stamps_ns[-1] - self._stamps_ns[0]
            self.rate_hz = (len(files) - 1) * 1e9 / span_ns
        else:
            self.rate_hz = fps or _DEFAULT_FPS
            self._files = files
            self._stamps_ns = [round(i * 1e9 / self.rate_hz) for i in range(len(files))]
        self.name = f"images in {folder}"
        self.length: int | None = len(files)

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        """Yield the images from ``start_s`` on; the ones before are not read."""
        start_ns = self._stamps_ns[0] + round(start_s * 1e9)
        for file, stamp_ns in zip(self._files, self._stamps_ns, strict=True):
            if stamp_ns < start_ns:
                continue
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                raise UserError(f"{file} cannot be read as an image; remove or repair it")
            yield SourceFrame(
                image=cast("npt.NDArray[np.uint8]", cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), stamp_ns=stamp_ns
            )


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]


def _natural_key(file: Path) -> list[tuple[int, str]]:
    """Return what sorts 2.png before 10.png: runs of digits count as numbers."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts]


def _stamps_from_names(files: list[Path]) -> list[int] | None:
    """Return the stamps [ns] that all names spell, None where they do not: then names only count."""
    stamps = [_stamp_from_name(file.stem) for file in files]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(files) < 2 or len(known) < len(files) or len(set(known)) < len(known):
        return None
    return known


def _stamp_from_name(stem: str) -> int | None:
    """Return the time [ns] a file name is: seconds with a decimal point (TUM) or a whole epoch time (EuRoC)."""
    if re.fullmatch(r"\d+\.\d+", stem):
        return int(Decimal(stem).scaleb(9))
    if re.fullmatch(r"[1-9]\d*", stem) and len(stem) in _NS_PER_UNIT:
        return int(stem) * _NS_PER_UNIT[len(stem)]
    return None
