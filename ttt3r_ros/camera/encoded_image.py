"""Pixels of an encoded image (JPEG, PNG, ...), out of a message or a file, without ROS."""

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

LARGEST_SIDE = 16384  #: [px]
LARGEST_IMAGE = 8192 * 8192  #: [px]; a few bytes of PNG can claim, and on decoding take, any number of gigabytes

#: Contents of a CompressedImage, by Pillow's names: what compressed_image_transport and cameras send.
MESSAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
#: Image files.
FILE_FORMATS = (*MESSAGE_FORMATS, "BMP", "PPM")

#: Main brands of ISO media files (ISO/IEC 14496-12) that are still images, and what people call them.
_STILL_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}

_EXIF_ORIENTATION = 0x0112
#: What makes an image of each EXIF orientation upright (CIPA DC-008): mirrored left to right first, then turned.
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
    """Decode an image, upright as its EXIF data has it.

    Args:
        content: of the message or file.
        held: the range of 16-bit samples so far.
        subject: begins the sentence of an error: what the content is.
        formats: what the content may be, by Pillow's names.

    Returns:
        (H, W, 3) uint8, RGB; and the range of 16-bit samples after this image.

    Raises:
        UserError: the content is damaged, cut off, something else, or claims more than `LARGEST_IMAGE` pixels.
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
        f"{subject} cannot be decoded; it is damaged or cut off, or neither {', '.join(names[:-1])} nor {names[-1]}"
    )


def still_image_kind(content: bytes) -> str | None:
    """Return 'HEIC' or 'AVIF' for the first bytes of such an image, None for everything else."""
    return _STILL_BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None


def image_format(path: Path) -> str | None:
    """Return Pillow's name for a still image in a file; None for all else, animations too."""
    try:
        with PIL.Image.open(path, formats=FILE_FORMATS) as image:  # decodes no pixels
            return None if getattr(image, "is_animated", False) else image.format
    except Exception:  # what readers of damaged headers raise has no common base
        return None


def check_size(width: int, height: int, subject: str = "an image") -> None:
    """Refuse what is no image or too large a one.

    Raises:
        UserError: a side is 0 or longer than `LARGEST_SIDE`, or the whole larger than `LARGEST_IMAGE`.
    """
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and width * height <= LARGEST_IMAGE):
        raise UserError(
            f"{subject} of {width}x{height} pixels cannot be used; sides must be from 1 to {LARGEST_SIDE} pixels and "
            f"the whole at most {LARGEST_IMAGE / 1e6:.0f} megapixels"
        )


def _header(content: bytes, formats: tuple[str, ...], subject: str) -> tuple[tuple[int, int], int] | None:
    """Return width and height [px], and the EXIF orientation, that a header claims; None where there is none."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=formats) as header:  # decodes no pixels
            # OpenCV obeys the orientation of a TIFF whatever it is told
            exif = None if header.format == "TIFF" else header.info.get("exif")
            return header.size, _orientation(exif) if exif else 1
    except PIL.Image.DecompressionBombError:
        raise UserError(f"{subject} claims more than {LARGEST_IMAGE / 1e6:.0f} megapixels and cannot be used") from None
    except Exception:  # what readers of damaged headers raise has no common base
        return None


def _orientation(data: bytes) -> int:
    """Return the orientation that EXIF data has; 1, upright, where it is damaged."""
    exif = PIL.Image.Exif()  # not `getexif`, which decodes a whole PNG to look behind its pixels
    with contextlib.suppress(Exception):  # what readers of damaged data raise has no common base
        exif.load(data)
    return int(exif.get(_EXIF_ORIENTATION, 1))


def _decode_pixels(content: bytes) -> npt.NDArray[Any] | None:
    """Return the (H, W, 3) BGR pixels as stored, of 8 or 16 bits; None where OpenCV cannot decode them.

    Which formats' EXIF orientation OpenCV obeys depends on its version (WebP: not yet in Ubuntu's), so it obeys none.
    """
    data = np.frombuffer(content, dtype=np.uint8)
    for depth in (cv2.IMREAD_ANYDEPTH, 0):  # some files have floats, which only convert to eight bits
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
    """Return whether the end of an image is missing; decoders paint it grey or black, and many say nothing."""
    if content.startswith(b"\xff\xd8"):  # a JPEG's last scan without an end
        return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    if content.startswith(b"RIFF"):
        return len(content) < int.from_bytes(content[4:8], "little") + 8
    if content.startswith(b"BM"):  # some writers leave the size 0
        return len(content) < int.from_bytes(content[2:6], "little")
    return False
