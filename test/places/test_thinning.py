"""A map that is full: what goes, and what is known without it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loops import ODOMETRY, PLACE, circle, places, similarity

from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.thinning import MAX_PLACES, chained, connected, inverted, redundant, sparse, without

similarities = st.builds(
    lambda yaw, x, y, z, scale: similarity(yaw, (x, y, z), scale),
    st.floats(-3, 3), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.2, 5),
)  # fmt: skip


@given(similarities, similarities)
def test_edges_can_be_turned_around_and_chained(a, b):
    first, second = Edge(0, 1, a, ODOMETRY), Edge(1, 2, b, PLACE, is_place=True)
    whole = chained(first, second)
    assert (whole.first, whole.second, whole.is_place) == (0, 2, True)
    np.testing.assert_allclose(whole.S_first_second.t, (a @ b).t, atol=1e-8)
    back = chained(inverted(second), inverted(first))
    np.testing.assert_allclose(back.S_first_second.t, (a @ b).inverse().t, atol=1e-6)


def test_a_graph_without_a_keyframe_says_the_same_of_the_others():
    true = circle(60, 40)
    edges = [Edge(i, i + 1, a.inverse() @ b, ODOMETRY) for i, (a, b) in enumerate(pairwise(true))]
    recognized = {(e.first, e.second): e for e in places(true, 40)}
    path, kept = without(40, edges, recognized)
    assert len(path) == len(edges) - 1
    assert connected(0, path) == set(range(60)) - {40}
    for edge in [*path, *kept.values()]:
        assert 40 not in (edge.first, edge.second)
        expected = true[edge.first].inverse() @ true[edge.second]
        np.testing.assert_allclose(edge.S_first_second.t, expected.t, atol=1e-9)
    assert len(kept) == len(recognized)  # the place of keyframe 40 is now known of keyframe 39


@dataclass(frozen=True)
class Seen:
    """A keyframe, as far as `redundant` looks at it."""

    median_depth: float = 2.0


tracks_of_pairs = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.floats(0.01, 1), st.booleans()), max_size=60
)


@given(tracks_of_pairs)
def test_a_full_map_keeps_few_places_of_a_keyframe_and_of_each_track_those_that_connect_it(found):
    tracks = {number: number // 3 for number in range(9)}
    recognized = {
        (a, b): Edge(a, b, similarity(0, (0, 0, 0)), Sigmas(0.02, sigma, 0.05), is_place=True)
        for a, b, sigma, _ in found
        if a < b
    }
    rejected = {(a, b) for a, b, _, is_rejected in found if is_rejected and a < b}
    kept = sparse(recognized, tracks, rejected)
    assert kept.items() <= recognized.items()

    def of(number: int, track: int, edges: dict[tuple[int, int], Edge]) -> set[tuple[int, int]]:
        return {
            (a, b) for a, b in edges if (a == number and tracks[b] == track) or (b == number and tracks[a] == track)
        }

    for number in range(9):
        for track in range(3):
            before, after = of(number, track, recognized), of(number, track, kept)
            assert len(after) >= min(len(before), MAX_PLACES)
    for a, b in kept:
        assert min(len(of(a, tracks[b], kept)), len(of(b, tracks[a], kept))) <= MAX_PLACES


def test_places_that_are_rejected_go_first_and_then_the_least_certain():
    tracks = dict.fromkeys(range(6), 0)
    pairs = [(a, b) for a in range(3) for b in range(3, 6)]
    recognized = {
        pair: Edge(*pair, similarity(0, (0, 0, 0)), Sigmas(0.02, 0.1 + 0.1 * i, 0.05), is_place=True)
        for i, pair in enumerate(pairs)
    }
    assert recognized.keys() - sparse(recognized, tracks, set()) == {(2, 5), (1, 4), (0, 3)}
    assert (0, 3) not in sparse(recognized, tracks, {(0, 3)})
    assert (0, 4) not in sparse(recognized, tracks, {(0, 4)})


def test_views_that_others_have_too_go_first_whatever_their_age():
    apart = {n: similarity(0.0, (3.0 * n, 0.0, 0.0)) for n in range(6)}
    doubled = {10 + n: similarity(0.0, (3.0 * n + 0.01 * (n + 1), 0.0, 0.0)) for n in range(3)}
    poses = apart | doubled
    found = list(_all(redundant({n: Seen() for n in poses}, poses, 3, {0})))
    assert len(found) == 3
    assert 0 not in found
    assert {n % 10 for n in found} == {0, 1, 2}  # one of each pair


def test_nothing_goes_that_must_stay():
    poses = {n: similarity(0.0, (0.1 * n, 0.0, 0.0)) for n in range(5)}
    assert _all(redundant({n: Seen() for n in poses}, poses, 5, {0, 1, 2, 3})) == [4]


def _all(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value
