"""What the encodings of sensor_msgs/Image mean, and the OpenCV conversions between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np

GENERIC = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([0-9]+))?")
_DTYPES = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
_CHANNELS = {"GRAY": 1, "BGR": 3, "RGB": 3, "BGRA": 4, "RGBA": 4}


@dataclass(frozen=True)
class Encoding:
    """One encoding; ``layout`` names the meaning of its channels, None if they have none (8UC3, 32FC1, ...)."""

    name: str
    dtype: np.dtype
    channels: int
    layout: str | None

    @property
    def opencv_type(self) -> str:
        """Such as 8UC3."""
        return opencv_type(self.dtype, self.channels)


def opencv_type(dtype: np.dtype, channels: int) -> str:
    """Returns OpenCV's name of an element type, such as 8UC3. Raises KeyError for a dtype that OpenCV lacks."""
    depth = {name: depth for depth, name in _DTYPES.items()}[dtype.name]
    return f"{depth}C{channels}"


def _named() -> dict[str, Encoding]:
    layouts = {"mono": "GRAY", "bgr": "BGR", "rgb": "RGB", "bgra": "BGRA", "rgba": "RGBA"}
    layouts |= {f"bayer_{pattern}": f"BAYER_{pattern}" for pattern in ("rggb", "bggr", "gbrg", "grbg")}
    table = {
        f"{name}{bits}": Encoding(f"{name}{bits}", np.dtype(f"uint{bits}"), _CHANNELS.get(layout, 1), layout)
        for name, layout in layouts.items()
        for bits in (8, 16)
    }
    table |= {
        name: Encoding(name, np.dtype("uint8"), 2, layout)
        for name, layout in {"yuv422": "UYVY", "yuv422_yuy2": "YUYV"}.items()
    }
    return table


_NAMED = _named()


def parse(name: str) -> Encoding:
    """Returns the encoding called ``name``. Raises KeyError if there is none."""
    if name in _NAMED:
        return _NAMED[name]
    match = GENERIC.fullmatch(name)
    if not match:
        raise KeyError(f"Unrecognized image encoding [{name}]")
    return Encoding(name, np.dtype(_DTYPES[match[1]]), int(match[2] or 1), None)


def _conversions() -> dict[tuple[str, str], int]:
    table = {
        (source, target): getattr(cv2, f"COLOR_{source}2{target}")
        for source in _CHANNELS
        for target in _CHANNELS
        if source != target
    }
    # OpenCV names a Bayer pattern after its second row, second and third pixel.
    for pattern, opencv_name in {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}.items():
        for target in ("GRAY", "BGR", "RGB"):
            table[f"BAYER_{pattern}", target] = getattr(cv2, f"COLOR_Bayer{opencv_name}2{target}")
    for source in ("UYVY", "YUYV"):
        for target in _CHANNELS:
            table[source, target] = getattr(cv2, f"COLOR_YUV2{target}_{source}")
    return table


CONVERSIONS = _conversions()
