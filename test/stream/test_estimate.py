from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.stream.estimate import Estimate, Timings

NOTHING = Estimate(
    T_world_camera=np.eye(4),
    fault=None,
    learning_rate=np.ones(4, np.float32),
    state_level=1.0,
    segment=0,
    segment_frames=1,
    pixel_map=pixel_map(80, 60, image_size=64),
    scale=1.0,
    timings=Timings(0.5, 0.25, 2.0),
)

confidences = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(1, 100, width=32)
)


def typical(confidence: np.ndarray) -> float | None:
    return dataclasses.replace(NOTHING, confidence=confidence).typical_confidence()


@given(confidences)
def test_a_typical_confidence_is_an_upper_median(confidence):
    some, found = confidence[::4, ::4], typical(confidence)
    assert found in some
    assert 2 * (some >= found).sum() >= some.size
    assert 2 * (some <= found).sum() > some.size


@given(confidences)
def test_only_every_fourth_pixel_of_both_axes_counts(confidence):
    others = np.full_like(confidence, 1000)
    others[::4, ::4] = confidence[::4, ::4]
    assert typical(others) == typical(confidence)


def test_no_confidence_has_no_typical_one():
    assert NOTHING.typical_confidence() is None


def test_the_dense_part_is_there_with_both_halves_or_not_at_all():
    points, confidence = np.zeros((2, 3, 3), np.float32), np.ones((2, 3), np.float32)
    both = dataclasses.replace(NOTHING, points=points, confidence=confidence)
    assert both.dense == (points, confidence)
    assert dataclasses.replace(both, points=None).dense is None
    assert dataclasses.replace(both, confidence=None).dense is None
