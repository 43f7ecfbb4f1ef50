"""From a camera image to the network's input, and the pixel mapping between the two.

The network expects a fixed long side (or a square) with both sides multiples of 16, resampled as Pillow does: LANCZOS
when shrinking, BICUBIC when enlarging, 8 bits per channel.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.runtime.transfer import shared, upload

try:
    import cv2
except ImportError:  # the benchmarks run without OpenCV; numpy does the same, several times slower
    _HAS_OPENCV = False
else:
    _HAS_OPENCV = True

ImageArray = npt.NDArray[np.uint8]

_NORMALIZED = np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1.0)  # lookup table over gray levels


@dataclass(frozen=True)
class PixelMap:
    """How an input image is scaled and then cropped; sizes are (width, height) in pixels.

    Attributes:
        input_size: of the camera image.
        scaled_size: after scaling.
        offset: (x, y) of the crop in the scaled image.
        size: of the network's image, both sides multiples of 16.
    """

    input_size: tuple[int, int]
    scaled_size: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]

    @property
    def scale(self) -> FloatArray:
        """(2,) network pixels per input pixel, along x and y."""
        return np.array(self.scaled_size, dtype=np.float64) / np.array(self.input_size, dtype=np.float64)

    def to_network(self, pixels: npt.ArrayLike) -> FloatArray:
        """Map (..., 2) pixels (x, y) of the input image to the network's image; pixel centers lie at integers."""
        return np.asarray((np.asarray(pixels) + 0.5) * self.scale - 0.5 - np.array(self.offset), dtype=np.float64)

    def to_input(self, pixels: npt.ArrayLike) -> FloatArray:
        """Map (..., 2) pixels (x, y) of the network's image to the input image; the inverse of `to_network`."""
        return np.asarray((np.asarray(pixels) + np.array(self.offset) + 0.5) / self.scale - 0.5, dtype=np.float64)

    def intrinsics(self, camera: Intrinsics) -> Intrinsics:
        """Return the intrinsics of the network's image, given those of the input image."""
        scale_x, scale_y = (scaled / side for scaled, side in zip(self.scaled_size, self.input_size))
        return Intrinsics(
            fx=scale_x * camera.fx,
            fy=scale_y * camera.fy,
            cx=(camera.cx + 0.5) * scale_x - 0.5 - self.offset[0],
            cy=(camera.cy + 0.5) * scale_y - 0.5 - self.offset[1],
            width=self.size[0],
            height=self.size[1],
        )


