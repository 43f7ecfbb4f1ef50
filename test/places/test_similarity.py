"""Similarity transforms."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import similarity

from ttt3r_ros.places.similarity import Similarity

angles = st.floats(-3, 3)
lengths = st.floats(-5, 5)
similarities = st.builds(
    lambda yaw, x, y, z, scale: similarity(yaw, (x, y, z), scale), angles, lengths, lengths, lengths, st.floats(0.2, 5)
)


@given(similarities, similarities, similarities)
def test_similarities_are_a_group(a, b, c):
    points = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
    np.testing.assert_allclose(((a @ b) @ c).apply(points), a.apply(b.apply(c.apply(points))), atol=1e-6)
    np.testing.assert_allclose((a @ a.inverse()).apply(points), points, atol=1e-8)


@given(similarities)
def test_a_similarity_and_its_parts_are_the_same(S):
    assert abs(S.angle) <= 3.0 + 1e-6
    np.testing.assert_allclose(Similarity.of(S.rigid, S.scale).apply(np.eye(3)), S.apply(np.eye(3)))
    assert np.isclose(np.exp(S.log_scale), S.scale)
    assert np.isclose(S.distance, np.linalg.norm(S.apply(np.zeros(3))))
