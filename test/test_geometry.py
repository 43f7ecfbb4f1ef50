from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ttt3r_ros.geometry import (
    R_BODY_OPTICAL,
    Intrinsics,
    T_from_pose,
    T_from_rpy,
    focal_from_points,
    inverse,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_vector,
    twist_between,
    unproject,
)

finite = st.floats(-100, 100)
vectors = arrays(np.float64, 3, elements=finite)


@st.composite
def quaternions(draw: st.DrawFn) -> np.ndarray:
    q = draw(arrays(np.float64, 4, elements=st.floats(-1, 1)))
    assume(np.linalg.norm(q) > 1e-3)
    return q / np.linalg.norm(q)


@given(quaternions())
def test_rotation_and_quaternion_invert_each_other(q):
    found = quaternion_from_rotation(rotation_from_quaternion(q))
    assert found[0] >= 0
    assert min(np.abs(found - q).max(), np.abs(found + q).max()) < 1e-7


@given(quaternions(), quaternions())
def test_rotations_multiply_as_quaternions_do(a, b):
    w = a[0] * b[0] - a[1:] @ b[1:]
    xyz = a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    product = rotation_from_quaternion(a) @ rotation_from_quaternion(b)
    np.testing.assert_allclose(product, rotation_from_quaternion([w, *xyz]), atol=1e-9)


@given(vectors, quaternions())
def test_a_transform_and_its_inverse_cancel(t, q):
    T = T_from_pose(t, q)
    np.testing.assert_allclose(T @ inverse(T), np.eye(4), atol=1e-9)


@given(arrays(np.float64, 3, elements=st.floats(-1, 1)), st.floats(0.01, 3.1))
def test_rotation_vector_is_axis_times_angle(axis, angle):
    assume(np.linalg.norm(axis) > 1e-2)
    axis = axis / np.linalg.norm(axis)
    R = rotation_from_quaternion([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])
    np.testing.assert_allclose(rotation_vector(R), axis * angle, atol=1e-7)


def test_body_axes_of_a_camera():
    forward, right, down = np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert (R_BODY_OPTICAL @ forward).tolist() == [1, 0, 0]
    assert (R_BODY_OPTICAL @ right).tolist() == [0, -1, 0]
    assert (R_BODY_OPTICAL @ down).tolist() == [0, 0, -1]


def test_twist_is_in_the_body_frame():
    """A robot that faces +y in odom and drives half a metre ahead in half a second while it turns left."""
    facing_left = [np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]
    turned = [np.cos(np.pi / 4 + 0.05), 0, 0, np.sin(np.pi / 4 + 0.05)]
    before, after = T_from_pose([1, 2, 0], facing_left), T_from_pose([1, 2.5, 0], turned)
    linear, angular = twist_between(before, after, 0.5)
    np.testing.assert_allclose(linear, [np.cos(0.1), -np.sin(0.1), 0], atol=1e-9)
    np.testing.assert_allclose(angular, [0, 0, 0.2], atol=1e-9)
    with pytest.raises(ValueError, match="positive time"):
        twist_between(before, after, 0.0)


cameras = st.builds(
    Intrinsics,
    fx=st.floats(20, 100),
    fy=st.floats(20, 100),
    cx=st.floats(10, 20),
    cy=st.floats(10, 20),
    width=st.just(30),
    height=st.just(20),
)


@given(cameras, arrays(np.float32, (20, 30), elements=st.floats(0.125, 50, width=32)))
def test_unprojected_points_project_onto_the_pixel_grid(camera, depth):
    points = unproject(depth, camera)
    pixels = (points / points[..., 2:]) @ camera.matrix().T
    u, v = np.meshgrid(np.arange(30), np.arange(20))
    np.testing.assert_allclose(pixels[..., 0], u, atol=1e-3)
    np.testing.assert_allclose(pixels[..., 1], v, atol=1e-3)
    assert np.array_equal(points[..., 2], depth)


@pytest.mark.parametrize("focal", [15.0, 60.0, 120.0])
def test_focal_length_is_found_among_outliers(focal):
    rng = np.random.default_rng(0)
    camera = Intrinsics(focal, focal, 32, 24, 64, 48)
    points = unproject(rng.uniform(1, 5, (48, 64)).astype(np.float32), camera)
    wrong = rng.random((48, 64)) < 0.2
    points[wrong] += rng.normal(0, 0.5, (wrong.sum(), 3)).astype(np.float32)
    points[0, 0] = [1, 1, 0]  # an infinite ratio
    points[0, 1] = np.nan
    assert focal_from_points(points) == pytest.approx(focal, rel=0.02)


def test_focal_length_of_nothing_is_unknown():
    assert np.isnan(focal_from_points(np.full((4, 4, 3), np.nan, dtype=np.float32)))


@given(*[st.floats(-7, 7)] * 3)
def test_roll_pitch_and_yaw_are_turns_about_fixed_axes(roll, pitch, yaw):
    def turn(axis: int, angle: float) -> np.ndarray:
        vector = np.zeros(3)
        vector[axis] = np.sin(angle / 2)
        return rotation_from_quaternion([np.cos(angle / 2), *vector])

    T = T_from_rpy([1.0, 2.0, 3.0], roll, pitch, yaw)
    np.testing.assert_allclose(T[:3, :3], turn(2, yaw) @ turn(1, pitch) @ turn(0, roll), atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(T[3], [0, 0, 0, 1])
