"""Images and true depth as the published evaluation loads them: by Pillow and OpenCV, to the last grey level."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from ttt3r_ros.camera.preprocess import PixelMap, pixel_map, resample_by_pillow
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.protocols.recording import ImageArray, raw_depth

#: Of the color camera of 7-Scenes and of Neural-RGBD, whose images have 640x480 pixels.
SEVEN_SCENES_CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0, 640, 480)
NEURAL_RGBD_CAMERA = Intrinsics(554.2562584220408, 554.2562584220408, 320.0, 240.0, 640, 480)

_UNKNOWN, _MILLIMETERS, _FARTHEST, _NEAREST = 65535, np.float32(1000), 10.0, 0.001


def cropped(image: ImageArray, image_size: int) -> Tensor:
    """Return an image (H, W, 3) uint8 as for poses, (3, H', W'): scaled to fit, cropped to multiples of 16 [px]."""
    return resample_by_pillow(image, pixel_map(image.shape[1], image.shape[0], image_size=image_size))


def squeezed(image: ImageArray, image_size: int) -> Tensor:
    """Return an image as for depth: scaled as by `cropped`, then resampled to multiples of 16, so that all is seen."""
    mapping = pixel_map(image.shape[1], image.shape[0], image_size=image_size)
    whole = PixelMap(mapping.input_size, mapping.scaled_size, (0, 0), mapping.scaled_size)
    scaled = resample_by_pillow(image, whole).permute(1, 2, 0).numpy()
    again = PixelMap(mapping.scaled_size, mapping.size, (0, 0), mapping.size)
    return resample_by_pillow(np.ascontiguousarray(scaled), again)


def reconstruction_view(
    color: Path, depth: Path, camera: Intrinsics, image_size: int
) -> tuple[ImageArray, npt.NDArray[np.float32], Intrinsics]:
    """Return a view as for reconstruction: 4:3, scaled about the principal point in the image's middle.

    Args:
        color, depth: files, the depth in millimetres.
        camera: of the depth image, which color is brought to.
        image_size: the long side [px].

    Returns:
        (H', W', 3) uint8, (H', W') float32 depth [m], 0 where unknown, and the intrinsics of both.

    Raises:
        UserError: a file cannot be read, or has another size.
    """
    raw = raw_depth(depth)
    height, width = raw.shape
    if (width, height) != (camera.width, camera.height):
        raise UserError(f"{depth} has {width}x{height} pixels, the protocol is for {camera.width}x{camera.height}")
    image = cv2.imread(str(color), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{color} cannot be read as an image")
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    meters = np.where(raw == _UNKNOWN, 0, raw).astype(np.float32) / _MILLIMETERS
    meters[(meters > _FARTHEST) | (meters < _NEAREST)] = 0

    out_width, out_height = image_size, image_size * 3 // 4
    scale = max(out_width / width, out_height / height) + 1e-8
    size = int(np.floor(width * scale)), int(np.floor(height * scale))
    pixels = np.array(Image.fromarray(image[..., ::-1]).resize(size, Image.Resampling.LANCZOS))
    meters = np.asarray(cv2.resize(meters, size, interpolation=cv2.INTER_NEAREST), dtype=np.float32)
    left, top = (size[0] - out_width) // 2, (size[1] - out_height) // 2
    part = slice(top, top + out_height), slice(left, left + out_width)
    scaled = Intrinsics(
        scale * camera.fx,
        scale * camera.fy,
        scale * (camera.cx + 0.5) - 0.5 - left,
        scale * (camera.cy + 0.5) - 0.5 - top,
        out_width,
        out_height,
    )
    return pixels[part], meters[part], scaled
