"""The pose graph: keyframes as nodes of Sim(3), odometry and recognized places as edges, solved by GTSAM.

GTSAM is imported only here, and only when there is something to solve: a map that is off does not load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.places.similarity import Similarity

#: A recognized place whose error is larger than that of this share of right ones is rejected as a false one.
PROBABILITY = 0.99
#: Standard deviation of what is not known at all, and of what is held fixed.
UNKNOWN, FIXED = 1e3, 1e-5


@dataclass(frozen=True)
class Sigmas:
    """Standard deviations of an edge: rotation [rad], translation [m], logarithm of the scale."""

    rotation: float
    translation: float
    scale: float


@dataclass(frozen=True)
class Edge:
    """What is known of two keyframes' relative pose.

    Attributes:
        first, second: numbers of the keyframes.
        S_first_second: from the second camera to the first one, each in its own meters.
        sigmas: of its error.
        is_place: whether it comes of recognizing a place, which may be wrong; odometry is not doubted.
    """

    first: int
    second: int
    S_first_second: Similarity
    sigmas: Sigmas
    is_place: bool = False


@dataclass(frozen=True)
class ScalePrior:
    """What is known of the logarithm of a keyframe's scale: how many of the map's meters one of its meters is."""

    number: int
    log_scale: float
    sigma: float


@dataclass(frozen=True)
class Problem:
    """A connected graph.

    Attributes:
        poses: S_map_camera of the keyframes by their numbers, to start from.
        anchor: number of the keyframe whose pose stays, but not its scale.
        edges: between them.
        priors: of their scales.
        fixed: numbers of keyframes whose poses and scales stay.
    """

    poses: Mapping[int, Similarity]
    anchor: int
    edges: Sequence[Edge]
    priors: Sequence[ScalePrior]
    fixed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Solution:
    """A solved graph.

    Attributes:
        poses: S_map_camera by number.
        rejected: indices of the edges that contradict the others.
        sigmas: standard deviations of the positions, along their least certain axis [m].
        turns: standard deviations of the rotations, about their least certain axis [rad].
    """

    poses: dict[int, Similarity]
    rejected: frozenset[int]
    sigmas: dict[int, float]
    turns: dict[int, float]


def gtsam() -> ModuleType:
    """Return GTSAM.

    Raises:
        UserError: it is not installed, or is too old.
    """
    try:
        import gtsam
    except ImportError as error:
        raise UserError(
            f"the map needs GTSAM, which cannot be imported ({error}); install it with `pip install gtsam` "
            "(4.3 or newer, for Python 3.11 or newer), or switch the map off"
        ) from None
    if not hasattr(gtsam, "BetweenFactorSimilarity3"):
        raise UserError(
            f"the map needs GTSAM 4.3 or newer: {getattr(gtsam, '__version__', 'the installed one')} has no Sim(3) "
            "graphs; it has wheels for Python 3.11 and newer only, so on Python 3.10 the map stays off"
        )
    return gtsam


def solve(problem: Problem) -> Solution:
    """Return the poses that fit the edges best, without those edges of recognized places that contradict the others.

    Graduated non-convexity (Yang et al., arXiv 1909.08605) with truncated least squares.
    """
    g = gtsam()
    graph, values = g.NonlinearFactorGraph(), g.Values()
    for number, pose in problem.poses.items():
        values.insert(number, _similarity(g, pose))

    def noise(sigmas: Sigmas) -> object:
        return g.noiseModel.Diagonal.Sigmas(np.repeat([sigmas.rotation, sigmas.translation, sigmas.scale], [3, 3, 1]))

    for edge in problem.edges:
        between = _similarity(g, edge.S_first_second)
        graph.add(g.BetweenFactorSimilarity3(edge.first, edge.second, between, noise(edge.sigmas)))
    for prior in problem.priors:
        pose = problem.poses[prior.number]
        prior_pose = _similarity(g, Similarity(float(np.exp(prior.log_scale)), pose.R, pose.t))
        graph.add(g.PriorFactorSimilarity3(prior.number, prior_pose, noise(Sigmas(UNKNOWN, UNKNOWN, prior.sigma))))
    fixed = Sigmas(FIXED, FIXED, UNKNOWN if problem.priors else FIXED)
    graph.add(g.PriorFactorSimilarity3(problem.anchor, _similarity(g, problem.poses[problem.anchor]), noise(fixed)))
    for number in problem.fixed:
        held = _similarity(g, problem.poses[number])
        graph.add(g.PriorFactorSimilarity3(number, held, noise(Sigmas(FIXED, FIXED, FIXED))))

    doubted = [index for index, edge in enumerate(problem.edges) if edge.is_place]
    rejected: frozenset[int] = frozenset()
    if doubted:
        params = g.GncLMParams(g.LevenbergMarquardtParams())
        params.setLossType(g.GncLossType.TLS)
        params.setKnownInliers(sorted(set(range(graph.size())) - set(doubted)))
        optimizer = g.GncLMOptimizer(graph, values, params)
        optimizer.setInlierCostThresholdsAtProbability(PROBABILITY)
        values = optimizer.optimize()
        weights = optimizer.getWeights()
        rejected = frozenset(index for index in doubted if weights[index] < 0.5)
    else:
        values = g.LevenbergMarquardtOptimizer(graph, values).optimize()
    poses = {number: _from_gtsam(values.atSimilarity3(number)) for number in problem.poses}
    trusted = g.NonlinearFactorGraph()
    for index in range(graph.size()):
        if index not in rejected:
            trusted.push_back(graph.at(index))
    sigmas, turns = {}, {}
    for number, covariance in _covariances(g, trusted, values).items():
        sigmas[number] = poses[number].scale * _largest_sigma(covariance[3:6, 3:6])
        turns[number] = _largest_sigma(covariance[:3, :3])
    return Solution(poses, rejected, sigmas, turns)


def _covariances(g: ModuleType, graph: Any, values: object) -> dict[int, FloatArray]:
    """Return the (7, 7) covariance of each pose: rotation, translation, logarithm of the scale.

    Elimination leaves of each pose x what it owes to its parents p, ``R x + S p = d``. From the last pose back, the
    covariance of p gives that of x, so that only blocks of poses and their parents are worked out (Takahashi et al.,
    1973). GTSAM's `Marginals` says the same, but begins anew for each pose.
    """
    linear = graph.linearize(values)
    ordering = g.Ordering.ColamdGaussianFactorGraph(linear)  # METIS may crash where a pose has no neighbor
    net = linear.eliminateSequential(ordering)
    blocks: dict[tuple[int, int], FloatArray] = {}
    for index in reversed(range(net.size())):
        conditional = net.at(index)
        number, *parents = conditional.keys()
        R = np.linalg.inv(conditional.R())
        own = R @ R.T
        if parents:
            of_parents = np.array([[blocks[a, b] for b in parents] for a in parents]).transpose(0, 2, 1, 3)
            owed = R @ conditional.S()
            cross = -owed @ of_parents.reshape(owed.shape[1], -1)
            own -= cross @ owed.T
            for parent, block in zip(parents, np.split(cross, len(parents), axis=1), strict=True):
                blocks[number, parent], blocks[parent, number] = block, block.T
        blocks[number, number] = own
    return {number: block for (number, other), block in blocks.items() if number == other}


def _largest_sigma(covariance: FloatArray) -> float:
    return float(np.sqrt(max(np.linalg.eigvalsh(covariance)[-1], 0.0)))


def _similarity(g: ModuleType, pose: Similarity) -> object:
    """Convert to GTSAM's, which maps p to ``s · (R·p + t)``."""
    return g.Similarity3(g.Rot3(pose.R), pose.t / pose.scale, pose.scale)


def _from_gtsam(pose: object) -> Similarity:
    scale = pose.scale()  # type: ignore[attr-defined]
    return Similarity(scale, pose.rotation().matrix(), scale * np.asarray(pose.translation()))  # type: ignore[attr-defined]
