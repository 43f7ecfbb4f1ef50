from __future__ import annotations

import numpy as np

from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.mapping.cloud import colored_points, depth_in_millimeters, masked_depth, why_no_depth

NAN = np.float32(np.nan)


def test_untrusted_depth_becomes_nan_and_the_original_stays():
    depth = np.array([[1.0, -1.0, 0.0, 9.0, 2.0, NAN, np.inf]], dtype=np.float32)
    confidence = np.array([[2.0, 2.0, 2.0, 2.0, 1.2, 2.0, 2.0]], dtype=np.float32)
    masked = masked_depth(depth, confidence, min_confidence=1.5, max_depth=8.0)
    np.testing.assert_array_equal(masked, [[1.0, NAN, NAN, NAN, NAN, NAN, NAN]])
    assert masked.dtype == np.float32
    assert depth[0, 1] == -1.0
    memory = np.full_like(depth, 7.0)
    assert masked_depth(depth, confidence, min_confidence=1.5, max_depth=8.0, out=memory) is memory
    np.testing.assert_array_equal(memory, masked)


def test_why_no_pixel_has_a_depth():
    why = why_no_depth(2.0, 3.0, 30.0)
    assert why == "no pixel has a depth: the largest confidence is 2 and min_confidence is 3; lower it"
    assert "all are farther away than max_depth, 0.01 m" in why_no_depth(2.0, 1.5, 0.01)


def test_millimeters_are_rounded_and_zero_means_none():
    depth = np.array([[1.2345, NAN, 65.535, 65.6, 0.0004]], dtype=np.float32)
    millimeters = depth_in_millimeters(depth)
    assert millimeters.dtype == np.uint16
    assert millimeters.tolist() == [[1234, 0, 65535, 0, 0]]


def test_the_cloud_projects_onto_the_pixel_grid_and_keeps_colors():
    rng = np.random.default_rng(0)
    camera = Intrinsics(40.0, 42.0, 15.2, 11.7, 32, 24)
    depth = rng.uniform(1, 4, (24, 32)).astype(np.float32)
    depth[3, 5] = NAN
    confidence = rng.uniform(1, 3, (24, 32)).astype(np.float32)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for stride in (1, 3):
        cloud = colored_points(depth, confidence, image, camera, stride=stride)
        v, u = np.mgrid[0:24:stride, 0:32:stride]
        assert cloud.shape == v.shape
        known = np.isfinite(cloud["z"])
        np.testing.assert_allclose((cloud["x"] / cloud["z"] * 40.0 + 15.2)[known], u[known], atol=1e-4)
        np.testing.assert_allclose((cloud["y"] / cloud["z"] * 42.0 + 11.7)[known], v[known], atol=1e-4)
        assert np.array_equal(cloud["confidence"], confidence[::stride, ::stride])
        channels = np.stack([cloud["rgb"] >> 16 & 255, cloud["rgb"] >> 8 & 255, cloud["rgb"] & 255], axis=-1)
        assert np.array_equal(channels, image[::stride, ::stride])
        memory = np.empty_like(cloud)
        assert colored_points(depth, confidence, image, camera, stride=stride, out=memory) is memory
        assert memory.tobytes() == cloud.tobytes()
    hole = colored_points(depth, confidence, image, camera)[3, 5]
    assert np.isnan([hole["x"], hole["y"], hole["z"]]).all()
