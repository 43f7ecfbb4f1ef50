"""What happens to a frame of a recording, where the whole command would be too large a lever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rule_weights import TINY, rule_network

from ttt3r_ros.camera.calibration import Calibration, Distortion
from ttt3r_ros.camera.rectify import Rectifier
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.mapping.voxel_map import VoxelMap
from ttt3r_ros.offline.run import OutputOptions, Run
from ttt3r_ros.offline.run_folder import RunFolder
from ttt3r_ros.offline.selection import Selection
from ttt3r_ros.sources import SourceFrame
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream

CAMERA = Intrinsics(70.0, 70.0, 40.0, 30.0, 80, 60)
LENS = Distortion("plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))
OPTIONS = OutputOptions(depth=True, rgb=True, cloud=True, min_confidence=1.0, max_depth=30.0, undistort=False)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


class Recording:
    name, rate_hz, length, recorded_time = "a recording", 10.0, 3, True

    def __init__(self, distortion: Distortion | None, *, rectify: bool = False, camera: Intrinsics = CAMERA) -> None:
        self._calibration, self._rectify = Calibration.of(camera, distortion), rectify

    def frames(self, start_s: float = 0.0) -> Iterator[SourceFrame]:
        for i in range(3):
            image = picture(i)
            if self._rectify:
                image = Rectifier(CAMERA, LENS.coefficients, LENS.model).rectify(image)
            yield SourceFrame(image, i * 10**8, self._calibration)


def taken(folder: Path, source: Recording, **changes: bool) -> Run:
    stream = Stream(Backbone(rule_network(TINY)), StreamSettings(max_speed=0.0, max_turn_rate=0.0))
    options = OutputOptions(**{**vars(OPTIONS), **changes})
    run = Run(stream, RunFolder(folder), options, VoxelMap(0.05, 1000))
    folder.mkdir(exist_ok=True)
    with FrameProgress("a run", None, Console(quiet=True)) as progress:
        assert run.take_all(source, Selection(), progress, threading.Event())
    return run


def test_distortion_is_undone_where_asked_for(tmp_path):
    asked = taken(tmp_path / "a", Recording(LENS), undistort=True).findings.poses
    beforehand = taken(tmp_path / "b", Recording(None, rectify=True)).findings.poses
    ignored = taken(tmp_path / "c", Recording(LENS)).findings.poses
    np.testing.assert_array_equal(list(asked.values()), list(beforehand.values()))
    assert not np.allclose(list(asked.values()), list(ignored.values()))


def test_a_calibration_of_other_images_is_said_and_not_used(tmp_path, caplog):
    other = Recording(LENS, camera=Intrinsics(70.0, 70.0, 40.0, 30.0, 160, 120))
    words = "the camera_info is for 160x120 pixels but the images have 80x60"
    assert len(taken(tmp_path / "ignored", other).findings.poses) == 3
    (record,) = caplog.records
    assert words in record.getMessage()
    with pytest.raises(UserError, match=words):
        taken(tmp_path / "refused", other, undistort=True)


def test_what_cannot_be_written_is_said_and_what_was_before_is_kept(tmp_path):
    (tmp_path / "depth").write_text("in the way")
    with pytest.raises(UserError, match=r"depth/0\.000000000\.png cannot be written"):
        taken(tmp_path, Recording(None))
