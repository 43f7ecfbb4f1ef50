"""A sequence of a public data set: which files, which truth. Pixels are read when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray

ImageArray = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Recording:
    """Frames of a sequence in the order in which they are read.

    Attributes:
        images: files.
        stamps_ns: of the frames; by a nominal rate where the protocol has no use for times.
        T_world_camera: (N, 4, 4) true poses, as they stand in the files (perhaps not finite); None where not needed.
        depths: files of the true depth, one a frame; empty where not needed.
    """

    images: tuple[Path, ...]
    stamps_ns: tuple[int, ...]
    T_world_camera: FloatArray | None = None
    depths: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)


def read_rgb(path: Path) -> ImageArray:
    """Return an image (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as an image ({error})") from None


def png_depth(divisor: float) -> Callable[[Path], Depth]:
    """Return a reader of 16-bit PNGs whose values are metres times this; float64, 0 where unknown."""

    def read(path: Path) -> Depth:
        return raw_depth(path).astype(np.float64) / divisor

    return read


def raw_depth(path: Path) -> npt.NDArray[np.uint16]:
    """Return a 16-bit PNG (H, W) as it is.

    Raises:
        UserError: it is none.
    """
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        raise UserError(f"{path} cannot be read as a depth image: it must be a PNG of one channel of 16 bits")
    return raw.astype(np.uint16, copy=False)


def sintel_depth(path: Path) -> Depth:
    """Return a .dpt file's depth (H, W) float32 [m].

    Raises:
        UserError: it is none.
    """
    data = path.read_bytes()
    sizes = np.frombuffer(data, "<i4", 2, 4) if len(data) >= 12 else np.zeros(2, np.int32)
    if not is_sintel(data) or len(data) != 12 + 4 * int(sizes.prod()):
        raise UserError(f"{path} is not a depth file of Sintel (.dpt)")
    return np.frombuffer(data, "<f4", offset=12).reshape(int(sizes[1]), int(sizes[0]))


def sintel_pose(path: Path) -> FloatArray:
    """Return the camera-to-world pose (4, 4) of a .cam file.

    Raises:
        UserError: it is none.
    """
    data = path.read_bytes()
    if not is_sintel(data) or len(data) != 4 + 8 * 21:
        raise UserError(f"{path} is not a camera file of Sintel (.cam)")
    T_camera_world = np.vstack([np.frombuffer(data, "<f8", 12, 4 + 8 * 9).reshape(3, 4), [[0, 0, 0, 1]]])
    return np.asarray(np.linalg.inv(T_camera_world), dtype=np.float64)


def is_sintel(data: bytes) -> bool:
    """Return whether a file begins with Sintel's tag, the float32 202021.25."""
    return data[:4] == np.float32(202021.25).tobytes()


def read_rows(path: Path, *columns: int) -> FloatArray:
    """Return a text file's numbers, one row a line; comments (#) and empty lines are left out.

    Raises:
        UserError: the file cannot be read, or a line does not have one of these numbers of columns.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.replace(",", " ").split()
        if not fields or fields[0].startswith("#"):
            continue
        try:
            rows.append([float(value) for value in fields])
        except ValueError:
            rows.append([])
        if len(rows[-1]) not in columns:
            raise UserError(
                f"{path}, line {number}: {' or '.join(map(str, columns))} numbers are expected, got {line!r}"
            )
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise UserError(f"{path}: the lines have different numbers of numbers")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def read_pose(path: Path) -> FloatArray:
    """Return a file's one (4, 4) pose, perhaps not finite.

    Raises:
        UserError: it holds no such matrix.
    """
    pose = read_rows(path, 4)
    if pose.shape != (4, 4):
        raise UserError(f"{path}: a pose of 4 lines of 4 numbers is expected")
    return pose


def associate(first: FloatArray, second: FloatArray, most: float = 0.02) -> list[tuple[int, int]]:
    """Return which stamps [s] belong together, as indices (first, second) in the order of the first.

    Pairs that differ by less than `most` [s] are accepted by ascending difference, each stamp once; of equal stamps
    the last one counts. As TUM's ``associate.py`` does it.
    """
    last_first = {stamp: i for i, stamp in enumerate(first.tolist())}
    last_second = {stamp: i for i, stamp in enumerate(second.tolist())}
    stamps = np.array(sorted(last_second))
    candidates = []
    for a in last_first:
        low, high = np.searchsorted(stamps, (a - 2 * most, a + 2 * most))
        candidates += [(abs(a - b), a, b) for b in stamps[low:high].tolist() if abs(a - b) < most]
    pairs: dict[float, float] = {}
    taken = set()
    for _, a, b in sorted(candidates):
        if a not in pairs and b not in taken:
            pairs[a] = b
            taken.add(b)
    return [(last_first[a], last_second[b]) for a, b in sorted(pairs.items())]


def even_stamps(count: int, fps: float) -> tuple[int, ...]:
    """Return stamps [ns] of so many frames at this rate."""
    return tuple(round(i * 1e9 / fps) for i in range(count))


def listed(folder: Path, *suffixes: str) -> list[Path]:
    """Return a folder's files of these suffixes in the order of their names; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(suffixes))


def numbered(folder: Path, suffix: str) -> list[Path]:
    """Return a folder's files of a suffix in the order of the numbers in their names."""
    digits = {path: "".join(c for c in path.stem if c.isdigit()) for path in listed(folder, suffix)}
    return sorted((path for path in digits if digits[path]), key=lambda path: int(digits[path]))
