"""Depth images that can, and cannot, be of one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt3r_ros.places.dense import agreement
from ttt3r_ros.places.similarity import Similarity


def test_views_of_one_place_agree_at_the_true_pose_and_at_no_other(pair):
    old, new, true = pair
    found = agreement(old, new, true)
    assert found.overlap > 0.5
    assert found.agreeing > 0.95
    back = agreement(new, old, true.inverse())
    np.testing.assert_allclose([back.overlap, back.agreeing], [found.overlap, found.agreeing])
    in_front = true @ Similarity.of(np.eye(4), 0.6)  # of all that the old one sees
    assert agreement(old, new, in_front).agreeing < 0.5
    assert agreement(old, new, replace(true, t=true.t + old.median_depth * np.array([0, 0, -0.5]))).agreeing < 0.7


def test_views_in_opposite_directions_do_not_overlap(pair):
    old, new, _ = pair
    around = Similarity(1.0, np.diag([-1.0, 1.0, -1.0]), np.zeros(3))
    assert agreement(old, new, around).overlap == 0.0


def test_without_depth_nothing_agrees(pair):
    old, new, true = pair
    found = agreement(old, replace(new, depth=np.full_like(new.depth, np.nan)), true)
    assert (found.overlap, found.agreeing) == (0.0, 0.0)
