"""Whether the camera stands still, told by its images alone.

Each image is compared with an *anchor*, the last one that had moved, so that slow motion adds up until it shows. Most
of the picture decides: brightness may change along any smooth curve (exposure, gamma, lamps), and a person may walk
through, since both images are compared block by block and medians taken. An image in which there is too little to
compare says nothing, and what says nothing does not stand still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.gray import GrayImage

#: Across and down, so many blocks are compared.
BLOCKS = (10, 8)
#: Smoothing before gradients are taken [px].
BLUR = 1.0
#: The picture has moved when most of it has, by more than this share of its width: at a focal length of 0.7 widths,
#: 0.025 degrees, or 1.3 mm sideways in front of a wall at 3 m.
MAX_SHIFT = 3e-4
#: A shift counts as none only where its standard error is below this multiple of `MAX_SHIFT`.
MAX_ERROR = 1.0
#: A block's detail is the same in both images where so much of its gradients' energy is common to both.
MIN_COMMON = 0.5
#: Differences in brightness that are wider than this are those of lamps, not of edges [px].
LOCAL = 31
#: Gradients weaker than this are no detail [gray levels per pixel, RMS].
MIN_GRADIENT = 0.5
#: A block has changed where its gradients differ by so many times the energy of the sensor's noise, which is that of
#: the quietest fifth of the blocks.
CHANGED, QUIET = 6.0, 0.2
#: So many blocks must have detail that is the same in both images, and no fewer than those that have changed.
MIN_BLOCKS = 12
#: A block counts where this share of it is visible; what is closer to a hidden pixel than the margin is not [px].
MIN_SEEN, MASK_MARGIN = 0.5, 5
#: No block weighs more than so many times as much as the median one.
MAX_WEIGHT = 3.0
#: A camera that has moved stands still again after so long without a shift [s].
SETTLE_S = 0.5

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StillState:
    """What is kept between images.

    Attributes:
        anchor: (h, w) float32, the last image that had moved; None before the first.
        since_ns: its stamp [ns].
        is_still: whether the camera has stood since; a stream begins standing.
    """

    anchor: FloatImage | None = None
    since_ns: int = 0
    is_still: bool = True


def check(state: StillState, gray: GrayImage, stamp_ns: int, mask: Mask | None = None) -> tuple[bool, StillState]:
    """Return whether the camera stands where it stood before this image, and what is known after it.

    Args:
        state: what is known of the images before.
        gray: the image, see `gray_of`.
        stamp_ns: when it was taken [ns].
        mask: of the pixels that do not count; the image is filled there.
    """
    view = _view(gray)
    visible = None if mask is None else mask.visible(view.shape[1], view.shape[0], MASK_MARGIN)
    if state.anchor is None:
        return False, StillState(view, stamp_ns, is_still=state.is_still)
    if state.anchor.shape != view.shape or has_moved(state.anchor, view, visible):
        return False, StillState(view, stamp_ns, is_still=False)
    is_still = state.is_still or stamp_ns - state.since_ns >= SETTLE_S * 1e9
    return is_still, replace(state, is_still=is_still)


def has_moved(anchor: FloatImage, view: FloatImage, visible: npt.NDArray[np.uint8] | None = None) -> bool:
    """Return whether most of a picture has moved, or too little of it can be compared to say that it has not.

    Args:
        anchor, view: (h, w) float32, smoothed gray images.
        visible: (h, w), 0 at the pixels that do not count, else 1; None where all do.
    """
    found = shift(anchor, view, visible)
    if found is None:
        return True
    limit = MAX_SHIFT * view.shape[1]
    return bool(found[0] > limit or found[1] > MAX_ERROR * limit)


def shift(
    anchor: FloatImage, view: FloatImage, visible: npt.NDArray[np.uint8] | None = None
) -> tuple[float, float] | None:
    """Return how far most of a picture has moved, and the standard error of that [px]; None where nothing tells.

    In each block the shift is that of Lucas and Kanade (1981), with the gradients of one image as instruments for those
    of the other: noise is in both but not the same, so that it neither shrinks the shift nor passes for detail. Of the
    blocks' shifts, medians tell how far the picture has moved across, down, outwards and around.
    """
    matched = _with_tones_of(anchor, view, visible)
    difference = view - matched
    if visible is None:
        difference -= cv2.blur(difference, (LOCAL, LOCAL))
        seen = np.ones(BLOCKS[0] * BLOCKS[1])
    else:
        weights = visible.astype(np.float32)
        local = cv2.blur(difference * weights, (LOCAL, LOCAL)) / np.maximum(cv2.blur(weights, (LOCAL, LOCAL)), 1e-3)
        difference -= local
        seen = cv2.resize(weights, BLOCKS, interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    whole = seen >= MIN_SEEN
    if whole.sum() < MIN_BLOCKS:
        return None
    ax, ay = _gradients(matched)
    vx, vy = _gradients(view)
    gx, gy = ax + vx, ay + vy
    products = [ax * vx, ay * vy, ax * vy + ay * vx, (vx - ax) ** 2 + (vy - ay) ** 2]
    products += [gx * difference, gy * difference, gx, gy, difference]
    if visible is not None:
        products = [product * visible for product in products]
    xx, yy, xy, change, xd, yd, mx, my, md = (
        cv2.resize(product, BLOCKS, interpolation=cv2.INTER_AREA).astype(np.float64).ravel()[whole] / seen[whole]
        for product in products
    )
    xx, yy, xy = xx - mx * mx / 4, yy - my * my / 4, xy / 2 - mx * my / 4  # but for a block's own brightness
    xd, yd, noise = (xd - mx * md) / 2, (yd - my * md) / 2, change / 2
    common = xx + yy
    alike = (common > MIN_COMMON * (common + noise)) & (common > MIN_GRADIENT**2) & (xx * yy > xy * xy)
    changed = ~alike & (noise > CHANGED * np.quantile(noise, QUIET)) & (noise > MIN_GRADIENT**2)
    if alike.sum() < max(MIN_BLOCKS, changed.sum()):
        return None
    xx, yy, xy, xd, yd, noise = (part[alike] for part in (xx, yy, xy, xd, yd, noise))
    determinant = xx * yy - xy * xy
    u, v = (xy * yd - yy * xd) / determinant, (xy * xd - xx * yd) / determinant
    weights_u, weights_v = (_bounded(determinant / across / (noise + 1e-3)) for across in (yy, xx))
    return _typical_shift(u, v, weights_u, weights_v, *(part[whole][alike] for part in _places(*view.shape)))


def _typical_shift(
    u: FloatArray, v: FloatArray, weights_u: FloatArray, weights_v: FloatArray, x: FloatArray, y: FloatArray
) -> tuple[float, float]:
    """Return the largest of four medians over the blocks, and of their standard errors [px].

    Args:
        u, v: (n,) shifts of the blocks, across and down.
        weights_u, weights_v: of both.
        x, y: (n,) where the blocks are, from the image's centre.
    """
    shifts, errors = [], []

    def median(values: FloatArray, weights: FloatArray, reach: float = 1.0) -> float:
        middle = weighted_median(values, weights)
        spread = 1.48 * weighted_median(np.abs(values - middle), weights)
        shifts.append(abs(middle) * reach)
        errors.append(1.25 * spread * reach * float(np.sqrt(np.square(weights).sum()) / weights.sum()))
        return middle

    u = u - median(u, weights_u)
    v = v - median(v, weights_v)
    both, weights = np.concatenate([u, v]), np.concatenate([weights_u, weights_v])
    reach = float(np.sqrt(np.mean(x * x + y * y)))
    for arm in (np.concatenate([x, y]), np.concatenate([-y, x])):  # outwards, around
        far = np.abs(arm) > 0.2 * reach
        median(both[far] / arm[far], weights[far] * arm[far] ** 2, reach)
    shifts.append(weighted_median(np.abs(both), weights) - 2 * max(errors))  # not together, but most of it
    return max(shifts), max(errors)


def _bounded(weights: FloatArray) -> FloatArray:
    """Keep a few blocks full of detail from deciding alone."""
    return np.minimum(weights, MAX_WEIGHT * np.median(weights))


def weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """Return the value at which half of the weight lies on either side."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def _view(gray: GrayImage) -> FloatImage:
    return cv2.GaussianBlur(gray.astype(np.float32), (0, 0), BLUR).astype(np.float32)


