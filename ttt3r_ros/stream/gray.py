"""The one small gray image that all checks of a frame, and the points that are followed, look at."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

GrayImage = npt.NDArray[np.uint8]

#: Its width, or the image's own where that is less [px].
WIDTH = 320


def gray_of(image: npt.NDArray[np.uint8]) -> GrayImage:
    """Return an RGB image (H, W, 3) in gray, averaged down to `WIDTH`."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if gray.shape[1] > WIDTH:
        size = (WIDTH, max(1, round(gray.shape[0] * WIDTH / gray.shape[1])))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)
