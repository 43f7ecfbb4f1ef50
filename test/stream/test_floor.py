from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.stream.floor import find_floor

HEIGHT, WIDTH = 96, 128


def seen(up: np.ndarray, *planes: tuple[np.ndarray, float], far: float = 6.0) -> np.ndarray:
    """Return the points (H, W, 3) of a camera before planes n·p = −d, n unit; a wall stands far behind all."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - 63.5) / 91.0, (v - 47.5) / 91.0, np.ones_like(u, float)], axis=-1)
    depth = np.full((HEIGHT, WIDTH), far)
    for normal, distance in planes:
        with np.errstate(divide="ignore"):
            z = -distance / (rays @ normal)
        depth = np.where((z > 0) & (z < depth), z, depth)
    return (rays * depth[..., None]).astype(np.float32)


def up_of(pitch: float, roll: float) -> np.ndarray:
    """Return up in the axes of a camera that looks down by a pitch and leans by a roll [rad]."""
    up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    turn = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    return turn @ up


def sure(points: np.ndarray) -> np.ndarray:
    return np.full(points.shape[:2], 3.0, np.float32)


@given(st.floats(0.2, 2.0), st.floats(0.0, 0.6), st.floats(-0.4, 0.4), st.floats(0.1, 10.0), st.integers(0, 99))
def test_the_height_is_found_whatever_the_pose_and_the_unit(height, pitch, roll, unit, seed):
    up = up_of(pitch, roll)
    points = seen(up, (up, height), far=4 * height) * unit
    points *= np.exp(0.02 * np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 1))).astype(np.float32)
    floor = find_floor(points, sure(points), up)
    assert floor is not None
    assert floor.height == pytest.approx(height * unit, rel=0.03)
    assert 0.05 < floor.sigma < 0.2


def test_of_a_table_and_the_floor_below_it_the_floor_is_taken():
    up = up_of(0.5, 0.0)
    points = seen(up, (up, 1.5))
    table = np.zeros((HEIGHT, WIDTH), bool)
    table[:, :75] = True  # more of it than of the floor
    points[table] *= 0.5  # 0.75 m below the camera, level
    floor = find_floor(points, sure(points), up)
    assert floor is not None
    assert floor.height == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize(
    "points",
    [
        seen(up_of(0.0, 0.0), far=2.0),
        seen(up_of(0.3, 0.0), (up_of(1.2, 0.0), 1.0)),
        np.full((HEIGHT, WIDTH, 3), np.nan, np.float32),
        np.zeros((3, 3, 3), np.float32),
    ],
    ids=["a wall", "a slope of 52 degrees", "nothing", "too small an image"],
)
def test_where_no_floor_is_none_is_seen(points):
    assert find_floor(points, sure(points), up_of(0.0, 0.0)) is None


def test_points_without_confidence_do_not_count():
    up = up_of(0.3, 0.0)
    points = seen(up, (up, 1.0))
    assert find_floor(points, np.ones((HEIGHT, WIDTH), np.float32), up) is None


def test_against_the_naive_twin():
    """The twin looks at every pixel whose height is near the truth."""
    rng = np.random.default_rng(3)
    up = up_of(0.4, 0.1)
    points = seen(up, (up, 0.5), far=3.0)
    points = points * np.exp(0.05 * rng.normal(size=(HEIGHT, WIDTH, 1))).astype(np.float32)
    floor = find_floor(points, sure(points), up)
    below = [-float(p @ up) for p in points.reshape(-1, 3)]
    twin = np.median([d for d in below if 0.4 < d < 0.6])
    assert floor is not None
    assert floor.height == pytest.approx(twin, rel=0.02)