def _gradients(image: FloatImage) -> tuple[Any, Any]:
    return (
        cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8),
        cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8),
    )


def _with_tones_of(anchor: FloatImage, view: FloatImage, visible: npt.NDArray[np.uint8] | None) -> FloatImage:
    """Return the anchor as bright as the view: the cubic of its gray levels that comes nearest to most of the view."""
    a, v = anchor[::4, ::4].ravel() / 128 - 1, view[::4, ::4].ravel()
    if visible is not None:
        counts = visible[::4, ::4].ravel() > 0
        a, v = a[counts], v[counts]
    powers = np.stack([np.ones_like(a), a, a * a, a * a * a], axis=1).astype(np.float64)
    known = np.ones(len(a), dtype=bool)
    cubic = np.array([128.0, 128.0, 0.0, 0.0])
    for _ in range(3):
        some = powers[known]
        normal = some.T @ some + 1e-3 * np.eye(4)
        cubic = np.linalg.solve(normal, some.T @ v[known] + 1e-3 * np.array([128.0, 128.0, 0.0, 0.0]))
        misfit = np.abs(v - powers @ cubic)
        known = misfit <= 3 * np.median(misfit) + 1e-3
    x = anchor / 128 - 1
    c0, c1, c2, c3 = cubic.astype(np.float32)
    return np.asarray(((c3 * x + c2) * x + c1) * x + c0, dtype=np.float32)


def _places(height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Return the blocks' centres, from the image's [px]."""
    x = ((np.arange(BLOCKS[0]) + 0.5) / BLOCKS[0] - 0.5) * width
    y = ((np.arange(BLOCKS[1]) + 0.5) / BLOCKS[1] - 0.5) * height
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x.ravel(), grid_y.ravel()
