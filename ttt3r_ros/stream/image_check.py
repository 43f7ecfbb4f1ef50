"""Rejects images without content, which would corrupt the network's state.

The reasons for rejection hold in any environment: all black or white, no contrast, the same view as before without its
detail, or identical pixels for longer than a camera can send them. A plain wall, a night scene with some lights, or a
quick turn pass.
"""

from __future__ import annotations

import math
import statistics
import zlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.stream.gray import GrayImage

#: Width to which images are downsampled for the checks, by averaging, which also suppresses sensor noise [px].
WIDTH = 160
#: An image is black if all but one in 200 pixels are darker than this; a lit window at night is enough to pass.
BLACK = 16
#: An image is overexposed if at least this fraction of its pixels is saturated.
WHITE, BLINDED_SHARE = 250, 0.95
#: An image has no content if its gray levels (without the extreme 1 % at each end) span less than this; even a plain
#: wall spans more through vignetting.
MIN_CONTRAST = 4
#: An image shows the same view as the frame before if their coarse structures have at least this correlation...
THUMBNAIL, SAME_VIEW = (10, 8), 0.8
#: ...and is blurred if less than this fraction of the recent frames' detail is left both horizontally and vertically;
#: motion blur smears in one direction only.
DETAIL_LEFT, RECENT = 0.3, 15
#: Of the noise that is found, this share of its power counts as noise of the image in question, whose detail is judged
#: from above, and all of it in earlier images, whose detail is judged from below: on a plain wall all detail is noise.
NOISE_IN_DETAIL = 0.6
#: At least this share of an image's detail is not noise, even if noise could explain it: it may be a fine texture.
MIN_CLEAN = 0.4
#: After this many blurred images in a row, blur counts as normal for this camera: little detail is better than none.
MAX_BLURRED = 15
#: At least this many rows (if the image has them) are compared with the frame before; noise changes every row.
ROWS = 60

#: Responds to noise of standard deviation 1 with 6, and to straight edges with 0...
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
#: ...so this is the mean magnitude of second differences of noise over the median magnitude of the response to it.
_DETAIL_PER_RESPONSE = math.sqrt(6.0) * 0.7979 / (6.0 * 0.6745)

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageState:
    """What the check knows about earlier images.

    Attributes:
        thumbnail: (h, w) float32, coarse structure of the last accepted image.
        details: horizontal and vertical detail of the last accepted images without their noise, relative to contrast.
        blurred: images rejected as blurred since then.
        checksum: of the last image's rows, accepted or not.
        same_since: stamp of the first image with these pixels [ns].
    """

    thumbnail: FloatImage | None = None
    details: tuple[tuple[float, float], ...] = ()
    blurred: int = 0
    checksum: int | None = None
    same_since: int = 0


def check(
    state: ImageState,
    image: npt.NDArray[np.uint8],
    gray: GrayImage,
    stamp_ns: int,
    frozen_timeout: float,
    mask: Mask | None = None,
) -> tuple[str | None, ImageState]:
    """Return why an image must not be used (one clause, or None), and the new state.

    Args:
        state: state after the images before.
        image: (H, W, 3) uint8 RGB.
        gray: the same image, see `gray_of`.
        stamp_ns: stamp of the image [ns].
        frozen_timeout: longest time for which a camera may send the same pixels [s]; 0 for no limit.
        mask: of the pixels that do not count; the image is filled there.
    """
    frozen, state = _check_frozen(state, image, stamp_ns, frozen_timeout)
    height, width = gray.shape
    size = min(WIDTH, width), max(1, round(height * min(WIDTH, width) / width))
    gray = np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)
    visible = None if mask is None else mask.visible(*size)
    up_to = np.cumsum(cv2.calcHist([gray], [0], visible, [256], [0, 256]), dtype=np.float64)  # pixels, by gray level
    pixels = up_to[-1]
    if not pixels:
        return frozen, state
    low, high, brightest = np.searchsorted(up_to, np.multiply(pixels, (0.01, 0.99, 0.995)))
    if brightest < BLACK:
        return "the image is black", state
    if pixels - up_to[WHITE - 1] >= BLINDED_SHARE * pixels:
        return "the image is white: the camera is overexposed or blinded by light", state
    if high - low < MIN_CONTRAST:
        return "the image has no contrast: the lens is covered or the camera sends empty images", state
    if frozen:  # after these, which say more
        return frozen, state
    return _check_blurred(state, gray, visible)


