from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from ttt3r_ros.geometry import inverse, orthonormal, rotation_vector
from ttt3r_ros.stream import pose_fit
from ttt3r_ros.stream.pose_fit import MIN_POINTS, Prior, fit, linearized, whitening

NOISE = 1e-3


def transform(turn, t):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(np.asarray(turn, float))[0], t
    return T


def sight(seed: int, T: np.ndarray, n: int = 100, noise: float = NOISE, depth_sigma: float = 0.0, outliers: int = 0):
    """Return points of a room as one camera sees them, and rays to them from the other one, T from the first."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.uniform(-0.7, 0.7, n), rng.uniform(-0.5, 0.5, n), np.ones(n)])
    points *= rng.uniform(1.0, 5.0, n)[:, None]
    there = points @ T[:3, :3].T + T[:3, 3]
    rays = there[:, :2] / there[:, 2:] + rng.normal(0, noise, (n, 2))
    rays[:outliers] += rng.uniform(-0.3, 0.3, (outliers, 2))
    return points * np.exp(rng.normal(0, depth_sigma, n))[:, None], rays


def wide(T: np.ndarray) -> Prior:
    return Prior(T, 0.1, 0.1)


def off(found: np.ndarray, T: np.ndarray) -> tuple[float, float]:
    """Return by how many meters and radians two transforms differ."""
    difference = inverse(T) @ found
    return float(np.linalg.norm(difference[:3, 3])), float(np.linalg.norm(rotation_vector(difference[:3, :3])))


small, turn = st.floats(-0.12, 0.12), st.floats(-0.15, 0.15)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.tuples(turn, turn, turn), st.tuples(small, small, small))
def test_a_motion_is_found_that_the_network_has_not_seen(seed, angles, t):
    T = transform(angles, t)
    found = fit(*sight(seed, T, noise=0.0), Prior(np.eye(4), 10.0, 10.0), NOISE)
    assert found is not None
    assert found.fits.all()
    assert max(off(found.T, T)) < 2e-3
    np.testing.assert_allclose(found.T[:3, :3] @ found.T[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_minimum_that_a_general_solver_finds(seed):
    """The second round's cost with its own lines and weights, by scipy, from the prior."""
    rng = np.random.default_rng(seed)
    T = transform(rng.normal(0, 0.03, 3), rng.normal(0, 0.08, 3))
    points, rays = sight(seed, T, depth_sigma=0.1)
    prior = Prior(T @ transform(rng.normal(0, 0.02, 3), rng.normal(0, 0.02, 3)), 0.05, 0.05)
    found = fit(points, rays, prior, NOISE)
    assert found is not None
    to_white = whitening(points, found.T[:3, :3], found.T[:3, 3], NOISE)

    def errors(x):
        seen = points @ cv2.Rodrigues(x[:3])[0].T + x[3:]
        white = np.einsum("nij,nj->ni", to_white, rays - seen[:, :2] / seen[:, 2:])
        d = inverse(prior.T) @ transform(x[:3], x[3:])
        return np.linalg.norm(white, axis=1), np.concatenate([rotation_vector(d[:3, :3]) / 0.05, d[:3, 3] / 0.05])

    usual = max(1.0, float(np.median(errors(vector(found.T))[0] ** 2)) / 1.386)

    def residuals(x):
        white, held = errors(x)  # Cauchy's cost, as squares
        return np.concatenate([np.sqrt(pose_fit.HALF * np.log1p(white**2 / (pose_fit.HALF * usual))), held])

    naive = least_squares(residuals, vector(prior.T), xtol=1e-12, ftol=1e-12)
    metres, radians = off(found.T, transform(naive.x[:3], naive.x[3:]))
    assert metres < 1e-3
    assert radians < 3e-4


def vector(T: np.ndarray) -> np.ndarray:
    return np.concatenate([rotation_vector(T[:3, :3]), T[:3, 3]])


