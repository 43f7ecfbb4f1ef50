from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.camera.focal import ASSUMED_FOCAL, FOCAL_FRAMES, FOCAL_RANGE, intrinsics_of, with_focal_of
from ttt3r_ros.geometry import Intrinsics, unproject

SIZES = [(64, 48), (48, 64), (224, 224), (96, 16)]


def pointmap(ratio: float, size: tuple[int, int] = (64, 48), seed: int = 0) -> np.ndarray:
    """Return what a camera sees whose focal length is so many times the image's long side."""
    width, height = size
    camera = Intrinsics(ratio * max(size), ratio * max(size), width // 2, height // 2, width, height)
    return unproject(np.random.default_rng(seed).uniform(0.5, 9, (height, width)).astype(np.float32), camera)


@given(st.floats(FOCAL_RANGE[0] * 1.01, FOCAL_RANGE[1] * 0.99), st.sampled_from(SIZES), st.integers(0, 99))
def test_the_focal_length_of_any_lens_is_found_in_pixels_of_the_whole_image(ratio, size, seed):
    assert with_focal_of((7.0,), pointmap(ratio, size, seed)) == (7.0, pytest.approx(ratio * max(size), rel=1e-3))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ratio", [FOCAL_RANGE[0] * 0.99, FOCAL_RANGE[1] * 1.01, 1e6, -1.0])
def test_a_focal_length_that_no_lens_has_is_left_out(ratio, size):
    assert with_focal_of((7.0,), pointmap(ratio, size)) == (7.0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_points_that_are_nowhere_have_no_focal_length(value):
    assert with_focal_of((7.0,), np.full((48, 64, 3), value, np.float32)) == (7.0,)


def test_some_points_that_are_nowhere_do_not_count():
    points = pointmap(0.8)
    points[::8, ::8] = np.nan
    assert with_focal_of((), points) == (pytest.approx(0.8 * 64, rel=1e-3),)


def test_no_more_focal_lengths_are_sought_than_are_needed():
    focals = ()
    for _ in range(FOCAL_FRAMES + 5):
        focals = with_focal_of(focals, pointmap(1.0))
    assert len(focals) == FOCAL_FRAMES
    assert with_focal_of(focals, None) is focals  # the points are not even looked at


@pytest.mark.parametrize(("focals", "focal"), [((50.0,), 50.0), ((90.0, 50.0, 60.0), 60.0), ((50.0, 60.0), 55.0)])
def test_the_focal_length_of_a_camera_is_the_median(focals, focal):
    assert intrinsics_of(focals, 64, 48) == Intrinsics(focal, focal, 32, 24, 64, 48)


@pytest.mark.parametrize("size", SIZES)
def test_a_common_lens_is_assumed_of_the_long_side(size):
    focal = ASSUMED_FOCAL * max(size)
    assert intrinsics_of((), *size) == Intrinsics(focal, focal, size[0] // 2, size[1] // 2, *size)
