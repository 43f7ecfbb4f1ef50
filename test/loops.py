"""Paths of keyframes that come back to where they have been, for pose graphs."""

from __future__ import annotations

import numpy as np

from ttt3r_ros.geometry import rotation_from_quaternion
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.similarity import Similarity

ODOMETRY, PLACE = Sigmas(0.01, 0.02, 0.02), Sigmas(0.02, 0.05, 0.05)


def similarity(yaw: float, t: tuple[float, float, float], scale: float = 1.0) -> Similarity:
    return Similarity(scale, rotation_from_quaternion([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]), np.array(t))


def circle(count: int, lap: int) -> list[Similarity]:
    """Return poses along a circle of 5 m, once around which are so many."""
    angles = [2 * np.pi * i / lap for i in range(count)]
    return [similarity(a + np.pi / 2, (5 * np.cos(a), 5 * np.sin(a), 0)) for a in angles]


def places(true: list[Similarity], lap: int, every: int = 4) -> list[Edge]:
    """Return edges from keyframes to those a lap before."""
    return [
        Edge(i - lap, i, true[i - lap].inverse() @ true[i], PLACE, is_place=True) for i in range(lap, len(true), every)
    ]
