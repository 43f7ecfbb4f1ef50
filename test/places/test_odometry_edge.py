"""How uncertain odometry's edges are, where it has not seen the motion."""

from __future__ import annotations

import numpy as np
import pytest

from ttt3r_ros.geometry import T_from_pose
from ttt3r_ros.places.odometry_edge import Stretch
from ttt3r_ros.stream.covariance import MAX_LOST_S, CovarianceModel


@pytest.mark.parametrize(("seconds", "counted"), [(10, 10), (-10, 10), (10_000, MAX_LOST_S)])
def test_an_unknown_motion_is_as_uncertain_as_it_is_long_also_where_time_has_gone_back(seconds, counted):
    """A bag that loops puts the camera elsewhere, at an earlier time."""
    begun, model = Stretch(np.eye(4), 10**13, 0), CovarianceModel()
    T = T_from_pose([0.1, 0, 0], [1, 0, 0, 0])
    found = begun.extended(T, 10**13 + seconds * 10**9, 1, 2.0, model, is_known=False)
    assert found.sigmas.translation == pytest.approx(model.lost_metres_per_second * counted, rel=0.05)
    assert not found.is_known
    known = begun.extended(T, 10**13 + 10**8, 0, 2.0, model, is_known=True)
    assert known.sigmas.translation < 0.1 * found.sigmas.translation