def _check_blurred(
    state: ImageState, gray: npt.NDArray[Any], visible: npt.NDArray[np.uint8] | None
) -> tuple[str | None, ImageState]:
    structure = _structure(gray, visible)
    details, noise = _detail(gray, visible), _detail_of_noise(gray, visible)
    if state.thumbnail is not None and state.blurred < MAX_BLURRED:
        usual = [statistics.median(column) + 1e-6 for column in zip(*state.details, strict=True)]
        left = max(_without(noise, detail, NOISE_IN_DETAIL) / before for detail, before in zip(details, usual))
        if left < DETAIL_LEFT and _correlation(state.thumbnail, structure) > SAME_VIEW:
            reason = f"the image is blurred: it has {left:.0%} of the detail of earlier frames"
            return reason, replace(state, blurred=state.blurred + 1)
    clean = _without(noise, details[0]), _without(noise, details[1])
    earlier = () if state.blurred >= MAX_BLURRED else state.details
    return None, replace(state, thumbnail=structure, details=(*earlier, clean)[-RECENT:], blurred=0)


def _check_frozen(
    state: ImageState, image: npt.NDArray[np.uint8], stamp_ns: int, frozen_timeout: float
) -> tuple[str | None, ImageState]:
    checksum = zlib.crc32(image[:: max(1, len(image) // ROWS)].tobytes())
    if checksum != state.checksum or stamp_ns < state.same_since:
        return None, replace(state, checksum=checksum, same_since=stamp_ns)
    seconds = (stamp_ns - state.same_since) * 1e-9
    if frozen_timeout > 0 and seconds > frozen_timeout:
        reason = f"the camera is frozen: identical pixels for {seconds:.1f} s (frozen_timeout is {frozen_timeout:g} s)"
        return reason, state
    return None, state


def _structure(gray: npt.NDArray[Any], visible: npt.NDArray[np.uint8] | None) -> FloatImage:
    """Return an image's coarse structure, in cells of which at least half is visible; 0 in the others."""
    pixels = gray.astype(np.float32)
    if visible is None:
        thumbnail = cv2.resize(pixels, THUMBNAIL, interpolation=cv2.INTER_AREA)
        return (thumbnail - cv2.GaussianBlur(thumbnail, (0, 0), 2.0)).astype(np.float32)
    sums, shares = (
        cv2.resize(part, THUMBNAIL, interpolation=cv2.INTER_AREA)
        for part in (pixels * visible, visible.astype(np.float32))
    )
    known = shares >= 0.5
    thumbnail = np.where(known, sums / np.maximum(shares, 0.5), sums.sum() / max(shares.sum(), 1e-6))
    thumbnail = thumbnail.astype(np.float32)
    return np.where(known, thumbnail - cv2.GaussianBlur(thumbnail, (0, 0), 2.0), 0).astype(np.float32)


def _detail(gray: npt.NDArray[Any], visible: npt.NDArray[np.uint8] | None) -> tuple[float, float]:
    """Return the mean magnitude of horizontal and vertical second differences, relative to contrast."""
    across = cv2.Sobel(gray, cv2.CV_16S, 2, 0, ksize=1)
    down = cv2.Sobel(gray, cv2.CV_16S, 0, 2, ksize=1)
    if visible is not None:  # and the pixels beside them are
        inner = cv2.erode(visible, np.ones((3, 3), np.uint8))
        across, down = across * inner, down * inner
    across, down = across[:, 1:-1], down[1:-1]  # border pixels lack a neighbor
    contrast = float(cv2.meanStdDev(gray, mask=visible)[1][0, 0]) + 1e-6
    total = (gray.size if visible is None else int(visible.sum())) * contrast
    return _magnitude(across) / total, _magnitude(down) / total


def _detail_of_noise(gray: npt.NDArray[Any], visible: npt.NDArray[np.uint8] | None) -> float:
    """Return the detail that white noise alone would have, whose strength is found where the image is smooth.

    Source: Immerkær, "Fast Noise Variance Estimation", 1996, whose kernel does not respond to edges; here with the
    median, which passes over corners. A fine, even texture counts as noise too.
    """
    response = cv2.convertScaleAbs(cv2.filter2D(gray, cv2.CV_16S, _NOISE_KERNEL))
    inner = None if visible is None else cv2.erode(visible, np.ones((3, 3), np.uint8))
    up_to = np.cumsum(cv2.calcHist([response], [0], inner, [256], [0, 256]))
    contrast = float(cv2.meanStdDev(gray, mask=visible)[1][0, 0]) + 1e-6
    return _DETAIL_PER_RESPONSE * float(np.searchsorted(up_to, up_to[-1] / 2)) / contrast


def _without(noise: float, detail: float, share: float = 1.0) -> float:
    """Return detail without this share of the noise's power: all of it for a lower bound, less for an upper one."""
    return math.sqrt(max(detail**2 - share * noise**2, (MIN_CLEAN * detail) ** 2))


def _magnitude(values: npt.NDArray[Any]) -> float:
    return cv2.norm(values, cv2.NORM_L1) if values.size else 0.0


def _correlation(a: FloatImage, b: FloatImage) -> float:
    """Return Pearson's correlation of two images of equal size; 0 if one of them is uniform."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
