"""Pixels that never show the scene: the robot's own body, a lens hood, a clock burnt into the image.

They stand still in every image while the scene moves, which is wrong of everything that an image tells: they are filled
with grey before the network sees them, have no depth and no point, and weigh nothing anywhere.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError
from ttt3r_ros.settings import Settings, parameter

if TYPE_CHECKING:  # it imports torch, and command lines only need the settings
    from ttt3r_ros.camera.preprocess import ImageArray, PixelMap
    from ttt3r_ros.camera.rectify import Rectifier

# Image libraries are imported where they are used: a stream without a mask, in training, needs none.

#: A pixel of a mask is hidden from this gray level on.
HIDDEN = 128
#: What hidden pixels are filled with: the middle of the network's range.
FILL = 128
#: A mask that hides more than this share of the image is refused: it is probably inverted.
MAX_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class MaskSettings(Settings):
    """Which pixels are hidden."""

    title: ClassVar[str] = "mask"

    mask_file: str = parameter(
        "",
        "Image whose white pixels (128 or more) are hidden, such as the robot's body or a lens hood: they have no "
        "depth and no point. It has the size of the camera's images and, like them, their lens distortion; empty for "
        "none. In the node, a mask on ~/mask replaces it.",
        read_only=True,
    )


class Mask:
    """Which pixels of a camera's images are hidden.

    Attributes:
        hidden: (H, W) uint8, 1 where hidden, else 0; not to be changed.
        share: of the pixels that are hidden.
    """

    def __init__(self, gray: npt.NDArray[np.uint8]) -> None:
        """Read a mask.

        Args:
            gray: (H, W), white (128 or more) where the pixel is hidden.

        Raises:
            UserError: it is empty, or hides nearly everything.
        """
        if gray.ndim != 2 or not gray.size:
            raise UserError(f"a mask must be a gray image, but this one is {gray.shape}")
        self.hidden: npt.NDArray[np.uint8] = (gray >= HIDDEN).astype(np.uint8)
        self.share = float(self.hidden.mean())
        if self.share > MAX_SHARE:
            raise UserError(
                f"the mask hides {self.share:.0%} of the image: white is what is hidden and black what is used; "
                "invert it"
            )
        self._visible = lru_cache(maxsize=8)(self._shrunk)
        self._on = lru_cache(maxsize=4)(self._mapped)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) [px]."""
        return self.hidden.shape[1], self.hidden.shape[0]

    @property
    def checksum(self) -> int:
        """Tells masks apart."""
        return zlib.crc32(self.hidden.tobytes(), self.hidden.shape[0])

    def check(self, width: int, height: int) -> None:
        """Check that this is a mask for images of this size.

        Raises:
            UserError: it is not.
        """
        if self.size != (width, height):
            raise UserError(
                f"the mask has {self.size[0]}x{self.size[1]} pixels but the images have {width}x{height}; use a mask "
                "of the same size"
            )

    def filled(self, image: ImageArray) -> ImageArray:
        """Return a copy of an (H, W, 3) image of the mask's size whose hidden pixels are gray."""
        copy = image.copy()
        copy[self.hidden.view(np.bool_)] = FILL
        return copy

    def visible(self, width: int, height: int, margin: int = 0) -> npt.NDArray[np.uint8]:
        """Return (height, width) uint8, 1 at the pixels of a resized image that no hidden one is part of, else 0.

        Args:
            width, height: of the resized image [px].
            margin: pixels as close as this to a hidden one are not visible either [px].
        """
        return self._visible(width, height, margin)

    def on(self, mapping: PixelMap) -> npt.NDArray[np.bool_]:
        """Return (H', W'), True at the pixels of the network's image that a hidden one is part of."""
        return self._on(mapping)

    def rectified(self, rectifier: Rectifier) -> Mask:
        """Return the mask of the undistorted images, given that of the raw ones."""
        return Mask(rectifier.rectify(self.hidden * np.uint8(255)))

    def _shrunk(self, width: int, height: int, margin: int) -> npt.NDArray[np.uint8]:
        import cv2

        share = cv2.resize(self.hidden.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        hidden = share > 0  # of bytes, a share under 1/510 would round to none
        kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
        return np.asarray(cv2.dilate(hidden.astype(np.uint8), kernel) == 0, np.uint8)

    def _mapped(self, mapping: PixelMap) -> npt.NDArray[np.bool_]:
        (left, top), (width, height) = mapping.offset, mapping.size
        hidden = self._shrunk(*mapping.scaled_size, margin=0) == 0
        return np.ascontiguousarray(hidden[top : top + height, left : left + width])


def read_mask(path: str) -> Mask | None:
    """Return the mask in an image file; None for an empty path.

    Raises:
        UserError: the file cannot be read or is no mask.
    """
    if not path:
        return None
    try:
        content = Path(os.path.expanduser(path)).read_bytes()
    except OSError as error:
        raise UserError(f"the mask {path} cannot be read: {error.strerror or error}") from None
    import cv2

    from ttt3r_ros.camera.encoded_image import FILE_FORMATS, decode_image

    image, _ = decode_image(content, SampleRange(), f"the mask {path}", formats=FILE_FORMATS)
    try:
        return Mask(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
    except UserError as error:
        raise UserError(f"the mask {path}: {error}") from None
