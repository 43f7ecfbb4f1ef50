"""The one small gray image that all checks of a frame look at, and points that are found again in another one."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

GrayImage = npt.NDArray[np.uint8]
FloatImage = npt.NDArray[np.float32]

#: Its width, or the image's own where that is less [px].
WIDTH = 320
#: Size of the windows that are compared, and levels of the pyramid above the image itself.
_WINDOW, _LEVELS = (11, 11), 3


def gray_of(image: npt.NDArray[np.uint8]) -> GrayImage:
    """Return an RGB image (H, W, 3) in gray, averaged down to `WIDTH`."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if gray.shape[1] > WIDTH:
        size = (WIDTH, max(1, round(gray.shape[0] * WIDTH / gray.shape[1])))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def find_again(
    before: GrayImage, after: GrayImage, start: FloatImage, guess: FloatImage
) -> tuple[FloatImage, npt.NDArray[np.bool_]]:
    """Return where points (n, 2) of an image are in another one (n, 2), and which were found (n,).

    By pyramidal Lucas-Kanade (Bouguet 2001), from a guess (n, 2) of where they are.
    """
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, start, guess.copy(), winSize=_WINDOW, maxLevel=_LEVELS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    return np.asarray(there, np.float32), np.asarray(found)[:, 0] == 1
