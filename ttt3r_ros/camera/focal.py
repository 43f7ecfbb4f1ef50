"""Estimates the focal length of an uncalibrated camera from its pointmaps."""

from __future__ import annotations

import statistics

import numpy as np
import numpy.typing as npt

from ttt3r_ros.geometry import Intrinsics, focal_from_points

#: The focal length is the median over this many frames and then stays fixed, so that a consumer sees one camera.
FOCAL_FRAMES = 30
#: Pixels are subsampled by this factor along each axis before a focal length is fitted to them.
FOCAL_STRIDE = 4
#: Plausible range of the focal length divided by the image's long side (a field of view from 5 to 160 degrees).
FOCAL_RANGE = (0.09, 12.0)
#: The same ratio while no estimate is available: about 58 degrees, a common lens.
ASSUMED_FOCAL = 0.9


def with_focal_of(focals: tuple[float, ...], points: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Append the focal length [px] of an (H, W, 3) pointmap to those found, if more are needed and it is plausible."""
    if len(focals) >= FOCAL_FRAMES:
        return focals
    focal = FOCAL_STRIDE * focal_from_points(points[::FOCAL_STRIDE, ::FOCAL_STRIDE])
    sane = FOCAL_RANGE[0] < focal / max(points.shape[:2]) < FOCAL_RANGE[1]  # NaN compares false
    return (*focals, focal) if sane else focals


def intrinsics_of(focals: tuple[float, ...], width: int, height: int) -> Intrinsics:
    """Return the intrinsics of an image of this size, assuming a common lens if no focal length has been found."""
    focal = statistics.median(focals) if focals else ASSUMED_FOCAL * max(width, height)
    return Intrinsics(focal, focal, width // 2, height // 2, width, height)
