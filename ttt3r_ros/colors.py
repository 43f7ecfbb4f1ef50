"""The colors of depth, of paths and of a missing measurement: the same in every picture and viewer.

RViz shows depth in gray, over the same range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: Name of the color map in matplotlib and Foxglove: near is blue, far is red.
DEPTH_MAP = "turbo"

#: Depth at the map's end [m], unless a picture shows more than that.
MAX_DEPTH_M = 5.0

#: Colors (red, green, blue): of the odometry's path, the true one and the one that the map has corrected; of recognized
#: places, and of those that the map's graph has rejected; of a pixel without depth.
ESTIMATE = (209, 73, 91)
TRUTH = (48, 99, 142)
CORRECTED = (240, 140, 0)
PLACE, REJECTED = (43, 138, 62), (156, 54, 181)
NO_DEPTH = (230, 230, 230)


def depth_limit(depths: Sequence[npt.NDArray[np.floating[Any]]]) -> float:
    """Return the depth at the end of the color map for images that share one: `MAX_DEPTH_M`, or their far end [m].

    Args:
        depths: (H, W) meters, not finite where there is no measurement. The farthest 1 % of the pixels count as
            outliers.
    """
    values = np.concatenate([depth[np.isfinite(depth)] for depth in depths])
    return max(MAX_DEPTH_M, float(np.percentile(values, 99.0))) if values.size else MAX_DEPTH_M


def depth_colors(depth: npt.NDArray[np.floating[Any]], limit: float = MAX_DEPTH_M) -> npt.NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 RGB picture of a depth image; `NO_DEPTH` where it is not finite.

    Args:
        depth: (H, W) meters.
        limit: depth at the end of the color map [m], > 0; what is farther has the same color.
    """
    known = np.isfinite(depth)
    scaled = np.clip(np.where(known, depth, 0.0) * (255.0 / limit), 0, 255)
    picture = cv2.applyColorMap(np.rint(scaled).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], picture, np.array(NO_DEPTH, np.uint8))


def hex_color(color: tuple[int, int, int]) -> str:
    """Return a color as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)