def test_the_derivatives_are_those_of_the_projections():
    points, rays = sight(3, np.eye(4), n=20)
    R, t = cv2.Rodrigues(np.array([0.1, -0.2, 0.05]))[0], np.array([0.1, 0.02, -0.2])
    errors, J, _ = linearized(points, rays, R, t)
    for i in range(6):
        d = np.zeros(6)
        d[i] = 1e-6
        changed, _, _ = linearized(points, rays, cv2.Rodrigues(d[:3])[0] @ R, t + d[3:])
        np.testing.assert_allclose((errors - changed) / 1e-6, J[:, :, i], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_whitened_errors_have_unit_variance(seed):
    T = transform([0.0, 0.02, 0.0], [0.3, 0.1, 0.1])
    points, rays = sight(seed, T, n=4000, depth_sigma=pose_fit.DEPTH_SIGMA)
    errors, _, _ = linearized(points, rays, T[:3, :3], T[:3, 3])
    white = np.einsum("nij,nj->ni", whitening(points, T[:3, :3], T[:3, 3], NOISE), errors)
    assert np.median(np.abs(white)) / 0.6745 == pytest.approx(1.0, rel=0.15)


def test_errors_are_as_large_as_the_covariance_says():
    """Many fits of points whose depths and pixels are off independently, as the fit takes them to be."""
    T, ratios = transform([0.01, 0.03, 0.0], [0.1, 0.02, 0.15]), []
    for seed in range(60):
        points, rays = sight(seed, T, depth_sigma=pose_fit.DEPTH_SIGMA)
        found = fit(points, rays, wide(T), NOISE)
        assert found is not None
        R_off, off_by = found.T[:3, :3] @ T[:3, :3].T, found.T[:3, 3] - T[:3, 3]
        error = np.concatenate([rotation_vector(R_off), off_by])
        ratios.append(error @ np.linalg.solve(found.covariance, error) / 6)
    assert 0.3 < np.mean(ratios) < 1.5  # wider, since not all of the points fit closely


def test_points_that_go_their_own_way_decide_nothing():
    """A person walks through two fifths of the picture."""
    T = transform([0.0, 0.03, 0.0], [0.0, 0.0, -0.1])
    found = fit(*sight(1, T, outliers=40), wide(np.eye(4)), NOISE)
    assert found is not None
    assert 55 <= found.fits.sum() <= 62
    assert off(found.T, T)[0] < 0.01


def test_what_pixels_do_not_tell_the_network_decides():
    """Few points in a corner of the picture cannot tell a shift from a turn: no worse than the network."""
    T = transform([0.0, 0.0, 0.0], [0.05, 0.0, 0.0])
    points = (
        np.column_stack([*np.random.default_rng(2).uniform([[0.5], [-0.1]], [[0.7], [0.1]], (2, 40)), np.ones(40)]) * 3
    )
    there = points @ T[:3, :3].T + T[:3, 3]
    rays = there[:, :2] / there[:, 2:] + np.random.default_rng(3).normal(0, NOISE, (40, 2))
    said = transform([0.0, 0.002, 0.0], [0.045, 0.0, 0.002])
    found = fit(points, rays, Prior(said, 0.01, 0.003), NOISE)
    assert found is not None
    assert off(found.T, T)[0] < 0.01


def test_no_motion_is_told_where_none_fits():
    points, rays = sight(5, np.eye(4))
    few = MIN_POINTS - 1
    assert fit(points[:few], rays[:few], wide(np.eye(4)), NOISE) is None
    scrambled = np.random.default_rng(0).permutation(rays)
    assert fit(points, scrambled, wide(np.eye(4)), NOISE) is None
    assert fit(points, np.full_like(rays, np.nan), wide(np.eye(4)), NOISE) is None
    assert fit(points * [1, 1, -1], rays, wide(np.eye(4)), NOISE) is None


def test_a_product_of_many_rotations_stays_one():
    R = np.eye(3) + 1e-3 * np.random.default_rng(0).normal(size=(3, 3))
    again = orthonormal(R)
    np.testing.assert_allclose(again @ again.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(again) == pytest.approx(1.0)
    assert np.abs(again - R).max() < 3e-3
