"""The similarity that fits the pixels and depths of two views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.geometry import rotation_from_quaternion
from ttt3r_ros.places.refinement import ANY, Noise, Sight, refined
from ttt3r_ros.places.similarity import Similarity

K = np.array([[90.0, 0, 64], [0, 90, 48], [0, 0, 1]])


def sights(S_old_new: Similarity, seed: int, count: int = 80) -> tuple[Sight, Sight]:
    """Return what two cameras see of the same points."""
    rng = np.random.default_rng(seed)
    new = np.stack([rng.uniform(-1.5, 1.5, count), rng.uniform(-1, 1, count), rng.uniform(2, 5, count)], axis=1)
    old = S_old_new.apply(new)
    return tuple(Sight(points, points[:, :2] / points[:, 2:] * 90 + K[:2, 2], K) for points in (old, new))


def similarity(yaw: float, x: float, z: float, scale: float) -> Similarity:
    return Similarity(scale, rotation_from_quaternion([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0]), np.array([x, 0.05, z]))


@settings(max_examples=20)
@given(st.floats(-0.4, 0.4), st.floats(-0.6, 0.6), st.floats(-0.5, 0.5), st.floats(0.7, 1.4), st.integers(0, 1000))
def test_a_similarity_is_found_from_a_rough_one(yaw, x, z, scale, seed):
    true = similarity(yaw, x, z, scale)
    fit = refined(*sights(true, seed), true @ similarity(0.05, 0.1, -0.1, 1.1))
    assert fit.fits.all()
    np.testing.assert_allclose(fit.S_old_new.t, true.t, atol=1e-4)
    assert fit.S_old_new.scale == pytest.approx(true.scale, rel=1e-4)


def test_wrong_depths_do_not_turn_a_pose_that_pixels_tell():
    """A network tilts walls: with depths that err by a tenth from side to side, pixels must decide the rotation."""
    true = similarity(0.3, 0.8, 0.1, 1.0)
    old, new = sights(true, 3)
    tilted = replace(new, points=new.points * (1 + 0.1 * new.points[:, :1]))
    fit = refined(old, tilted, true @ similarity(0.05, 0.1, 0.0, 1.0))
    assert Similarity(1.0, true.R.T @ fit.S_old_new.R, np.zeros(3)).angle < np.deg2rad(1.5)
    assert fit.fits.mean() > 0.9


def test_false_matches_are_told_from_right_ones():
    true = similarity(0.2, 0.5, 0.0, 1.2)
    old, new = sights(true, 5)
    pixels = old.pixels.copy()
    pixels[:20] += np.random.default_rng(0).uniform(10, 40, (20, 2))
    fit = refined(replace(old, pixels=pixels), new, true @ similarity(0.03, 0.05, 0.05, 1.05))
    assert not fit.fits[:20].any()
    assert fit.fits[20:].all()
    np.testing.assert_allclose(fit.S_old_new.t, true.t, atol=0.02)


def test_few_points_in_a_corner_leave_the_pose_more_open_than_many():
    true = similarity(0.2, 0.5, 0.0, 1.0)
    many = refined(*sights(true, 1, 100), true).sigmas
    few = refined(*sights(true, 1, 12), true).sigmas
    assert few.rotation > 1.5 * many.rotation
    assert few.translation > 1.5 * many.translation
    assert refined(*sights(Similarity.of(np.eye(4)), 1), Similarity.of(np.eye(4))).S_old_new.distance < 1e-6


def test_depths_that_are_exact_tell_the_pose_that_pixels_leave_open():
    """Pixels are off by half a pixel."""
    true, offsets = similarity(0.3, 0.8, 0.0, 1.1), []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noisy = [replace(s, pixels=s.pixels + rng.normal(0, 0.5, s.pixels.shape)) for s in sights(true, seed)]
        loose, exact = refined(*noisy, true), refined(*noisy, true, noise=Noise(ANY.pixel, 0.01))
        offsets.append([np.linalg.norm(fit.S_old_new.t - true.t) for fit in (loose, exact)])
        assert exact.sigmas.scale < 0.6 * loose.sigmas.scale
        assert exact.sigmas.translation < 0.8 * loose.sigmas.translation
    was, now = np.median(offsets, axis=0)
    assert now < 0.6 * was
