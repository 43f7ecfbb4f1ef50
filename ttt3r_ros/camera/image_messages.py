"""Decodes sensor_msgs/Image and CompressedImage messages, live or recorded. No ROS.

The node and the bag reader share this module, so that both see the same pixels.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.encoded_image import RGBImage, check_size, decode_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError, quoted

# Bayer names differ: ROS names the top-left 2×2 pixels, OpenCV the second and third pixels of the second row
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

#: Encodings with 16 bits per sample, and the 8-bit encoding to convert each to once its range is known.
_SIXTEEN_BIT = {
    "rgb16": "rgb8",
    "bgr16": "bgr8",
    "rgba16": "rgba8",
    "bgra16": "bgra8",
    "mono16": "mono8",
    "bayer_rggb16": "bayer_rggb8",
    "bayer_bggr16": "bayer_bggr8",
    "bayer_gbrg16": "bayer_gbrg8",
    "bayer_grbg16": "bayer_grbg8",
}

#: Encodings with chroma planes after the luma plane: OpenCV's conversion, and for each plane its height relative to the
#: image and its bytes per pixel of a row.
_PLANAR: dict[str, tuple[int, tuple[tuple[float, float], ...]]] = {
    "nv12": (cv2.COLOR_YUV2RGB_NV12, ((1, 1), (0.5, 1))),
    "nv21": (cv2.COLOR_YUV2RGB_NV21, ((1, 1), (0.5, 1))),
    "nv24": (cv2.COLOR_YUV2RGB_NV12, ((1, 1), (1, 2))),
    "i420": (cv2.COLOR_YUV2RGB_I420, ((1, 1), (0.5, 0.5), (0.5, 0.5))),
    "yv12": (cv2.COLOR_YUV2RGB_YV12, ((1, 1), (0.5, 0.5), (0.5, 0.5))),
}


def read_image(message: Any, held: SampleRange) -> tuple[RGBImage, SampleRange]:
    """Return the pixels of a sensor_msgs/Image.

    Args:
        message: anything with its fields: height, width, encoding, is_bigendian, step (bytes per row, which may
            be more than the pixels need) and data (a uint8 array).
        held: the range of the camera's 16-bit samples so far.

    Returns:
        (H, W, 3) uint8, RGB, contiguous; shares the message's memory if that is rgb8, unpadded and writable.
        And the range of 16-bit samples after this image.

    Raises:
        UserError: the encoding is not one of a color or gray image, or the data is shorter than the header says.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    check_size(width, height)
    try:
        return _decode(message, encoding, height, width, held)
    except cv2.error as error:  # for example a width or height that the encoding does not allow
        raise UserError(f"an image of {width}x{height} pixels cannot be read as {quoted(encoding)}") from error


def read_compressed(message: Any, held: SampleRange) -> tuple[RGBImage, SampleRange]:
    """Return the pixels of a sensor_msgs/CompressedImage (jpeg, png, ...), upright.

    Args:
        message: anything with its fields format and data (a uint8 array).
        held: the range of the camera's 16-bit samples so far.

    Returns:
        (H, W, 3) uint8, RGB; and the range of 16-bit samples after this image.

    Raises:
        UserError: it is depth, video, damaged, or claims more than `MAX_PIXELS` pixels.
    """
    if "compressedDepth" in message.format:
        raise UserError("compressedDepth images contain depth, not color; choose the topic of a color camera")
    content = np.frombuffer(message.data, dtype=np.uint8).tobytes()
    return decode_image(
        content, held, f"a compressed image of format {quoted(message.format)} and {len(content)} bytes"
    )


def _decode(message: Any, encoding: str, height: int, width: int, held: SampleRange) -> tuple[RGBImage, SampleRange]:
    if encoding in _PLANAR:
        return _from_planes(message, encoding, height, width), held
    if encoding in _SIXTEEN_BIT:
        channels, conversion = _TO_RGB[_SIXTEEN_BIT[encoding]]
        words = np.ascontiguousarray(_rows(message, height, width * channels * 2))
        samples = words.view(">u2" if message.is_bigendian else "<u2").reshape(height, width, channels)
        held = held.widened(samples[..., :3])  # ignore the alpha channel
        pixels = held.to_8_bits(samples)
    elif encoding in _TO_RGB:
        channels, conversion = _TO_RGB[encoding]
        pixels = _rows(message, height, width * channels).reshape(height, width, channels)
    else:
        known = ", ".join([*_TO_RGB, *_SIXTEEN_BIT, *_PLANAR])
        raise UserError(f"images encoded as {quoted(encoding)} cannot be read as RGB; use one of {known}")
    if conversion is None:
        return (pixels if pixels.flags.c_contiguous and pixels.flags.writeable else pixels.copy()), held
    return cast("RGBImage", cv2.cvtColor(pixels, conversion)), held


def _from_planes(message: Any, encoding: str, height: int, width: int) -> RGBImage:
    if height % 2 or width % 2:  # each chroma sample covers two rows and two columns
        raise UserError(f"an image of {width}x{height} pixels cannot be read as {quoted(encoding)}")
    conversion, layout = _PLANAR[encoding]
    step, first, planes = int(message.step) or width, 0, []
    for height_factor, width_factor in layout:
        rows, row_bytes, row_step = int(height * height_factor), int(width * width_factor), int(step * width_factor)
        planes.append(_rows(message, rows, row_bytes, step=row_step, first=first))
        first += rows * row_step
    if encoding == "nv24":  # has full-resolution chroma; OpenCV expects it subsampled by two
        chroma = np.ascontiguousarray(planes[1]).reshape(height, width, 2)
        planes[1] = cv2.resize(chroma, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8)
    stacked = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, width)
    return cast("RGBImage", cv2.cvtColor(stacked, conversion))


def _rows(message: Any, rows: int, row_bytes: int, *, step: int | None = None, first: int = 0) -> npt.NDArray[np.uint8]:
    """Return the (rows, row_bytes) bytes of a plane without row padding, as a view."""
    step = step or int(message.step) or row_bytes
    data = np.frombuffer(message.data, dtype=np.uint8)
    # the last row may lack its padding
    needed = first + (step * (rows - 1) + row_bytes if rows else 0)
    if step < row_bytes or data.size < needed:
        raise UserError(
            f"an image is damaged: its header says {message.width}x{message.height} {quoted(message.encoding)} with "
            f"{message.step} bytes per row, but it has {data.size} bytes"
        )
    return np.lib.stride_tricks.as_strided(data[first:], (rows, row_bytes), (step, 1))
