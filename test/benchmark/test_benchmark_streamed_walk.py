"""What a stream makes of a walk comes back from the disk, also where the work was interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark import streamed_walk
from benchmark.streamed_walk import StreamedWalk
from benchmark.walk import Walk, WalkSpec
from ttt3r_ros.stream.load import load_backbone
from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
from ttt3r_ros.stream.stream import Stream

pytestmark = pytest.mark.slow

FRAMES = 12


def test_a_walk_that_was_interrupted_is_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_walk, "_SAVED_EVERY", 4)
    walk = Walk(WalkSpec(3, "wheeled", FRAMES, 96, 72, 5.0), tmp_path)
    walk.render(lambda _: None)
    loaded = load_backbone(NetworkSettings(device="cpu"))

    def streamed(folder: Path) -> StreamedWalk:
        folder.mkdir(exist_ok=True)
        return StreamedWalk(walk, Stream(loaded.backbone, StreamSettings(weights_interval=3)), folder)

    def stop_at_seven(done: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    whole = streamed(tmp_path / "whole")
    whole.run(lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        streamed(tmp_path / "parts").run(stop_at_seven)
    parts, taken = streamed(tmp_path / "parts"), []
    parts.run(taken.append)
    assert taken == list(range(5, FRAMES + 1))  # from where its state was kept
    streamed(tmp_path / "parts").run(pytest.fail)  # nothing is left to do
    assert len(list(whole.frames())) == FRAMES
    for one, other in zip(whole.frames(), parts.frames(), strict=True):
        np.testing.assert_array_equal(one.T_odom_camera, other.T_odom_camera)
        assert one.result.estimate.segment == other.result.estimate.segment
        for a, b in zip(one.dense(), other.dense(), strict=True):
            np.testing.assert_array_equal(a, b)
    (third,) = whole.frames(3, 4)
    np.testing.assert_array_equal(third.frame.image, walk.image(3))
    assert third.frame.stamp_ns == walk.stamps_ns[3]
