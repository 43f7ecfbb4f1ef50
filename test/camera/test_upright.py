from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.camera.upright import quarter_turns, turned, turned_axes
from ttt3r_ros.geometry import T_BASE_CAMERA, T_from_rpy

degrees = st.floats(-180, 180)


def mounted(roll: float, pitch: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """Return a camera's pose, (4, 4), optical axes, by the angles of its body [deg]."""
    return T_from_rpy([0, 0, 0], *np.deg2rad([roll, pitch, yaw])) @ T_BASE_CAMERA


def tilt(T: np.ndarray, turns: int) -> float:
    """Return the angle between the vertical and the upper edge's normal in the turned image [deg]."""
    right, down, _ = turned_axes(turns) @ T[2, :3]
    return abs(math.degrees(math.atan2(right, -down)))


@pytest.mark.parametrize(("roll", "turns"), [(0, 0), (20, 0), (90, 3), (-90, 1), (180, 2), (-170, 2), (75, 3)])
def test_a_rolled_camera_is_turned_back(roll, turns):
    """A camera that is rolled clockwise shows the ceiling at its image's left edge: three quarter turns raise it."""
    assert quarter_turns(mounted(roll)) == turns


@given(degrees, st.floats(-50, 50), degrees, st.integers(0, 3))
def test_no_image_stays_more_than_sixty_degrees_from_upright(roll, pitch, yaw, present):
    T = mounted(roll, pitch, yaw)
    turns = quarter_turns(T, present)
    assert tilt(T, turns) <= 60 + 1e-6
    assert turns == present or tilt(T, present) >= 60 - 1e-6


def test_a_camera_that_rolls_to_and_fro_about_half_a_turn_is_not_turned_to_and_fro():
    turns, seen = 0, []
    for roll in (40, 50, 40, 59, 61, 50, 40, 31, 29):
        turns = quarter_turns(mounted(roll), turns)
        seen.append(turns)
    assert seen == [0, 0, 0, 0, 3, 3, 3, 3, 0]


@pytest.mark.parametrize("present", range(4))
@pytest.mark.parametrize("T", [mounted(0, 90), mounted(180, 80), mounted(0, -75), np.eye(4)])
def test_a_camera_that_looks_up_or_down_stays_as_it_is(T, present):
    assert quarter_turns(T, present) == present


@pytest.mark.parametrize("turns", range(-1, 5))
def test_axes_turn_as_numpys_images_do(turns):
    v, u = np.mgrid[-2.0:3.0, -2.0:3.0]  # from the center
    rays = np.stack([u, v, np.ones_like(u)], axis=-1)
    np.testing.assert_allclose(np.rot90(rays @ turned_axes(turns).T, turns), rays, atol=1e-12)


def test_planes_turn_as_images_do_and_are_not_copied_where_nothing_is_to_be_done():
    planes = torch.arange(24).reshape(2, 3, 4)
    assert turned(planes, 0) is planes
    for turns in (1, 2, 3):
        for plane, expected in zip(turned(planes, turns), planes, strict=True):
            np.testing.assert_array_equal(plane, np.rot90(expected, turns))
