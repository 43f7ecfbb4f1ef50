"""The pose graph: what it takes back, and what it refuses."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
from loops import ODOMETRY, PLACE, circle, places, similarity

from ttt3r_ros.errors import UserError
from ttt3r_ros.places import graph
from ttt3r_ros.places.graph import Edge, Problem, ScalePrior, gtsam, solve
from ttt3r_ros.places.similarity import Similarity


def drifted(true: list[Similarity]) -> tuple[list[Similarity], list[Edge]]:
    """Return poses and edges of an odometry whose heading and scale drift."""
    drift, poses, edges = similarity(0.003, (0, 0, 0), 1.004), [true[0]], []
    for i, (a, b) in enumerate(pairwise(true)):
        moved = a.inverse() @ b @ drift
        poses.append(poses[-1] @ moved)
        edges.append(Edge(i, i + 1, moved, ODOMETRY))
    return poses, edges


def error(poses: dict[int, Similarity], true: list[Similarity]) -> float:
    return float(np.sqrt(np.mean([np.sum((poses[i].t - pose.t) ** 2) for i, pose in enumerate(true)])))


def test_recognized_places_take_drift_back():
    true = circle(90, 40)
    odometry, edges = drifted(true)
    # what a place says of the scale is relative: the drifted scale of the old keyframe is not known to it
    solution = solve(Problem(dict(enumerate(odometry)), 0, [*edges, *places(true, 40)], [ScalePrior(0, 0.0, 0.01)]))
    assert error(dict(enumerate(odometry)), true) > 1.0
    assert error(solution.poses, true) < 0.35
    assert not solution.rejected
    assert solution.sigmas[0] < 1e-3 < solution.sigmas[20]


def test_a_false_place_is_rejected_and_bends_nothing():
    true = circle(90, 40)
    odometry, edges = drifted(true)
    right = [*edges, *places(true, 40)]
    false = [Edge(a, a + 60, Similarity.of(np.eye(4)), PLACE, is_place=True) for a in (5, 6)]
    poses, prior = dict(enumerate(odometry)), [ScalePrior(0, 0.0, 0.01)]
    solution = solve(Problem(poses, 0, [*right, *false], prior))
    assert solution.rejected == {len(right), len(right) + 1}
    expected = solve(Problem(poses, 0, right, prior))
    assert all(np.allclose(solution.poses[i].t, expected.poses[i].t, atol=1e-2) for i in poses)


def test_the_scale_of_the_network_holds_the_map_where_no_place_is_recognized():
    true = circle(20, 40)
    odometry, edges = drifted(true)
    priors = [ScalePrior(i, 0.3, 0.05) for i in range(20)]
    solution = solve(Problem(dict(enumerate(odometry)), 0, edges, priors))
    assert np.median([pose.log_scale for pose in solution.poses.values()]) == pytest.approx(0.3, abs=0.02)


def test_covariances_are_those_of_gtsams_own_marginals(monkeypatch):
    asked, covariances, true = [], graph._covariances, circle(60, 25)
    monkeypatch.setattr(graph, "_covariances", lambda *args: asked.append(args) or covariances(*args))
    odometry, edges = drifted(true)
    for count in (1, 2, 3, 60):
        inside = [edge for edge in (*edges, *places(true, 25)) if edge.second < count]
        solve(Problem(dict(enumerate(odometry[:count])), 0, inside, [ScalePrior(0, 0.0, 0.01)]))
        (g, trusted, values), found = asked[-1], covariances(*asked[-1])
        marginals = g.Marginals(trusted, values)
        assert sorted(found) == list(range(count))
        for number, covariance in found.items():
            expected = marginals.marginalCovariance(number)
            np.testing.assert_allclose(covariance, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("count", [2, 20])
def test_a_pose_that_a_rejected_place_leaves_alone_is_as_certain_as_it_is_held(count):
    """Where the map stays as it is, the wrong place is the only edge of the keyframe that it names."""
    poses = {i: similarity(0.0, (float(i), 0, 0)) for i in range(count)}
    held = {100: poses[0], 101: similarity(0.0, (50, 0, 0))}
    edges = [Edge(i, i + 1, similarity(0.0, (1, 0, 0)), ODOMETRY) for i in range(count - 1)]
    right = [Edge(100, i, poses[i], PLACE, is_place=True) for i in (0, 0, count - 1)]
    false = Edge(101, 0, Similarity.of(np.eye(4)), PLACE, is_place=True)
    solution = solve(Problem(poses | held, 100, [*edges, *right, false], [], frozenset(held)))
    assert solution.rejected == {count + 2}
    assert solution.sigmas[101] < 1e-4 < solution.sigmas[count - 1] < 0.1


@pytest.mark.parametrize("module", [None, object()], ids=["missing", "too old"])
def test_gtsam_that_is_missing_or_too_old_is_said_in_one_sentence(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "gtsam", module)
    with pytest.raises(UserError, match="the map needs GTSAM") as failure:
        gtsam()
    assert "\n" not in str(failure.value)
