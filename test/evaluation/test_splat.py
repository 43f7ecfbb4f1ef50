from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.evaluation.splat import Eye, draw_line, draw_points, frustum
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics

FORWARD = Eye(T_BASE_CAMERA, Intrinsics(40.0, 40.0, 19.5, 14.5, 40, 30))  #: at the origin, looks along x


def blank() -> np.ndarray:
    return np.zeros((30, 40, 3), np.uint8)


def naive(eye: Eye, points: np.ndarray, colors: np.ndarray, size_m: float) -> np.ndarray:
    """Draw point by point with a depth for each pixel."""
    picture, nearest = blank(), np.full((30, 40), np.inf)
    for point, color in zip(points, colors, strict=True):
        x, y, z = eye.seen(point[None])[0]
        if z <= 0.1:
            continue
        camera = eye.intrinsics
        side = int(np.clip(np.rint(camera.fx * size_m / z), 1, 7))
        left = int(np.rint(camera.fx * x / z + camera.cx - (side - 1) / 2))
        top = int(np.rint(camera.fy * y / z + camera.cy - (side - 1) / 2))
        for v in range(top, top + side):
            for u in range(left, left + side):
                if 0 <= u < 40 and 0 <= v < 30 and z < nearest[v, u]:
                    nearest[v, u], picture[v, u] = z, color
    return picture


@given(st.integers(0, 10_000), st.sampled_from([0.001, 0.1, 0.5]))
def test_it_is_the_naive_one(seed: int, size_m: float) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform([-1, -3, -3], [6, 3, 3], (60, 3))
    colors = random.integers(1, 256, (60, 3), dtype=np.uint8)
    picture = blank()
    draw_points(picture, FORWARD, points, colors, size_m=size_m)
    np.testing.assert_array_equal(picture, naive(FORWARD, points, colors, size_m))


def test_no_points_draw_nothing() -> None:
    picture = blank()
    draw_points(picture, FORWARD, np.empty((0, 3)), np.empty((0, 3), np.uint8), size_m=0.1)
    assert not picture.any()


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 2 * np.pi))
def test_an_eye_sees_its_target_in_the_middle_and_up_above(x: float, y: float, z: float, azimuth: float) -> None:
    target = np.array([x, y, z])
    position = target + 3.0 * np.array([np.cos(azimuth), np.sin(azimuth), 1.0])
    eye = Eye.looking(position, target, width=80, height=60, fov_deg=50.0)
    middle, above = eye.pixels(eye.seen(target + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.1]])))
    np.testing.assert_allclose(middle, [39.5, 29.5], atol=1e-6)
    assert above[0] == pytest.approx(39.5)
    assert above[1] < 29.5
    # what is at the edge of the field of view is at the edge of the picture
    down = eye.T_world_eye[:3, 1] * np.tan(np.radians(25.0)) + eye.T_world_eye[:3, 2]
    assert eye.pixels(eye.seen((position + down)[None]))[0, 1] == pytest.approx(59.5)


def test_a_line_is_drawn_as_far_as_it_is_before_the_eye() -> None:
    picture = blank()
    draw_line(picture, FORWARD, np.array([[2.0, 0.5, 0.0], [2.0, -0.5, 0.0]]), (255, 0, 0), thickness=1)
    rows, columns = np.nonzero(picture[..., 0] > 100)
    assert set(rows.tolist()) <= {14, 15}
    assert columns.min() == pytest.approx(19.5 - 10.0, abs=1.5)  # 40 px * 0.5 / 2 to both sides
    assert columns.max() == pytest.approx(19.5 + 10.0, abs=1.5)
    through, behind = blank(), blank()
    draw_line(through, FORWARD, np.array([[2.0, 0.0, 0.0], [-2.0, -1.0, 0.0]]), (255, 0, 0), thickness=1)
    assert through.any()
    assert np.nonzero(through[..., 0])[1].min() >= 18  # to the right only
    draw_line(behind, FORWARD, np.array([[-1.0, 0.0, 0.0], [-2.0, -1.0, 0.0]]), (255, 0, 0))
    assert not behind.any()


def test_a_frustum_frames_what_its_camera_sees() -> None:
    outline, *rays = frustum(T_BASE_CAMERA, FORWARD.intrinsics, 2.0)
    corners = FORWARD.pixels(FORWARD.seen(outline[:4]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [39.5, -0.5], [39.5, 29.5], [-0.5, 29.5]])
    np.testing.assert_allclose(outline[0], outline[-1])
    assert [ray[0].tolist() for ray in rays] == [[0, 0, 0]] * 4
    np.testing.assert_allclose([ray[1] for ray in rays], outline[:4])


def test_lines_are_as_cv2_draws_them() -> None:
    """Against whole pixels without clipping."""
    picture, expected = blank(), blank()
    draw_line(picture, FORWARD, np.array([[1.0, 0.2375, 0.1125], [1.0, -0.1375, -0.0875]]), (0, 255, 0))
    cv2.line(expected, (10, 10), (25, 18), (0, 255, 0), 2, cv2.LINE_AA)
    np.testing.assert_array_equal(picture, expected)
