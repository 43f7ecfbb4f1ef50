"""The packaged weights on flats they have never seen, from pixels to the robot's odometry.

Everything is deterministic, so that the limits can be close to what is reached (in brackets). For the network alone, a
state that is not updated, an image that is shifted by 8 of its 320 pixels, colors in another order, or a pose read in
another convention exceeds at least one of them; the pixels that correct its motion would hide most of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from ttt3r_ros.evaluation.metrics import compare_depth, resample_depth
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.stream import Stream, StreamSettings
from ttt3r_ros.synthetic import Frames, Sequence
from ttt3r_ros.weights.load import load_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

FPS, LENGTH = 10, 30


@dataclass
class Walk:
    sequence: Sequence
    frames: Frames

    def T_odom_base(self) -> list[FloatArray]:
        T_world_base = [T @ inverse(T_BASE_CAMERA) for T in self.frames.T_world_camera.numpy()]
        return [inverse(T_world_base[0]) @ T for T in T_world_base]


@dataclass
class Errors:
    """Means over all walks: of depth, of the position over the path's length, and of each frame's turn in degrees."""

    abs_rel: float
    position: float
    turn_deg: float
    focal: float


@pytest.fixture(scope="module")
def walks() -> list[Walk]:
    sequences = [
        Sequence(seed, LENGTH, width=320, height=240, fps=FPS, motion=motion)
        for seed, motion in ((3, "handheld"), (4, "wheeled"))
    ]
    return [Walk(sequence, sequence.render(0, LENGTH)) for sequence in sequences]


def follow(walks: list[Walk], frames: int, **settings: object) -> Errors:
    found = np.mean([_follow(walk, frames, settings) for walk in walks], axis=0)
    return Errors(*(float(value) for value in found))


def _follow(walk: Walk, frames: int, settings: dict[str, object]) -> list[float]:
    weights = load_weights("")
    settings = {"reset_interval": weights.segment_frames, **settings}
    stream = Stream(Backbone(weights.network), StreamSettings(**settings))
    poses, depth_errors = [], []
    for index in range(frames):
        frame = stream.process(walk.frames.image[index].numpy(), 10**9 + index * 10**9 // FPS, T_BASE_CAMERA)
        assert frame.lost is None
        assert frame.motion is not None
        assert frame.estimate is not None
        assert frame.estimate.depth is not None
        assert frame.estimate.intrinsics is not None
        poses.append(frame.motion.T_odom_base)
        mapped = frame.estimate.pixel_map.intrinsics(walk.sequence.intrinsics)
        truth = resample_depth(walk.frames.depth[index].numpy(), walk.sequence.intrinsics, mapped)
        depth_errors.append(compare_depth(frame.estimate.depth, truth).abs_rel)
    truths = walk.T_odom_base()[:frames]
    steps, true_steps = ([inverse(a) @ b for a, b in pairwise(T)] for T in (poses, truths))
    path = sum(np.linalg.norm(step[:3, 3]) for step in true_steps)
    missed = np.sqrt(np.mean([np.sum((a - b)[:3, 3] ** 2) for a, b in zip(poses, truths)]))
    turns = [np.linalg.norm(rotation_vector(a[:3, :3].T @ b[:3, :3])) for a, b in zip(steps, true_steps)]
    return [np.mean(depth_errors), missed / path, np.degrees(np.mean(turns)), frame.estimate.intrinsics.fx / mapped.fx]


def test_odometry_and_depth_with_the_resets_that_suit_the_weights(walks: list[Walk]) -> None:
    errors = follow(walks, LENGTH)
    assert errors.abs_rel < 0.074  # [0.067]
    assert errors.position < 0.03  # [0.0225]; standing still would be 0.55
    assert errors.turn_deg < 0.075  # [0.061]; standing still would be 1.38
    assert errors.focal == pytest.approx(1.0, abs=0.02)


def test_the_network_alone_carries_a_segment(walks: list[Walk]) -> None:
    errors = follow(walks, 16, reset_policy="never", correct_motion=False)
    assert errors.abs_rel < 0.071  # [0.064]
    assert errors.position < 0.15  # [0.134]; standing still would be 0.54
    assert errors.turn_deg < 0.49  # [0.446]
