"""Whether two keyframes really show one place: everything that is asked before an edge of the graph exists.

A false place bends the whole map, a missed one costs nothing but time. So every check can only refuse. The thresholds
were chosen by hand on one apartment (seed 1000341), for no false place in force there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ttt3r_ros.places.dense import Agreement, agreement
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.matching import Features, Match, match
from ttt3r_ros.places.pieces import Pieces
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.two_frame import TwoFrames, both_ways
from ttt3r_ros.stream.backbone import Backbone


@dataclass(frozen=True)
class Thresholds:
    """Limits of the checks; translations are compared as fractions of the old keyframe's median depth.

    Attributes:
        min_inliers, min_coverage, min_share: of the local features, see `Match`.
        max_scale_spread: of the ratio of depths at the features.
        max_distance: between the cameras: from farther away, appearances are too different.
        max_rotation_sigma, max_offset_sigma: how uncertain the features' pose may be [rad, median depths].
        min_overlap, min_agreeing: of the depth images, see `Agreement`.
        max_shape_spread: between the depth that the network sees now and what the keyframes hold.
        max_scale_error: between the network's scale and that of the features, logarithm.
        max_angle, max_offset: between the network's relative pose and that of the features, in either order [rad], for
            a network that can tell such poses (see `PoseSkill`).
        pair_angle, pair_offset, pair_scale: between two neighboring recognized places [rad], median depths, logarithm.
    """

    min_inliers: int = 25
    min_coverage: int = 5
    min_share: float = 0.3
    max_scale_spread: float = 0.2
    max_distance: float = 1.5
    max_rotation_sigma: float = 0.25
    max_offset_sigma: float = 0.5
    min_overlap: float = 0.2
    min_agreeing: float = 0.7
    max_shape_spread: float = 0.3
    max_scale_error: float = 0.3
    max_angle: float = 0.2
    max_offset: float = 0.3
    pair_angle: float = 0.15
    pair_offset: float = 0.25
    pair_scale: float = 0.3


THRESHOLDS = Thresholds()

#: What a recognized place's relative pose is uncertain by at least: rotation [rad], translation [median depths], scale.
MIN_SIGMAS = Sigmas(0.01, 0.01, 0.02)


@dataclass(frozen=True)
class PoseSkill:
    """Whether a network can tell the relative pose of two views as far apart as keyframes are.

    One that was trained on the frames of videos only cannot; its word on two frames' pose is then not asked for. It is
    measured on neighboring keyframes, whose relative pose odometry knows.

    Attributes:
        errors: of the two-frame rotations, as fractions of odometry's.
    """

    errors: tuple[float, ...] = ()

    #: Errors that are measured, two of each pair, and how many are needed to say that a network cannot.
    WANTED: ClassVar[int] = 16
    NEEDED: ClassVar[int] = 6
    #: A pair must be turned by this angle to say anything [rad].
    MIN_ANGLE: ClassVar[float] = 0.1
    #: Median error of a network that can.
    GOOD: ClassVar[float] = 0.25
    #: Median error of one that cannot.
    HOPELESS: ClassVar[float] = 0.4

    @property
    def is_good(self) -> bool:
        """Whether the network can."""
        return self.is_measured and float(np.median(self.errors)) < self.GOOD

    @property
    def is_measured(self) -> bool:
        """Whether no more pairs are needed: there are enough, or it is hopeless."""
        if len(self.errors) < self.NEEDED:
            return False
        return len(self.errors) >= self.WANTED or float(np.median(self.errors)) > self.HOPELESS

    def wants(self, S_old_new: Similarity) -> bool:
        """Return whether a pair with this relative pose would say anything more."""
        return not self.is_measured and S_old_new.angle >= self.MIN_ANGLE

    def after(self, looks: tuple[TwoFrames, TwoFrames], S_old_new: Similarity) -> PoseSkill:
        """Return the skill after a further pair that it wants, whose relative pose is known."""
        errors = [difference(look.S_old_new, S_old_new)[0] / S_old_new.angle for look in looks]
        return PoseSkill((*self.errors, *errors)[-self.WANTED :])


def fault_of_match(found: Match | None, depth: float, limits: Thresholds = THRESHOLDS) -> str | None:
    """Return why local features say nothing of two keyframes, in a few words; None where they agree on a pose."""
    if found is None or found.inliers < limits.min_inliers:
        return "too few features agree"
    if found.coverage < limits.min_coverage:
        return "the features that agree cover too little of the image"
    if found.share < limits.min_share:
        return "too many features disagree"
    if found.spread > limits.max_scale_spread:
        return "the depths at the features are not of one scale"
    if found.S_old_new.distance > limits.max_distance * depth:
        return "the cameras are too far apart"
    if found.sigmas.rotation > limits.max_rotation_sigma or found.sigmas.translation > limits.max_offset_sigma * depth:
        return "the features leave the pose open"
    return None


def fault_of_depth(found: Agreement, limits: Thresholds = THRESHOLDS) -> str | None:
    """Return why the depth images cannot be of one place, in a few words; None where they can."""
    if found.overlap < limits.min_overlap:
        return "the views overlap too little"
    if found.agreeing < limits.min_agreeing:
        return "the depth images contradict each other"
    return None


def fault_of_network(
    found: Match,
    looks: tuple[TwoFrames, TwoFrames] | None,
    depth: float,
    limits: Thresholds = THRESHOLDS,
) -> str | None:
    """Return in what the network's two looks contradict local features, in a few words; None where in nothing.

    Args:
        found: the features' word.
        looks: the network's, None where it has none.
        depth: the old keyframe's median [m].
        limits: of the checks.
    """
    if looks is None:
        return "the network's answer is of no use"
    for look in looks:
        angle, offset, scale = difference(found.S_old_new, look.S_old_new)
        if look.spread > limits.max_shape_spread:
            return "the network sees other shapes"
        if scale > limits.max_scale_error:
            return "the network sees another scale"
        if angle > limits.max_angle:
            return "the network sees another rotation"
        if offset > limits.max_offset * depth:
            return "the network sees another translation"
    return None


def agree(a: Similarity, b: Similarity, depth: float, limits: Thresholds = THRESHOLDS) -> bool:
    """Return whether two estimates of one relative pose agree as neighboring recognized places must."""
    angle, offset, scale = difference(a, b)
    return angle <= limits.pair_angle and offset <= limits.pair_offset * depth and scale <= limits.pair_scale


def difference(a: Similarity, b: Similarity) -> tuple[float, float, float]:
    """Return by how much two estimates of one relative pose differ: angle [rad], distance, logarithm of the scale."""
    return (
        Similarity(1.0, a.R.T @ b.R, np.zeros(3)).angle,
        float(np.linalg.norm(a.t - b.t)),
        abs(a.log_scale - b.log_scale),
    )


def recognized(
    old: Keyframe,
    new: Keyframe,
    features_old: Features,
    features_new: Features,
    limits: Thresholds = THRESHOLDS,
) -> Pieces[Match | str]:
    """Find the pose that local features and depth images of two keyframes agree on, or why there is none.

    Args:
        old, new: the keyframes.
        features_old, features_new: theirs.
        limits: of the checks.
    """
    depth = old.median_depth
    found = yield from match(old, new, features_old, features_new)
    if (fault := fault_of_match(found, depth, limits)) is not None:
        return fault
    assert found is not None
    yield
    return fault_of_depth(agreement(old, new, found.S_old_new), limits) or found


def verify(
    backbone: Backbone,
    old: Keyframe,
    new: Keyframe,
    features_old: Features,
    features_new: Features,
    limits: Thresholds = THRESHOLDS,
    *,
    asks_network: bool = False,
) -> Pieces[Edge | str]:
    """Return the edge between two keyframes that show one place, or why they do not, in a few words.

    Yields between pieces of work, so that whoever runs it can do something more urgent in between.

    Args:
        backbone: the network.
        old, new: the keyframes.
        features_old, features_new: theirs.
        limits: of the checks.
        asks_network: whether the network can tell poses of views so far apart, and is asked for them.
    """
    found = yield from recognized(old, new, features_old, features_new, limits)
    if isinstance(found, str):
        return found
    if asks_network:
        yield
        looks = yield from both_ways(backbone, old, new)
        if (fault := fault_of_network(found, looks, old.median_depth, limits)) is not None:
            return fault
    return edge_of(old, new, found)


def edge_of(old: Keyframe, new: Keyframe, found: Match) -> Edge:
    """Return the graph's edge of two keyframes that show one place."""
    sigmas = Sigmas(
        float(np.hypot(found.sigmas.rotation, MIN_SIGMAS.rotation)),
        float(np.hypot(found.sigmas.translation, MIN_SIGMAS.translation * old.median_depth)),
        float(np.hypot(found.sigmas.scale, MIN_SIGMAS.scale)),
    )
    return Edge(old.number, new.number, found.S_old_new, sigmas, is_place=True)
