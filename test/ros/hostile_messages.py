"""Strategies for messages as no camera should send them, each with whether a node may answer it.

Whether a message is valid is worked out here from the definitions of sensor_msgs and of the image formats, never by
asking the code under test.
"""

from __future__ import annotations

import array
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

#: Bytes per pixel of the encodings that can be read as colour or grey.
PACKED = {
    **dict.fromkeys(["rgb8", "bgr8", "8UC3"], 3),
    **dict.fromkeys(["rgba8", "bgra8", "8UC4"], 4),
    **dict.fromkeys(["mono8", "8UC1", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"], 1),
    **dict.fromkeys(["yuv422", "uyvy", "yuv422_yuy2", "yuyv"], 2),
    **{"rgb16": 6, "bgr16": 6, "rgba16": 8, "bgra16": 8, "mono16": 2},
    **dict.fromkeys(["bayer_rggb16", "bayer_bggr16", "bayer_gbrg16", "bayer_grbg16"], 2),
}
PLANAR = ["nv12", "nv21"]
KNOWN = [*PACKED, *PLANAR]
UNKNOWN = [
    *["", " ", "kraken", "RGB8", "rgb8 ", "rgb", "jpeg", "png", "bayer_rggb12", "8UC2", "8SC1", "16SC1", "16UC1"],
    *["nv42", "32SC1", "32FC1", "32FC3", "64FC1", "64FC4", "8UC65535", "%s%n{0}", "é漢🦑", "x" * 5000],
    "\n[ERROR] forged: a line of the log",
]
LONG_SIDE = 64  #: of the test network's image [px]
MAX_DATA = 400_000  #: bytes filled in a generated message

GOOD_FRAMES = ["camera", "camera", "camera", "", "other_camera", "with space", "ünï_çödé", "/slash"]
FOREIGN_FRAME = "odom"
ABSURD_STAMPS = [(-1, 0), (-(2**31), 0), (5, 10**9), (0, 2**32 - 1), (2**31 - 1, 2**32 - 1), (-5, 2**32 - 1)]
STRANGE_STAMPS = [(2**31 - 1, 999_999_999), (1, 1)]  #: the end of time, and before all others that a test sends


@dataclass(frozen=True)
class Case:
    """A message, and whether it holds an image that a node must answer with odometry."""

    message: Any
    valid: bool


def data(size: int, fill: int) -> array.array:
    """Return bytes that look like noise; fill 255 makes every float in them NaN."""
    if fill == 255:
        return array.array("B", b"\xff" * size)
    return array.array("B", (np.arange(size, dtype=np.uint32) * (2 * fill + 1) >> 3).astype(np.uint8).tobytes())


def fits_the_network(width: int, height: int) -> bool:
    """Return whether enough of an image is left once its long side is the network's."""
    return min(width, height) >= 16 and round(min(width, height) * LONG_SIDE / max(width, height)) >= 16


def layout(encoding: str, width: int, height: int) -> tuple[int, int] | None:
    """Return the rows and the bytes per row of an image; None where the encoding has no such size."""
    if encoding in PLANAR:
        return (height * 3 // 2, width) if width % 2 == height % 2 == 0 else None
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv") and width % 2:
        return None
    return height, width * PACKED[encoding]


headers = st.one_of(
    st.tuples(st.none(), st.sampled_from(GOOD_FRAMES)),
    st.tuples(st.sampled_from([None, *ABSURD_STAMPS, *STRANGE_STAMPS]), st.sampled_from([*GOOD_FRAMES, FOREIGN_FRAME])),
)
small = st.integers(1, 96)
sides = st.one_of(small, small, small, st.sampled_from([0, 1, 2, 3, 8191, 8192]), st.integers(0, 8192))


def _header(stamp: tuple[int, int] | None, frame_id: str) -> tuple[Header, bool]:
    """Return a header, whose stamp is empty where the sender is to choose one, and whether it can be used.

    A stamp that does not follow on the last one cannot.
    """
    valid = stamp is None and frame_id != FOREIGN_FRAME
    return Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]) if stamp else Time(), frame_id=frame_id), valid


