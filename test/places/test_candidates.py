"""Which earlier keyframes may show a place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ttt3r_ros.places.candidates import best, similarities


def test_what_all_images_share_tells_none_from_another():
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(20, 8)).astype(np.float32)
    descriptors[:, 0] += 1000.0
    found = similarities(descriptors, descriptors[3])
    assert found.argmax() == 3
    assert found[3] > 0.99 > 0.8 > np.delete(found, 3).max()


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 3))
def test_the_best_are_taken_one_of_each_place(values, count, width):
    """As the naive way: sort, and leave out what is near a better one."""
    similarity, order = np.array(values, np.float32), np.arange(len(values))
    found = best(similarity, lambda i: np.abs(order - i) <= width, count, 0.1)
    expected: list[int] = []
    for index in sorted(order, key=lambda i: -similarity[i]):
        if similarity[index] >= np.float32(0.1) and all(abs(index - e) > width for e in expected):
            expected.append(int(index))
    assert found == expected[:count]


def test_of_nothing_there_is_no_best():
    assert best(np.array([], np.float32), lambda _: np.zeros(0, bool), 2, 0.0) == []
