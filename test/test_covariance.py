from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.covariance import covariances

anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, st.one_of(st.none(), anything))
def test_always_well_formed(confidence, seconds):
    found = covariances(confidence, seconds)
    for diagonal in (found.pose, found.twist):
        assert diagonal.shape == (6,)
        assert np.isfinite(diagonal).all()
        assert (diagonal > 0).all()
        assert (diagonal < 9999).all()
        assert diagonal[0] != 1.0


@given(st.floats(1, 1000), st.floats(1.01, 10))
def test_less_confidence_is_more_variance(confidence, factor):
    sure, unsure = covariances(confidence * factor, 0.1), covariances(confidence, 0.1)
    assert (sure.pose < unsure.pose).all()
    assert (sure.twist <= unsure.twist).all()


def test_an_unknown_velocity_has_the_largest_variance():
    assert (covariances(5.0, None).twist > covariances(5.0, 0.1).twist).all()
