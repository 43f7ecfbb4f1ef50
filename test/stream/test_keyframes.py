from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import Intrinsics, T_from_pose, rotation_from_quaternion, unproject
from ttt3r_ros.stream.keyframes import overlap, view_of

CAMERA = Intrinsics(70.0, 70.0, 48.0, 36.0, 96, 72)


def wall(depth: float = 2.0, T: np.ndarray | None = None):
    points = unproject(np.full((72, 96), depth, dtype=np.float32), CAMERA)
    return view_of(points, np.eye(4) if T is None else T)


def turned(angle: float) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion([np.cos(angle / 2), 0, np.sin(angle / 2), 0])
    return T


def test_a_view_has_seen_itself():
    assert overlap(wall(), [wall()]) == 1.0


def test_nothing_has_been_seen_by_nobody():
    assert overlap(wall(), []) == 0.0


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_a_wall_seen_from_aside_overlaps_by_what_both_see(x, y):
    """Both cameras look at the wall squarely: the overlap is that of two rectangles."""
    width, height = 2.0 * 96 / 70, 2.0 * 72 / 70
    expected = (1 - abs(x) / width) * (1 - abs(y) / height)
    assert overlap(wall(T=T_from_pose([x, y, 0], [1, 0, 0, 0])), [wall()]) == pytest.approx(expected, abs=0.1)


def test_a_camera_that_turns_around_has_seen_nothing_of_it():
    assert overlap(wall(T=turned(np.pi)), [wall()]) == 0.0


def test_what_another_camera_sees_at_another_depth_is_not_the_same():
    assert overlap(wall(2.0), [wall(4.0)]) == 0.0
    assert overlap(wall(2.0), [wall(2.2)]) > 0.9


def test_several_views_complete_each_other():
    left, right = wall(T=turned(-0.5)), wall(T=turned(0.5))
    assert max(overlap(wall(), [left]), overlap(wall(), [right])) < 0.6
    assert overlap(wall(), [left, right]) > 0.9


def test_pixels_without_points_do_not_count():
    points = unproject(np.full((72, 96), 2.0, dtype=np.float32), CAMERA)
    points[:, :40] = np.nan
    points[:20] = -points[:20]
    assert overlap(view_of(points, np.eye(4)), [wall()]) == 1.0
    nothing = np.full((72, 96, 3), np.nan, dtype=np.float32)
    assert view_of(nothing, np.eye(4)) is None


@given(st.integers(0, 1000))
def test_any_points_give_a_share(seed):
    rng = np.random.default_rng(seed)
    points = (rng.normal(0, 1, (48, 64, 3)) * 10.0 ** rng.uniform(-6, 6)).astype(np.float32)
    view = view_of(points, turned(rng.uniform(-3, 3)))
    if view is not None:
        assert 0.0 <= overlap(view, [wall(), view]) <= 1.0
