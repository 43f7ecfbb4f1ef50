"""What the graph expects of two keyframes, against what becomes of sampled errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.geometry import rotation_from_quaternion
from ttt3r_ros.places.expectation import SLACK, Expectation, adjoint, logarithm
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.similarity import Similarity

SIGMAS = Sigmas(0.02, 0.03, 0.02)


def similarity(rotation: list[float], t: list[float], log_scale: float) -> Similarity:
    quaternion = np.array([1.0, *(0.5 * np.asarray(rotation))])
    return Similarity(
        float(np.exp(log_scale)), rotation_from_quaternion(quaternion / np.linalg.norm(quaternion)), np.array(t)
    )


def chain(count: int) -> tuple[dict[int, Similarity], list[Edge]]:
    """Return a path that turns and grows, and its edges."""
    step = similarity([0.0, 0.15, 0.02], [0.3, 0.0, 0.5], 0.02)
    poses = {0: similarity([0.3, 0.2, 0.1], [1.0, 2.0, 0.5], 0.3)}
    for i in range(1, count):
        poses[i] = poses[i - 1] @ step
    return poses, [Edge(i, i + 1, step, SIGMAS) for i in range(count - 1)]


vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3)
similarities = st.builds(similarity, vectors, vectors, st.floats(-1, 1))


@given(similarities, vectors, vectors, st.floats(-1, 1))
def test_the_adjoint_moves_an_error_to_the_other_side(S, rotation, t, scale):
    small = 1e-5 * np.array([*rotation, *t, scale])
    moved = S @ similarity(small[:3], small[3:6], small[6]) @ S.inverse()
    np.testing.assert_allclose(logarithm(moved), adjoint(S) @ small, atol=1e-8)


def test_the_covariance_is_that_of_sampled_paths():
    poses, edges = chain(12)
    rng, errors = np.random.default_rng(0), []
    sigmas = np.repeat([SIGMAS.rotation, SIGMAS.translation, SIGMAS.scale], [3, 3, 1])
    true = poses[2].inverse() @ poses[11]
    for _ in range(1000):
        S = Similarity.of(np.eye(4))
        for edge in edges[2:]:
            noise = sigmas * rng.normal(size=7)
            S = S @ edge.S_first_second @ similarity(noise[:3], noise[3:6], noise[6])
        errors.append(logarithm(true.inverse() @ S))
    slack = np.repeat(np.square([SLACK.rotation, SLACK.translation, SLACK.scale]), [3, 3, 1])
    found = Expectation(11, poses, edges).covariance(2)
    sampled = np.cov(np.array(errors).T)
    scale = np.sqrt(np.outer(np.diag(sampled), np.diag(sampled)))
    np.testing.assert_allclose((found - np.diag(slack)) / scale, sampled / scale, atol=0.15)


def test_a_place_that_odometry_excludes_is_told_from_one_that_it_leaves_open():
    poses, edges = chain(30)
    expectation = Expectation(29, poses, edges)
    right = Edge(3, 29, poses[3].inverse() @ poses[29], SIGMAS, is_place=True)
    assert expectation.squared_error(right) == pytest.approx(0.0, abs=1e-12)
    sigma = np.sqrt(expectation.covariance(3)[3, 3] + SIGMAS.translation**2)
    off = [
        replace(right, S_first_second=right.S_first_second @ replace(Similarity.of(np.eye(4)), t=np.array([x, 0, 0])))
        for x in (sigma, 8.0)
    ]
    assert [expectation.excludes(edge) for edge in (right, *off)] == [False, False, True]
    turned = replace(right, S_first_second=right.S_first_second @ similarity([0, 2.0, 0], [0, 0, 0], 0))
    grown = replace(right, S_first_second=replace(right.S_first_second, scale=4 * right.S_first_second.scale))
    assert expectation.excludes(turned)
    assert expectation.excludes(grown)


def test_a_place_that_is_believed_is_a_shorter_path():
    poses, edges = chain(30)
    loop = Edge(3, 28, poses[3].inverse() @ poses[28], SIGMAS, is_place=True)
    far, near = (Expectation(29, poses, known).position_sigma(3) for known in (edges, [*edges, loop]))
    assert near < 0.5 * far
    # of two edges between the same keyframes the better one counts
    worse = replace(loop, sigmas=Sigmas(1.0, 1.0, 1.0))
    assert Expectation(29, poses, [*edges, loop, worse]).position_sigma(3) == pytest.approx(near)
    assert Expectation(29, poses, [*edges, worse, loop]).position_sigma(3) == pytest.approx(near)


def test_after_a_motion_that_nobody_saw_everything_is_possible_and_of_another_track_nothing_is_known():
    poses, edges = chain(10)
    edges[5] = replace(edges[5], sigmas=Sigmas(5.0, 5.0, 0.1))
    expectation = Expectation(9, poses, [edge for edge in edges if edge.first != 1])
    anywhere = Edge(3, 9, similarity([0.0, 2.0, 0.0], [4.0, 0, 0], 0), SIGMAS, is_place=True)
    assert not expectation.excludes(anywhere)
    assert expectation.covariance(1) is None
    assert expectation.position_sigma(1) == np.inf
    assert not expectation.excludes(replace(anywhere, first=1))
