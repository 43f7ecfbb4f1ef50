from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.mapping.voxel_map import MapPoints
from ttt3r_ros.viewer.pieces import PIECE_POINTS, Pieces, thinned


def a_cloud(count: int, *, seed: int = 0) -> MapPoints:
    random = np.random.default_rng(seed)
    return MapPoints(
        random.uniform(-5, 5, (count, 3)).astype(np.float32),
        random.integers(0, 256, (count, 3), dtype=np.uint8),
        random.uniform(1, 4, count).astype(np.float32),
    )


def first(cloud: MapPoints, count: int) -> MapPoints:
    return MapPoints(cloud.positions[:count], cloud.colors[:count], cloud.confidences[:count])


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 3 * PIECE_POINTS), st.sampled_from([1.0, 2.0, 9.0])), max_size=5))
def test_a_reader_has_what_there_is_after_every_change(steps: list[tuple[int, float]]) -> None:
    cloud, pieces = a_cloud(3 * PIECE_POINTS), Pieces()
    shown: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for count, least in steps:
        now = first(cloud, count)
        while changed := pieces.changed(now, least, at_most=2):
            assert len(changed) <= 2
            shown.update({piece.number: (piece.positions, piece.colors) for piece in changed})
        kept = now.confidences >= least
        empty = (np.empty((0, 3)), np.empty((0, 3)))
        positions, shades = (np.concatenate([empty[k], *(shown[i][k] for i in sorted(shown))]) for k in (0, 1))
        np.testing.assert_array_equal(positions, now.positions[kept])
        np.testing.assert_array_equal(shades, now.colors[kept])


def test_growing_sends_the_end_alone() -> None:
    cloud, pieces = a_cloud(5 * PIECE_POINTS), Pieces()
    sent = pieces.changed(first(cloud, 4 * PIECE_POINTS), 1.0, at_most=99)
    assert [piece.number for piece in sent] == [0, 1, 2, 3]
    assert [piece.number for piece in pieces.changed(cloud, 1.0, at_most=99)] == [4]
    assert pieces.changed(cloud, 1.0, at_most=99) == []


def test_every_piece_has_its_turn_though_the_first_ones_change_all_the_time() -> None:
    pieces, sent = Pieces(), set()
    for seed in range(5):
        sent |= {piece.number for piece in pieces.changed(a_cloud(5 * PIECE_POINTS, seed=seed), 1.0, at_most=1)}
    assert sent == {0, 1, 2, 3, 4}


def test_a_slight_move_is_not_worth_sending() -> None:
    cloud, pieces = a_cloud(100), Pieces()
    pieces.changed(cloud, 1.0, at_most=1)
    assert pieces.changed(MapPoints(cloud.positions + 0.04, cloud.colors, cloud.confidences), 1.0, at_most=1) == []
    assert pieces.changed(MapPoints(cloud.positions + 0.06, cloud.colors, cloud.confidences), 1.0, at_most=1)


def test_a_million_points_are_thinned_to_the_budget() -> None:
    cloud = a_cloud(1_000_001)
    few = thinned(cloud, 300_000)
    assert 200_000 < len(few.positions) == len(few.colors) == len(few.confidences) <= 300_000
    np.testing.assert_array_equal(few.positions[1], cloud.positions[4])
    assert thinned(cloud, 2_000_000) is cloud
    assert len(thinned(first(cloud, 0), 10).positions) == 0