def pixel_map(width: int, height: int, *, image_size: int, square: bool = False) -> PixelMap:
    """Return the mapping from an input image of this size to the network's image.

    Args:
        width: of the input [px].
        height: of the input [px].
        image_size: the network's long side, or both sides if ``square`` [px].
        square: scale the short side instead and crop a square from the center.

    Raises:
        UserError: less than 16×16 pixels would remain.
    """
    reference = min(width, height) if square else max(width, height)
    scaled_w, scaled_h = (round(side * image_size / reference) for side in (width, height))
    if square:
        size = (image_size // PATCH * PATCH,) * 2
    else:
        size = (scaled_w // PATCH * PATCH, scaled_h // PATCH * PATCH)
        if scaled_w == scaled_h:  # the published network has never seen a square image
            size = (size[0], int(0.75 * size[0]) // PATCH * PATCH)
    if min(size) < PATCH:
        raise UserError(
            f"an image of {width}x{height} pixels cannot be scaled to image_size {image_size}: fewer than {PATCH} "
            "pixels would remain on one side; use a less elongated image or a larger image_size"
        )
    offset = (scaled_w // 2 - size[0] // 2, scaled_h // 2 - size[1] // 2)
    return PixelMap((width, height), (scaled_w, scaled_h), offset, size)


def resample(image: ImageArray, mapping: PixelMap, device: torch.device) -> Tensor:
    """Scale and crop an image.

    Args:
        image: (H, W, 3) uint8 RGB, of the mapping's input size.
        mapping: from `pixel_map`.
        device: device of the result. On a CPU, torch's antialiased interpolation reproduces Pillow (Pillow itself is
            used if torch lacks the filter); on a GPU, two matrix products do. Both agree with Pillow to within one gray
            level, or two on very few pixels (more on white noise twice as tall as wide, for which Pillow resamples the
            axes in the other order).

    Returns:
        (3, H', W') uint8, RGB planes, on the device.
    """
    if device.type == "cpu" and _torch_has_lanczos():
        return resample_by_torch(image, mapping)
    if device.type == "cpu":
        with contextlib.suppress(ImportError):
            return resample_by_pillow(image, mapping)
    return resample_by_matrices(upload(image, device), mapping)


def resample_by_pillow(image: ImageArray, mapping: PixelMap) -> Tensor:
    """Scale and crop an image with Pillow: the reference, and the fallback for older versions of torch."""
    from PIL import Image  # only needed by tests and with an older torch

    left, top = mapping.offset
    box = (left, top, left + mapping.size[0], top + mapping.size[1])
    kernel = Image.Resampling.LANCZOS if _is_shrinking(mapping) else Image.Resampling.BICUBIC
    scaled = Image.fromarray(image).resize(mapping.scaled_size, kernel)
    return torch.from_numpy(np.array(scaled.crop(box))).permute(2, 0, 1).contiguous()


def resample_by_torch(image: ImageArray, mapping: PixelMap) -> Tensor:
    """Scale and crop an image on the CPU, four times as fast as Pillow."""
    mode = "lanczos" if _is_shrinking(mapping) else "bicubic"
    pixels = shared(image).permute(2, 0, 1)[None]
    scaled = F.interpolate(pixels, size=mapping.scaled_size[::-1], mode=mode, antialias=True)[0]
    left, top = mapping.offset
    return scaled[:, top : top + mapping.size[1], left : left + mapping.size[0]].contiguous()


@lru_cache(maxsize=1)
def _torch_has_lanczos() -> bool:
    try:
        F.interpolate(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), size=(2, 2), mode="lanczos", antialias=True)
    except (NotImplementedError, ValueError, RuntimeError):
        return False
    return True


def resample_by_matrices(image: Tensor, mapping: PixelMap) -> Tensor:
    """Scale and crop an (H, W, 3) uint8 image on its own device; see `resample`."""
    across, down = (
        _resampling_matrix(mapping.input_size[axis], mapping.scaled_size[axis], _is_shrinking(mapping), image.device)[
            mapping.offset[axis] : mapping.offset[axis] + mapping.size[axis]
        ]
        for axis in (0, 1)
    )
    # as in Pillow: along x first, rounding to 8 bits after each pass
    rows = torch.einsum("ow,hwc->cho", across, image.float()).round_().clamp_(0, 255)
    return torch.einsum("oh,chw->cow", down, rows).round_().clamp_(0, 255).to(torch.uint8)


def normalize(planes: Tensor) -> Tensor:
    """Map (3, H, W) uint8 to the network's (1, 3, H, W) float32 in [-1, 1]."""
    if planes.device.type == "cpu" and _HAS_OPENCV:  # one pass instead of three
        rows = cv2.LUT(planes.numpy().reshape(-1, planes.shape[2]), _NORMALIZED)
        return torch.from_numpy(rows).view(1, *planes.shape)
    return planes[None].float().div_(127.5).sub_(1.0)


def interleaved(planes: ImageArray) -> ImageArray:
    """Return (3, H, W) planes as an (H, W, 3) image."""
    if not _HAS_OPENCV:
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    image: ImageArray = cv2.merge(list(planes))
    return image


def _is_shrinking(mapping: PixelMap) -> bool:
    return mapping.scaled_size[0] < mapping.input_size[0] or mapping.scaled_size[1] < mapping.input_size[1]


@lru_cache(maxsize=16)
def _resampling_matrix(source: int, target: int, lanczos: bool, device: torch.device) -> Tensor:
    """Return the (target, source) float32 weights of Pillow's separable filters, which widen when shrinking."""
    scale = source / target
    widening = max(scale, 1.0)
    support = (3.0 if lanczos else 2.0) * widening
    matrix = np.zeros((target, source))
    for row in range(target):
        center = (row + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), source)
        distance = (np.arange(first, last, dtype=np.float64) - center + 0.5) / widening
        weights = _lanczos(distance) if lanczos else _bicubic(distance)
        matrix[row, first:last] = weights / weights.sum()
    return torch.from_numpy(matrix.astype(np.float32)).to(device)


def _lanczos(x: FloatArray) -> FloatArray:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


def _bicubic(x: FloatArray, a: float = -0.5) -> FloatArray:
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def check_image(image: object) -> ImageArray:
    """Check that an image is (H, W, 3) uint8 and not tiny, and return it.

    Raises:
        UserError: it is not.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f"an RGB image must be a numpy array, (H, W, 3) uint8, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or math.prod(image.shape) == 0:
        raise UserError(f"an RGB image must be (H, W, 3) uint8, but this one is {image.shape} {image.dtype}")
    if min(image.shape[:2]) < PATCH:
        height, width = image.shape[:2]
        raise UserError(
            f"an image of {width}x{height} pixels is too small: it needs at least {PATCH} pixels on each side, and a "
            "few hundred to be useful"
        )
    return image
