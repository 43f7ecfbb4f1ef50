"""Cameras that are put down in a known room, before a network that is never wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark import map_trials
from benchmark.perfect_network import PerfectBackbone, result_of
from benchmark.streamed_walk import StreamedFrame
from ttt3r_ros.geometry import T_BASE_CAMERA, inverse
from ttt3r_ros.synthetic import Sequence
from ttt3r_ros.weights.load import load_weights

pytestmark = pytest.mark.slow

FRAMES, FPS = 42, 3.0


class PerfectWalk:
    """Stands for a `StreamedWalk` whose stream was never wrong."""

    def __init__(self, backbone: PerfectBackbone) -> None:
        self.backbone = backbone
        self.walk = SimpleNamespace(
            spec=SimpleNamespace(frames=FRAMES, fps=FPS),
            stamps_ns=[round(i * 1e9 / FPS) for i in range(FRAMES)],
            T_world_camera=backbone.poses,
        )

    def frames(self, first: int = 0, stop: int = FRAMES) -> Iterator[StreamedFrame]:
        for index in range(first, stop):
            T_odom_camera = inverse(self.backbone.poses[0]) @ self.backbone.poses[index]
            stamp = self.walk.stamps_ns[index]
            frame, result, _ = result_of(self.backbone, index, stamp, T_odom_camera, 1.0, begins=index == 0)
            motion = replace(result.motion, T_odom_base=T_odom_camera @ inverse(T_BASE_CAMERA))
            frame, result = replace(frame, T_base_camera=T_BASE_CAMERA), replace(result, motion=motion)
            yield StreamedFrame(index, frame, result, 0.0)


@pytest.fixture(scope="module")
def streamed() -> PerfectWalk:
    torch.set_num_threads(1)
    sequence = Sequence(7, FRAMES, width=160, height=120, fps=FPS, motion="revisiting")
    return PerfectWalk(PerfectBackbone(load_weights("").network, sequence))


@pytest.fixture(scope="module")
def tried(streamed) -> tuple[list[map_trials.Trial], list[tuple]]:
    """Return the trials of the walk, and of what each was judged."""
    judged: list[tuple] = []
    error_of = map_trials.error_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_trials, "WATCHED_S", 4.0)
        patch.setattr(map_trials, "APART_M", 0.5)
        patch.setattr(map_trials, "error_of", lambda *args: judged.append(args) or error_of(*args))
        return map_trials.trials(streamed, streamed.backbone, 1), judged


def test_a_camera_in_a_known_room_is_found_where_it_is(tried):
    trials, _ = tried
    assert [trial.kind for trial in trials] == ["kidnapped", "restarted"]
    for trial in trials:
        assert trial.frame >= 25  # beyond what is mapped
        assert trial.found_s is not None
        assert 0 <= trial.found_s < 4.0
        assert trial.error is not None
        assert trial.error[0] < 0.2
        assert not trial.is_wrong


def test_a_camera_that_is_found_in_another_room_is_wrong(tried):
    """The truth says that what looks like the known room is 5 m away from it."""
    _, judged = tried
    assert len(judged) == 2
    for walk, *found in judged:
        poses = np.array(walk.T_world_camera)
        poses[25:, 0, 3] += 5.0
        elsewhere = SimpleNamespace(**{**vars(walk), "T_world_camera": poses})
        assert map_trials.Trial("kidnapped", 0, 0.0, map_trials.error_of(elsewhere, *found)).is_wrong


def test_the_odometry_of_a_camera_that_is_put_down_goes_on_from_where_it_was_taken_up(streamed):
    (before,) = streamed.frames(24, 25)
    seen = list(map_trials._put_down(streamed, 25, 30))
    assert [frame.index for frame in seen] == list(range(30, 42))
    np.testing.assert_allclose(seen[0].T_odom_camera, before.T_odom_camera, atol=1e-9)
    for frame, true in zip(seen, streamed.frames(30), strict=True):
        moved = inverse(seen[0].T_odom_camera) @ frame.T_odom_camera
        expected = inverse(streamed.backbone.poses[30]) @ streamed.backbone.poses[true.index]
        np.testing.assert_allclose(moved, expected, atol=1e-9)
        carried_s = map_trials.CARRIED_S + (true.index - 30) / FPS
        assert frame.result.stamp_ns == pytest.approx(before.result.stamp_ns + 1e9 * carried_s, abs=2)
    assert [frame.result.estimate.segment_frames for frame in seen] == [1] + [2] * 11
    assert {frame.result.estimate.segment for frame in seen} == {before.result.estimate.segment + 1}
