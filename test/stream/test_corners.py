from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ttt3r_ros.stream.corners import corners_of


def test_a_picture_without_corners_or_points_has_none():
    gray = np.full((120, 160), 100, np.uint8)
    estimate = SimpleNamespace(points=None, confidence=None, intrinsics=None)
    assert corners_of(gray, estimate) is None
    estimate = SimpleNamespace(
        points=np.ones((48, 64, 3), np.float32), confidence=np.full((48, 64), 3.0), intrinsics=object()
    )
    assert corners_of(gray, estimate) is None
