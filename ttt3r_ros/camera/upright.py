"""Quarter turns of an image, so that networks, which know upright cameras best, see up as up (docs/adr/0050)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.geometry import FloatArray

#: Share of the vertical that lies in the image's plane: with less, the camera looks up or down, and no turn is upright.
MIN_VERTICAL = 0.5
#: An image is turned another way only when it is this far from upright [rad], so that a camera that rolls to and fro
#: about 45 degrees is not turned to and fro.
TURN_AT = math.radians(60)


def quarter_turns(T_level_camera: FloatArray, present: int = 0) -> int:
    """Return by how many quarter turns, counterclockwise, an image is to be turned to be upright.

    Args:
        T_level_camera: (4, 4) pose of the camera, optical axes, in a frame whose z points up.
        present: quarter turns by which it is turned now.

    Returns:
        0 to 3; `present` where that is upright enough, or where the camera looks up or down.
    """
    right, down = T_level_camera[2, :2]  # the vertical's components along the image's axes
    if math.hypot(right, down) < MIN_VERTICAL:
        return present
    angle = math.atan2(right, -down)
    if abs(math.remainder(angle - present * math.pi / 2, math.tau)) < TURN_AT:
        return present
    return round(angle / (math.pi / 2)) % 4


def turned_axes(turns: int) -> FloatArray:
    """Return the (3, 3) rotation from a camera's optical axes to those of its image after quarter turns of it."""
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return np.linalg.matrix_power(quarter, turns % 4)


def turned(planes: Tensor, turns: int) -> Tensor:
    """Return (C, H, W) planes after quarter turns, counterclockwise; the same ones where there is none."""
    return torch.rot90(planes, turns, (1, 2)).contiguous() if turns else planes