@st.composite
def images(draw: st.DrawFn) -> Case:
    """sensor_msgs/Image of every encoding, size, step and length of data."""
    encoding = draw(st.one_of(st.sampled_from(KNOWN), st.sampled_from(KNOWN), st.sampled_from(UNKNOWN)))
    if draw(st.booleans()):  # a likely image, so that not all fail for their size alone
        width, height = draw(st.sampled_from([(80, 60), (60, 80), (64, 64), (33, 31), (2, 2), (96, 24), (90, 19)]))
    else:
        width, height = draw(sides), draw(sides)
    header, valid = _header(*draw(headers))
    found = layout(encoding, width, height) if encoding in KNOWN else (height, width)
    valid = valid and found is not None and encoding in KNOWN and fits_the_network(width, height)
    rows, row_bytes = found or (height, width)
    step = draw(st.sampled_from(["right", "right", "right", "padded", "none", "short", "huge"]))
    steps = {"right": row_bytes, "padded": row_bytes + 7, "none": 0, "short": max(row_bytes - 1, 0), "huge": 2**32 - 1}
    stride = steps[step] or row_bytes
    needed = stride * (rows - 1) + row_bytes if rows else 0
    valid = valid and stride >= row_bytes
    size = {
        "exact": needed,
        "padded": stride * rows,
        "oversized": needed + 1000,
        "truncated": needed - 1,
        "half": needed // 2,
        "empty": 0,
    }[draw(st.sampled_from(["exact", "exact", "exact", "padded", "oversized", "truncated", "half", "empty"]))]
    size = min(max(size, 0), MAX_DATA)
    message = Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=draw(st.sampled_from([0, 1, 255])),
        step=steps[step],
        data=data(size, draw(st.sampled_from([0, 3, 255]))),
    )
    return Case(message, bool(valid and size >= needed))


def png_that_claims(width: int, height: int, color: int = 2) -> bytes:
    """Return a PNG with a correct header and next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def jpeg_that_claims(width: int, height: int) -> bytes:
    """Return a small JPEG whose header has been given another size."""
    encoded = bytearray(_encoded(".jpg", 16, 16))
    start = encoded.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    encoded[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(encoded)


def _encoded(codec: str, width: int, height: int) -> bytes:
    image = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(codec, image)[1].tobytes()


WHOLE = {(codec, size): _encoded(codec, *size) for codec in (".jpg", ".png", ".webp") for size in ((80, 60), (96, 32))}
BOMBS = [
    *[png_that_claims(*size) for size in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 0), (100_000, 1))],
    png_that_claims(16_000, 16_000, color=0),
    *[jpeg_that_claims(*size) for size in ((65_535, 65_535), (30_000, 30_000), (0, 16))],
]


@st.composite
def compressed_images(draw: st.DrawFn) -> Case:
    """sensor_msgs/CompressedImage: whole, cut off, overwritten, empty, or claiming gigabytes."""
    header, valid = _header(*draw(headers))
    (codec, size) = draw(st.sampled_from(list(WHOLE)))
    content = WHOLE[codec, size]
    what = draw(st.sampled_from(["whole", "whole", "cut", "overwritten", "bomb", "empty", "noise"]))
    if what == "cut":
        content = content[: draw(st.integers(0, len(content) - 12))]
    elif what == "overwritten":  # its header: pixels alone may turn into other pixels, and nobody can tell
        content = draw(st.binary(min_size=16, max_size=16)) + content[16:]
    elif what == "bomb":
        content = draw(st.sampled_from(BOMBS))
    elif what == "empty":
        content = b""
    elif what == "noise":
        content = draw(st.binary(max_size=200))
    formats = ["jpeg", "png", "rgb8; jpeg compressed bgr8", "", "h264", "\n[ERROR] forged", "x" * 5000]
    name = draw(st.sampled_from([*formats, "16UC1; compressedDepth"]))
    message = CompressedImage(header=header, format=name, data=array.array("B", content))
    return Case(message, valid and what == "whole" and "compressedDepth" not in name)


numbers = st.sampled_from([0.0, -1.0, 70.0, 40.0, 1e-300, 1e300, -70.0, float("nan"), float("inf"), float("-inf")])
MODELS = [
    "plumb_bob",
    "rational_polynomial",
    "equidistant",
    "thin_prism",
    "",
    "fisheye",
    "x" * 5000,
    "\n[ERROR] forged",
]


@st.composite
def camera_infos(draw: st.DrawFn) -> CameraInfo:
    """sensor_msgs/CameraInfo: zeros, no numbers, negative focal lengths, other sizes, any distortion."""
    message = CameraInfo(
        width=draw(st.sampled_from([80, 80, 80, 0, 640, 2**32 - 1])),
        height=draw(st.sampled_from([60, 60, 60, 0, 480, 2**32 - 1])),
        distortion_model=draw(st.sampled_from(MODELS)),
        binning_x=draw(st.sampled_from([0, 0, 1, 2, 2**32 - 1])),
        binning_y=draw(st.sampled_from([0, 0, 1, 2, 2**32 - 1])),
    )
    fx, fy, cx, cy, other = (draw(st.one_of(st.sampled_from([70.0, 41.0]), numbers)) for _ in range(5))
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    if draw(st.booleans()):
        message.p = [fx, 0.0, cx, other, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    coefficient = st.one_of(st.sampled_from([-0.3, 0.1, 0.0]), numbers)
    message.d = draw(st.lists(coefficient, max_size=14))
    if draw(st.booleans()):
        far = draw(st.sampled_from([0, 1, 2**32 - 1]))
        message.roi = RegionOfInterest(x_offset=far, y_offset=far, width=draw(st.sampled_from([0, 80, 40])), height=60)
    return message
