"""Decodes images (JPEG, PNG, ...) from messages and files. No ROS."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError

RGBImage = npt.NDArray[np.uint8]

MAX_SIDE = 16384  #: [px]
MAX_PIXELS = 8192 * 8192  #: [px]; a PNG of a few bytes can claim any size, and take gigabytes when decoded

#: Formats of a CompressedImage, by Pillow's names: those that compressed_image_transport and cameras send.
MESSAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
#: Formats of image files, by Pillow's names.
FILE_FORMATS = (*MESSAGE_FORMATS, "BMP", "PPM")

#: Major brands of ISO media files (ISO/IEC 14496-12) that are still images, and the common names of those formats.
_STILL_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}

_EXIF_ORIENTATION = 0x0112
#: How to make an image of each EXIF orientation upright (CIPA DC-008): whether to mirror it, then how to rotate it.
_UPRIGHT: dict[int, tuple[bool, int | None]] = {
    2: (True, None),
    3: (False, cv2.ROTATE_180),
    4: (True, cv2.ROTATE_180),
    5: (True, cv2.ROTATE_90_COUNTERCLOCKWISE),
    6: (False, cv2.ROTATE_90_CLOCKWISE),
    7: (True, cv2.ROTATE_90_CLOCKWISE),
    8: (False, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def decode_image(
    content: bytes, held: SampleRange, subject: str, *, formats: tuple[str, ...] = MESSAGE_FORMATS
) -> tuple[RGBImage, SampleRange]:
    """Decode an image and rotate it upright as its EXIF data specifies.

    Args:
        content: bytes of the message or file.
        held: the range of 16-bit samples so far.
        subject: name of the content, with which error messages begin.
        formats: allowed formats, by Pillow's names.

    Returns:
        (H, W, 3) uint8, RGB; and the range of 16-bit samples after this image.

    Raises:
        UserError: the content is damaged, truncated, in another format, or claims more than `MAX_PIXELS` pixels.
    """
    if still := still_image_kind(content):
        raise UserError(
            f"{subject} is a {still} image, which cannot be decoded; convert it to JPEG, for example with "
            "heif-convert or ImageMagick"
        )
    header = _header(content, formats, subject)
    if header is not None:
        (width, height), orientation = header
        check_size(width, height, subject)
        if not _is_cut_off(content):
            stored = _decode_pixels(content)
            if stored is not None:
                if stored.dtype == np.uint16:
                    held = held.widened(stored)
                    stored = held.to_8_bits(stored)
                return _upright(stored, orientation), held
    names = [name.lower() for name in formats]
    raise UserError(
        f"{subject} cannot be decoded; it is damaged, cut off, or neither {', '.join(names[:-1])} nor {names[-1]}"
    )


def still_image_kind(content: bytes) -> str | None:
    """Return 'HEIC' or 'AVIF' if the content begins like such an image, else None."""
    return _STILL_BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None


def image_format(path: Path) -> str | None:
    """Return Pillow's name for the format of a still image; None for any other file, including animations."""
    try:
        with PIL.Image.open(path, formats=FILE_FORMATS) as image:  # decodes no pixels
            return None if getattr(image, "is_animated", False) else image.format
    except Exception:  # exceptions about damaged headers have no common base class
        return None


def gray_samples(path: Path) -> npt.NDArray[Any] | None:
    """Return the (H, W) samples of a gray image with 16 bits; None for any other file, and for a damaged one."""
    try:
        with PIL.Image.open(path, formats=FILE_FORMATS) as image:
            is_gray = image.mode.startswith("I") and image.width * image.height <= MAX_PIXELS
            return np.asarray(image) if is_gray else None
    except Exception:  # exceptions about damaged files have no common base class
        return None


def check_size(width: int, height: int, subject: str = "an image") -> None:
    """Check that an image is neither empty nor too large.

    Raises:
        UserError: a side is 0 or longer than `MAX_SIDE`, or the image has more than `MAX_PIXELS` pixels.
    """
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise UserError(
            f"{subject} of {width}x{height} pixels cannot be used; each side must be from 1 to {MAX_SIDE} pixels and "
            f"the image at most {MAX_PIXELS / 1e6:.0f} megapixels"
        )


def _header(content: bytes, formats: tuple[str, ...], subject: str) -> tuple[tuple[int, int], int] | None:
    """Return width and height [px] and the EXIF orientation from an image's header; None if it has no valid header."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=formats) as header:  # decodes no pixels
            # OpenCV always applies the orientation of a TIFF, even if told to ignore it
            exif = None if header.format == "TIFF" else header.info.get("exif")
            return header.size, _orientation(exif) if exif else 1
    except PIL.Image.DecompressionBombError:
        raise UserError(f"{subject} claims more than {MAX_PIXELS / 1e6:.0f} megapixels and cannot be used") from None
    except Exception:  # exceptions about damaged headers have no common base class
        return None


def _orientation(data: bytes) -> int:
    """Return the orientation in EXIF data; 1 (upright) if it is damaged."""
    exif = PIL.Image.Exif()  # not `getexif`, which decodes an entire PNG to search after its pixels
    with contextlib.suppress(Exception):  # exceptions about damaged data have no common base class
        exif.load(data)
    return int(exif.get(_EXIF_ORIENTATION, 1))


def _decode_pixels(content: bytes) -> npt.NDArray[Any] | None:
    """Return the (H, W, 3) BGR pixels as stored, with 8 or 16 bits; None if OpenCV cannot decode them.

    OpenCV is told to ignore EXIF orientation, because the formats it supports there depend on its version (Ubuntu's
    does not support WebP yet).
    """
    data = np.frombuffer(content, dtype=np.uint8)
    for depth in (cv2.IMREAD_ANYDEPTH, 0):  # some files contain floats, which only convert to 8 bits
        with contextlib.suppress(cv2.error):
            pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | depth)
            if pixels is not None and pixels.dtype in (np.uint8, np.uint16):
                return pixels
    return None


def _upright(bgr: npt.NDArray[np.uint8], orientation: int) -> RGBImage:
    mirrored, turn = _UPRIGHT.get(orientation, (False, None))
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    if mirrored:
        image = cv2.flip(image, 1)
    return np.asarray(image if turn is None else cv2.rotate(image, turn), dtype=np.uint8)


def _is_cut_off(content: bytes) -> bool:
    """Return whether the end of an image is missing; decoders fill it with gray or black, often without an error."""
    if content.startswith(b"\xff\xd8"):  # a JPEG's last scan without an end
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    if content.startswith(b"RIFF"):
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    if content.startswith(b"BM"):  # some writers leave the size 0
        return len(content) < int.from_bytes(content[2:6], "little")
    return False
