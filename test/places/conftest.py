"""Keyframes of a rendered room, with its true depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.geometry import inverse
from ttt3r_ros.places.keyframe import Keyframe, keyframe_of
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.stream.estimate import Estimate, Timings
from ttt3r_ros.synthetic import Sequence

WIDTH, HEIGHT = 160, 120
#: Frames of a walk: the second is near the first one, the last one elsewhere.
FRAMES = (20, 23, 70)


@pytest.fixture(scope="session")
def views() -> tuple[list[Keyframe], list[Similarity]]:
    """Return keyframes and their true S_world_camera."""
    sequence = Sequence(7, 71, width=WIDTH, height=HEIGHT, fps=5, motion="wheeled")
    keyframes = []
    for number, index in enumerate(FRAMES):
        seen = sequence.render(index)
        depth = seen.depth[0].numpy()
        estimate = Estimate(
            T_world_camera=np.eye(4),
            fault=None,
            learning_rate=np.ones(1, np.float32),
            state_level=1.0,
            segment=0,
            segment_frames=2,
            pixel_map=PixelMap((WIDTH, HEIGHT), (WIDTH, HEIGHT), (0, 0), (WIDTH, HEIGHT)),
            scale=1.0,
            timings=Timings(0.0, 0.0, 0.0),
            descriptor=np.ones(4, np.float32),
            intrinsics=sequence.intrinsics,
        )
        T = seen.T_world_camera[0].numpy()
        dense = depth, np.full_like(depth, 3.0)
        keyframes.append(keyframe_of(number, 0, index * 10**9, seen.image[0].numpy(), estimate, dense, T))
    return keyframes, [Similarity.of(k.T_odom_camera) for k in keyframes]


@pytest.fixture(scope="session")
def pair(views) -> tuple[Keyframe, Keyframe, Similarity]:
    """Return two keyframes of one place, the second one in meters of 0.8, and the true S_old_new."""
    (old, new, _), _ = views
    smaller = 0.8
    moved = Similarity.of(inverse(old.T_odom_camera) @ new.T_odom_camera, 1 / smaller)
    return old, replace(new, depth=(new.depth * np.float16(smaller)).astype(np.float16)), moved
