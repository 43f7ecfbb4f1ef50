from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ttt3r_ros.offline.report import _counted, place_stamps
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.similarity import Similarity


@pytest.mark.parametrize(
    ("reason", "count", "said"),
    [
        ("the stream began", 1, "1 x the stream began"),
        ("after 6 frames", 11, "11 x after 6 frames"),
        ("no image for 8.800 s", 1, "1 x no image for 8.800 s"),
        ("no image for 8.800 s", 2, "2 x, the first: no image for 8.800 s"),
    ],
)
def test_reasons_are_counted_in_words(reason: str, count: int, said: str):
    assert _counted(reason, count) == said


def test_recognized_places_are_told_from_rejected_ones_and_odometry():
    def edge(first: int, second: int, **kind: bool) -> Edge:
        return Edge(first, second, Similarity.of(np.eye(4)), Sigmas(0.01, 0.01, 0.01), **kind)

    content = SimpleNamespace(
        keyframes=[SimpleNamespace(number=number, stamp_ns=100 * number) for number in range(5)],
        edges=[
            edge(0, 1),
            edge(0, 3, is_place=True),
            edge(1, 4, is_place=True),
        ],
        rejected=[2],
    )
    assert place_stamps(content) == ([(0, 300)], [(100, 400)])
