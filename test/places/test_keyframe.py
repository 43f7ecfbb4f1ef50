"""What the map keeps of a view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np


def test_a_frame_is_kept_small(views):
    keyframe = views[0][0]
    assert keyframe.stride == 2  # 160 columns, of which at most 128 are kept
    assert keyframe.depth.shape == keyframe.confidence.shape == (60, 80)
    assert keyframe.image.shape == (120, 160, 3)
    assert keyframe.nbytes < 60_000
    assert 0.5 < keyframe.median_depth < 10
    assert keyframe.median_depth is keyframe.median_depth  # computed once


def test_an_image_that_cannot_be_decoded_is_black(views):
    broken = replace(views[0][0], jpeg=np.zeros(10, np.uint8))
    assert broken.image.shape == (120, 160, 3)
    assert not broken.image.any()


def test_points_are_interpolated_on_a_surface_and_unknown_at_its_edge(views):
    flat = views[0][0]
    depth = np.full(flat.depth.shape, 2.0, np.float16)
    depth[:, 10:] = 4.0
    flat = replace(flat, depth=depth)
    on, edge = np.array([[5.0, 5.0]]), np.array([[20.0, 5.0]])
    camera = flat.intrinsics
    expected = [[2 * (5 - camera.cx) / camera.fx, 2 * (5 - camera.cy) / camera.fy, 2.0]]
    np.testing.assert_allclose(flat.points(on), expected)
    assert np.isnan(flat.points(edge)[0, 2])
