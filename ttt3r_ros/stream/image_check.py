"""Whether an image shows anything; one that does not would spoil the network's state.

What is refused is refused for a reason that holds in any surroundings: nothing but black or white, no contrast at all,
the same view as before with its detail gone, or the same pixels for longer than a camera can give them. A plain wall, a
night with some lights or a quick turn are none of these.
"""

from __future__ import annotations

import statistics
import zlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: Images are shrunk to this width before they are judged, by averaging, which also takes the sensor's noise away [px].
WIDTH = 160
#: An image is black where all but one pixel in 200 are darker than this; a lens cap is, a lit window at night is not.
BLACK = 16
#: An image is blinded where at least this share of its pixels is as bright as the sensor goes.
WHITE, BLINDED_SHARE = 250, 0.95
#: An image whose pixels (but one in 100 at each end) lie within so many grey levels shows nothing; vignetting alone
#: gives a plain wall more.
MIN_CONTRAST = 4
#: The view is the same as in the frame before where the coarse structure of the two correlates like this...
THUMBNAIL, SAME_VIEW = (10, 8), 0.8
#: ...and it is blurred where no more than this share of the detail usual in the last frames is left, both across and
#: down: what moves quickly is smeared along one direction only.
DETAIL_LEFT, RECENT = 0.3, 15
#: After so many blurred images in a row that is how this camera sees now: better little detail than none.
MAX_BLURRED = 15
#: At least so many rows (as far as there are) are compared with those of the frame before: noise changes each of them.
ROWS = 60

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageState:
    """What is kept of accepted images.

    Attributes:
        thumbnail: (h, w) float32, coarse structure of the last one.
        details: detail of the last ones, across and down, relative to contrast.
        blurred: images refused as blurred since.
        checksum: of the last image's rows, refused or not.
        same_since: stamp of the first image with these pixels [ns].
    """

    thumbnail: FloatImage | None = None
    details: tuple[tuple[float, float], ...] = ()
    blurred: int = 0
    checksum: int | None = None
    same_since: int = 0


def check(
    state: ImageState, image: npt.NDArray[np.uint8], stamp_ns: int, frozen_timeout: float
) -> tuple[str | None, ImageState]:
    """Return why an image must not be used, in one clause (None where it may), and what is known after it.

    Args:
        state: what is known of the images before.
        image: (H, W, 3) uint8 RGB.
        stamp_ns: when it was taken [ns].
        frozen_timeout: for how long a camera may send the same pixels [s]; 0 for as long as it likes.
    """
    reason, state = _check_frozen(state, image, stamp_ns, frozen_timeout)
    if reason:
        return reason, state
    height, width = image.shape[:2]
    size = min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width))
    if width > 4 * WIDTH:  # averages over four by four pixels are enough
        thinned = cv2.resize(image, (4 * size[0], 4 * size[1]), interpolation=cv2.INTER_NEAREST)
    else:
        thinned = image
    gray = _shrunk(cv2.cvtColor(thinned, cv2.COLOR_RGB2GRAY), size)
    up_to = np.cumsum(cv2.calcHist([gray], [0], None, [256], [0, 256]), dtype=np.float64)  # pixels, by gray level
    low, high, brightest = np.searchsorted(up_to, np.multiply(gray.size, (0.01, 0.99, 0.995)))
    if brightest < BLACK:
        return "the image is black", state
    if gray.size - up_to[WHITE - 1] >= BLINDED_SHARE * gray.size:
        return "the image is white: the camera is blinded or overexposed", state
    if high - low < MIN_CONTRAST:
        return "the image has no contrast: the lens is covered or the camera sends an empty picture", state
    return _check_blurred(state, gray)


def _check_blurred(state: ImageState, gray: npt.NDArray[Any]) -> tuple[str | None, ImageState]:
    thumbnail = cv2.resize(gray.astype(np.float32), THUMBNAIL, interpolation=cv2.INTER_AREA)
    structure = (thumbnail - cv2.GaussianBlur(thumbnail, (0, 0), 2.0)).astype(np.float32)
    across, down = _detail(gray)
    if state.thumbnail is not None and state.blurred < MAX_BLURRED:
        usual = [statistics.median(column) + 1e-6 for column in zip(*state.details, strict=True)]
        left = max(across / usual[0], down / usual[1])
        if left < DETAIL_LEFT and _correlation(state.thumbnail, structure) > SAME_VIEW:
            reason = f"the image is blurred: {left:.0%} of the detail of the frames before is left"
            return reason, replace(state, blurred=state.blurred + 1)
    details = () if state.blurred >= MAX_BLURRED else state.details
    return None, replace(state, thumbnail=structure, details=(*details, (across, down))[-RECENT:], blurred=0)


def _check_frozen(
    state: ImageState, image: npt.NDArray[np.uint8], stamp_ns: int, frozen_timeout: float
) -> tuple[str | None, ImageState]:
    checksum = zlib.crc32(image[:: max(1, len(image) // ROWS)].tobytes())
    if checksum != state.checksum or stamp_ns < state.same_since:
        return None, replace(state, checksum=checksum, same_since=stamp_ns)
    seconds = (stamp_ns - state.same_since) * 1e-9
    if frozen_timeout > 0 and seconds > frozen_timeout:
        reason = f"the camera is frozen: the same pixels for {seconds:.1f} s (frozen_timeout is {frozen_timeout:g} s)"
        return reason, state
    return None, state


def _shrunk(gray: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Shrink by averaging, by halves where that is the same: OpenCV is five times as fast at them."""
    while gray.shape[1] % (2 * size[0]) == 0 and gray.shape[0] % (2 * size[1]) == 0:
        gray = cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA)


def _detail(gray: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the mean magnitude of second differences across and down, relative to contrast."""
    across = cv2.Sobel(gray, cv2.CV_16S, 2, 0, ksize=1)[:, 1:-1]  # the borders have but one neighbour
    down = cv2.Sobel(gray, cv2.CV_16S, 0, 2, ksize=1)[1:-1]
    contrast = float(cv2.meanStdDev(gray)[1][0, 0]) + 1e-6
    total = gray.size * contrast
    return _magnitude(across) / total, _magnitude(down) / total


def _magnitude(values: npt.NDArray[Any]) -> float:
    return cv2.norm(values, cv2.NORM_L1) if values.size else 0.0


def _correlation(a: FloatImage, b: FloatImage) -> float:
    """Return Pearson's correlation of two images of one size; 0 where one of them is uniform."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
