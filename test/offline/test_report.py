from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ttt3r_ros.offline.report import place_stamps
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.similarity import Similarity


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
