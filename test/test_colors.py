from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from ttt3r_ros import colors


@pytest.mark.parametrize("limit", [5.0, 12.0])
def test_the_colors_are_those_of_matplotlib(limit: float) -> None:
    """And so of Foxglove, which has the same map."""
    depth = np.linspace(0.0, limit, 200, dtype=np.float32).reshape(10, 20)
    expected = matplotlib.colormaps[colors.DEPTH_MAP](depth / limit, bytes=True)[..., :3].astype(int)
    # OpenCV and matplotlib round their tables differently
    assert np.abs(colors.depth_colors(depth, limit) - expected).max() <= 8


def test_far_is_the_end_of_the_map_and_unknown_is_gray() -> None:
    depth = np.array([[0.0, 5.0, 80.0, np.nan, np.inf]], np.float32)
    first, last, beyond, *unknown = colors.depth_colors(depth)[0].tolist()
    assert last == beyond != first
    assert unknown == [list(colors.NO_DEPTH)] * 2


def test_pictures_end_at_the_same_depth_unless_there_is_more_to_see() -> None:
    near, far = np.full((4, 5), 2.0), np.full((4, 5), 9.0)
    speck = np.full((20, 20), 2.0)
    speck[0, 0], speck[1, 1] = 1000.0, np.nan
    assert colors.depth_limit([near]) == colors.MAX_DEPTH_M
    assert colors.depth_limit([speck]) == colors.MAX_DEPTH_M
    assert colors.depth_limit([near, far]) == 9.0
    assert colors.depth_limit([np.full((2, 2), np.nan)]) == colors.MAX_DEPTH_M


def test_hex() -> None:
    assert colors.hex_color((0, 15, 255)) == "#000fff"
