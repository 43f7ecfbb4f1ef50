"""Pixels of sensor_msgs/Image and CompressedImage messages, live or recorded, without ROS.

The node and the reader of recordings share this, so that both see the same pixels.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from ttt3r_ros.errors import UserError, quoted

RGBImage = npt.NDArray[np.uint8]

# bayer names: ROS spells the top-left 2×2 pixels, OpenCV the second row's middle ones, hence the crossing
_TO_RGB: dict[str, tuple[int, int | None]] = {
    # encoding: (channels per pixel, OpenCV's conversion to RGB)
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}

LARGEST_SIDE = 16384  #: [px]
LARGEST_IMAGE = 8192 * 8192  #: [px]; a few bytes of PNG can claim, and on decoding take, any number of gigabytes

#: Contents of a CompressedImage, by Pillow's names: what compressed_image_transport and cameras send.
_CONTAINERS = ("JPEG", "PNG", "WEBP", "TIFF")

#: 16-bit encodings, read by their upper byte.
_SIXTEEN_BIT = {"rgb16": "rgb8", "bgr16": "bgr8", "rgba16": "rgba8", "bgra16": "bgra8", "mono16": "mono8"}

#: Half-height chroma planes below the luma plane: (OpenCV's conversion).
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}


def rgb_from_image(message: Any) -> RGBImage:
    """Return the pixels of a sensor_msgs/Image.

    Args:
        message: anything with its fields: height, width, encoding, is_bigendian, step (bytes per row, which may
            be more than the pixels need) and data (a uint8 array).

    Returns:
        (H, W, 3) uint8, RGB, contiguous; of an rgb8 message without padding the very memory, where it may be written.

    Raises:
        UserError: the encoding is no colour or grey image, or the data is shorter than its header says.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    _check_size(width, height)
    try:
        return _decode(message, encoding, height, width)
    except cv2.error as error:  # sides that a layout of colour does not allow, for example
        raise UserError(f"an image of {width}x{height} pixels cannot be read as {quoted(encoding)}") from error


def _decode(message: Any, encoding: str, height: int, width: int) -> RGBImage:
    if encoding in _PLANAR:
        planes = _rows(message, height * 3 // 2, width)
        return cast("RGBImage", cv2.cvtColor(planes, _PLANAR[encoding]))
    if encoding in _SIXTEEN_BIT:
        channels, conversion = _TO_RGB[_SIXTEEN_BIT[encoding]]
        words = _rows(message, height, width * channels * 2).reshape(height, width, channels, 2)
        high_byte = 0 if message.is_bigendian else 1
        pixels = np.ascontiguousarray(words[..., high_byte])
    elif encoding in _TO_RGB:
        channels, conversion = _TO_RGB[encoding]
        pixels = _rows(message, height, width * channels).reshape(height, width, channels)
    else:
        known = ", ".join([*_TO_RGB, *_SIXTEEN_BIT, *_PLANAR])
        raise UserError(f"images encoded as {quoted(encoding)} cannot be read as RGB; use one of {known}")
    if conversion is None:
        return pixels if pixels.flags.c_contiguous and pixels.flags.writeable else pixels.copy()
    return cast("RGBImage", cv2.cvtColor(pixels, conversion))


def rgb_from_compressed(message: Any) -> RGBImage:
    """Return the pixels of a sensor_msgs/CompressedImage (jpeg, png, ...).

    Args:
        message: anything with its fields format and data (a uint8 array).

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UserError: it is depth, video, damaged, or claims more than `LARGEST_IMAGE` pixels.
    """
    if "compressedDepth" in message.format:
        raise UserError("compressedDepth images hold depth, not colour; choose the topic of a colour camera")
    data = np.frombuffer(message.data, dtype=np.uint8)
    content = data.tobytes()
    size = _claimed_size(content)
    image = None
    if size is not None and not _is_jpeg_cut_off(content):
        _check_size(*size)
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(
            f"a compressed image of format {quoted(message.format)} and {data.size} bytes cannot be decoded; "
            "it is damaged or neither jpeg, png, webp nor tiff"
        )
    return cast("RGBImage", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _claimed_size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height [px] that a compressed image's header claims; None where there is no such header."""
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_CONTAINERS) as header:  # decodes no pixels
            return header.size
    except PIL.Image.DecompressionBombError:
        raise UserError(
            f"a compressed image claims more than {LARGEST_IMAGE / 1e6:.0f} megapixels and cannot be used"
        ) from None
    except Exception:  # what readers of damaged headers raise has no common base
        return None


def _is_jpeg_cut_off(content: bytes) -> bool:
    """Return whether a JPEG's last scan has no end; older versions of OpenCV paint what is missing grey."""
    return content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def _check_size(width: int, height: int) -> None:
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and width * height <= LARGEST_IMAGE):
        raise UserError(
            f"an image of {width}x{height} pixels cannot be used; sides must be from 1 to {LARGEST_SIDE} pixels and "
            f"the whole at most {LARGEST_IMAGE / 1e6:.0f} megapixels"
        )


def _rows(message: Any, rows: int, row_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the (rows, row_bytes) bytes of an image without the padding at the end of its rows, in its own memory."""
    step = int(message.step) or row_bytes
    data = np.frombuffer(message.data, dtype=np.uint8)
    # the last row may come without its padding
    needed = step * (rows - 1) + row_bytes if rows else 0
    if step < row_bytes or data.size < needed:
        raise UserError(
            f"an image says {message.width}x{message.height} {quoted(message.encoding)} with {message.step} bytes a row"
            f" but brings {data.size} bytes; it is damaged"
        )
    return np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1))
