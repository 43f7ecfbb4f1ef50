"""Every check of a recognized place refuses what it is for, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ttt3r_ros.geometry import rotation_from_quaternion
from ttt3r_ros.places.dense import Agreement
from ttt3r_ros.places.graph import Sigmas
from ttt3r_ros.places.matching import Match, features_of
from ttt3r_ros.places.pieces import finished
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.two_frame import TwoFrames
from ttt3r_ros.places.verification import (
    MIN_SIGMAS,
    PoseSkill,
    agree,
    edge_of,
    fault_of_depth,
    fault_of_match,
    fault_of_network,
    recognized,
    verify,
)

DEPTH = 2.0


def turned(yaw: float, x: float = 0.0, scale: float = 1.0) -> Similarity:
    return Similarity(scale, rotation_from_quaternion([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0]), np.array([x, 0, 0]))


MATCH = Match(turned(0.2, 0.5), 40, 8, 0.6, 0.05, Sigmas(0.02, 0.05, 0.03))
LOOK = TwoFrames(MATCH.S_old_new, 0.1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, None),
        ({"inliers": 24}, "too few"),
        ({"coverage": 4}, "cover"),
        ({"share": 0.2}, "too many features disagree"),
        ({"spread": 0.3}, "one scale"),
        ({"S_old_new": turned(0.2, 3.1)}, "too far apart"),
        ({"sigmas": Sigmas(0.3, 0.05, 0.03)}, "leave the pose open"),
        ({"sigmas": Sigmas(0.02, 1.1, 0.03)}, "leave the pose open"),
    ],
)
def test_what_features_must_be_like(change, word):
    fault = fault_of_match(replace(MATCH, **change), DEPTH)
    assert fault is None if word is None else word in fault
    assert "too few" in fault_of_match(None, DEPTH)


def test_what_depth_images_must_be_like():
    assert fault_of_depth(Agreement(0.5, 0.9)) is None
    assert "overlap" in fault_of_depth(Agreement(0.1, 0.9))
    assert "contradict" in fault_of_depth(Agreement(0.5, 0.6))


@pytest.mark.parametrize(
    ("look", "word"),
    [
        (LOOK, None),
        (replace(LOOK, spread=0.4), "shapes"),
        (replace(LOOK, S_old_new=turned(0.2, 0.5, 1.4)), "scale"),
        (replace(LOOK, S_old_new=turned(0.45, 0.5)), "rotation"),
        (replace(LOOK, S_old_new=turned(0.2, 1.2)), "translation"),
    ],
)
def test_what_the_network_must_say_in_both_orders(look, word):
    for looks in ((LOOK, look), (look, LOOK)):
        fault = fault_of_network(MATCH, looks, DEPTH)
        assert fault is None if word is None else word in fault
    assert "no use" in fault_of_network(MATCH, None, DEPTH)


def test_neighboring_places_must_agree_in_rotation_translation_and_scale():
    S = MATCH.S_old_new
    assert agree(S, turned(0.3, 0.6, 1.1), DEPTH)
    assert not agree(S, turned(0.36, 0.5), DEPTH)
    assert not agree(S, turned(0.2, 1.1), DEPTH)
    assert not agree(S, turned(0.2, 0.5, 1.4), DEPTH)


def test_a_network_is_asked_once_it_has_shown_that_it_can_tell_poses():
    true, skill = turned(0.4, 0.3), PoseSkill()
    good, bad = (TwoFrames(S, 0.1) for S in (turned(0.38, 0.3), turned(0.1, 0.3)))
    able = hopeless = skill
    for count in range(8):
        assert not able.is_good
        able = able.after((good, good), true)
        if count < 3:
            assert not hopeless.is_measured
            hopeless = hopeless.after((bad, bad), true)
    assert able.is_good
    assert hopeless.is_measured
    assert not hopeless.is_good
    assert skill.wants(true)
    assert not skill.wants(turned(0.05))  # too small a turn to tell
    assert not able.wants(true)
    assert not hopeless.wants(true)


def test_a_place_is_recognized_by_features_and_depth_together(pair, views):
    old, new, true = pair
    features = features_of(old), features_of(new)
    edge = finished(verify(None, old, new, *features))
    assert (edge.first, edge.second, edge.is_place) == (old.number, new.number, True)
    np.testing.assert_allclose(edge.S_first_second.t, true.t, atol=0.1)
    assert edge.sigmas.rotation > MIN_SIGMAS.rotation
    assert edge.sigmas == edge_of(old, new, finished(recognized(old, new, *features))).sigmas
    # the same features on a wall that stands in the middle of the room
    nearer = replace(new, depth=np.full_like(new.depth, 0.3))
    assert isinstance(finished(recognized(old, nearer, features[0], features_of(nearer))), str)
    assert finished(verify(None, old, views[0][2], features[0], features_of(views[0][2]))) == "too few features agree"
