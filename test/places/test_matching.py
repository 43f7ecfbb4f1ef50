"""Local features of two keyframes, and the pose they agree on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ttt3r_ros.places.matching import Features, features_of, match
from ttt3r_ros.places.pieces import finished
from ttt3r_ros.places.verification import difference


@pytest.fixture(scope="module")
def features(pair):
    return features_of(pair[0]), features_of(pair[1])


def test_two_views_of_a_place_give_pose_and_scale(pair, features):
    old, new, true = pair
    found = finished(match(old, new, *features))
    assert found is not None
    angle, offset, scale = difference(found.S_old_new, true)
    assert angle < np.deg2rad(1.5)
    assert offset < 0.05 * old.median_depth
    assert scale < 0.05
    assert found.inliers >= 25
    assert found.coverage >= 5
    assert found.spread < 0.05
    assert angle < 4 * found.sigmas.rotation
    assert offset < 4 * found.sigmas.translation


def test_views_of_different_places_and_empty_ones_have_no_pose(views, features):
    old, _, other = views[0]
    found = finished(match(old, other, features[0], features_of(other)))
    assert found is None or found.inliers < 25
    nothing = Features(np.empty((0, 2)), np.empty((0, 3)), np.empty((0, 128), np.float32))
    assert finished(match(old, other, features[0], nothing)) is None
    black = replace(old, jpeg=np.zeros(10, np.uint8))
    assert len(features_of(black).pixels) == 0


def test_features_lie_in_the_network_image_and_on_what_the_keyframe_sees(pair, features):
    old, found = pair[0], features[0]
    assert len(found.pixels) == len(found.points) == len(found.descriptors) > 100
    assert (found.pixels >= 0).all()
    assert (found.pixels <= np.array(old.pixel_map.size) - 1).all()
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, rtol=1e-4)
    known = np.isfinite(found.points[:, 2])
    projected = found.points[known] @ old.intrinsics.matrix().T
    np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], found.pixels[known], atol=1e-6)
