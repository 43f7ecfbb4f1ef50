"""How uncertain odometry is between two keyframes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ttt3r_ros.geometry import T_from_pose
from ttt3r_ros.places.odometry_edge import MIN_SIGMAS, SCALE_PER_SEGMENT, Stretch
from ttt3r_ros.stream.covariance import MAX_LOST_S, CovarianceModel

MODEL, SECOND = CovarianceModel(), 10**9


def walked(count: int, meters: float = 0.2, *, segments: int = 1, added: float = 0.01) -> Stretch:
    stretch = Stretch(T_from_pose([0, 0, 0], [1, 0, 0, 0]), 0, 0)
    for i in range(1, count + 1):
        T = T_from_pose([meters * i, 0, 0], [1, 0, 0, 0])
        stretch = stretch.extended(T, i * SECOND // 5, i * segments // count, (added, 2 * added), MODEL, is_known=True)
    return stretch


def test_uncertainty_grows_with_the_path_and_begins_anew_at_a_keyframe():
    short, long = walked(5), walked(20)
    assert long.sigmas.translation > 1.5 * short.sigmas.translation > 1.5 * MIN_SIGMAS.translation
    assert long.sigmas.rotation > short.sigmas.rotation > MIN_SIGMAS.rotation
    assert short.sigmas.translation == pytest.approx(math.hypot(0.01 * 5**0.5, MIN_SIGMAS.translation))
    assert walked(5, added=0.02).sigmas.translation > short.sigmas.translation
    again = long.restarted()
    assert again.sigmas == MIN_SIGMAS
    assert again.T_odom_camera is long.T_odom_camera


def test_the_scale_wanders_from_segment_to_segment():
    assert walked(8, segments=4).sigmas.scale == pytest.approx(math.hypot(MIN_SIGMAS.scale, 2 * SCALE_PER_SEGMENT))


def test_a_motion_that_nobody_saw_may_have_led_anywhere():
    before = walked(3)
    after = before.extended(before.T_odom_camera, 10 * SECOND, 1, (0.1, 0.1), MODEL, is_known=False)
    assert before.is_known
    assert not after.is_known
    assert after.sigmas.translation > 4.0  # half a meter a second
    assert after.sigmas.rotation > 4.0
    assert not after.extended(after.T_odom_camera, 11 * SECOND, 1, (0.1, 0.1), MODEL, is_known=True).is_known
    assert after.restarted().is_known


@pytest.mark.parametrize(("seconds", "counted"), [(10, 10), (-10, 10), (10_000, MAX_LOST_S)])
def test_an_unknown_motion_is_as_uncertain_as_it_is_long_also_where_time_has_gone_back(seconds, counted):
    """A bag that loops puts the camera elsewhere, at an earlier time."""
    begun, model = Stretch(np.eye(4), 10**13, 0), CovarianceModel()
    T = T_from_pose([0.1, 0, 0], [1, 0, 0, 0])
    found = begun.extended(T, 10**13 + seconds * 10**9, 1, (0.01, 0.01), model, is_known=False)
    assert found.sigmas.translation == pytest.approx(model.lost_metres_per_second * counted, rel=0.05)
    told = begun.extended(T, 10**13 + seconds * 10**9, 1, model.lost_sigmas(seconds), model, is_known=False)
    assert told.sigmas.translation == pytest.approx(found.sigmas.translation)  # what odometry has told counts once
    assert not found.is_known
    known = begun.extended(T, 10**13 + 10**8, 0, (0.01, 0.01), model, is_known=True)
    assert known.sigmas.translation < 0.1 * found.sigmas.translation
