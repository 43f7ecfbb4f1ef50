"""The demo's files and numbers from a recording made by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from tum import read_tum

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation import demo_report
from ttt3r_ros.evaluation.demo_report import (
    FILES,
    Metrics,
    claim_folder,
    show_metrics,
    sparse_note,
    write_report,
)
from ttt3r_ros.evaluation.run_log import Moment, RunLog
from ttt3r_ros.geometry import T_BASE_CAMERA, Intrinsics, T_from_pose

T0_NS = 1_700_000_000 * 10**9


def moment(i: int, points: int = 400) -> Moment:
    """Return a frame like no other; every third has no true depth."""
    rng = np.random.default_rng(i)
    depth = np.full((12, 16), 2.0 + i, np.float32)
    depth[0] = np.nan
    return Moment(
        stamp_ns=T0_NS + i * 10**8,
        rgb=np.full((12, 16, 3), 10 * i, np.uint8),
        depth=depth,
        confidence=np.full((12, 16), 1.0 + i, np.float32),
        true_depth=np.full((12, 16), 2.0, np.float32) if i % 3 else None,
        points_odom=np.full((points, 3), i, np.float32),
        colors=np.full((points, 3), i, np.uint8),
        point_confidence=rng.permutation(points).astype(np.float32),
        intrinsics=Intrinsics(16.0, 16.0, 7.5, 5.5, 16, 12),
        T_odom_camera=T_from_pose([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]][i % 4], [1, 0, 0, 0]) @ T_BASE_CAMERA,
    )


def recording(*, truth: bool = True, poses: int = 10) -> RunLog:
    made = RunLog(
        diagnostics={"frames_dropped": "1", "frames_lost": "1", "rss_mb": "412", "weights": "small.safetensors"}
    )
    for i in range(poses):
        stamp = T0_NS + i * 10**8
        corner = [[0, 0], [1, 0], [1, 1], [0, 1]][i % 4]
        made.poses[stamp] = T_from_pose([*corner, 0], [1, 0, 0, 0])
        if truth:
            made.true_poses[stamp] = T_from_pose([corner[0] + 5, corner[1], 1], [1, 0, 0, 0])
            made.depth_errors.append(0.1 * (1 + i % 2))
        made.latencies_ms.append(100.0 + i)
        made.moments.add(moment(i))
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Metrics]:
    folder = tmp_path_factory.mktemp("demo")
    begun: list[str] = []
    metrics = write_report(folder, recording(), frames_in=13, begins=begun.append)
    assert begun == ["trajectory.png", "frames.png", "cloud.ply", "cloud.png", "demo.gif"]
    return folder, metrics


@pytest.mark.slow
def test_everything_is_written(written: tuple[Path, Metrics]) -> None:
    folder, metrics = written
    assert json.loads((folder / "metrics.json").read_text()) == {
        "frames_in": 13,
        "frames_out": 10,
        "dropped": 2,
        "lost": 1,
        "ate_rmse_m": 0.0,
        "path_length_m": 9.0,
        "depth_abs_rel": 0.15,
        "latency_ms_p50": 104.5,
        "latency_ms_p95": 108.5,
        "node_rss_mb": 412.0,
    }
    assert (metrics.frames_out, metrics.dropped, metrics.lost) == (10, 2, 1)  # every image is accounted for
    assert len(read_tum(folder / "trajectory.txt")) == 10
    assert read_tum(folder / "groundtruth.txt").positions[0].tolist() == [5, 0, 1]
    for name in ("trajectory.png", "frames.png"):
        picture = cv2.imread(str(folder / name))
        assert picture is not None
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 10


@pytest.mark.slow
def test_every_picture_says_what_must_be_said_of_the_weights(tmp_path: Path, written: tuple[Path, Metrics]) -> None:
    notes = {"without": "", "with": "these weights have never seen a real image"}
    for name, note in notes.items():
        (tmp_path / name).mkdir()
        write_report(tmp_path / name, recording(), frames_in=13, note=note)
    for name in ("trajectory.png", "frames.png", "cloud.png", "demo.gif"):
        first, again, noted = (folder / name for folder in (written[0], *(tmp_path / name for name in notes)))
        assert first.read_bytes() == again.read_bytes(), name
        assert first.read_bytes() != noted.read_bytes(), name


@pytest.fixture
def only_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pictures, draw but the path."""
    for name in ("draw_frames", "draw_cloud", "draw_clip"):
        monkeypatch.setattr(demo_report, name, lambda *_, **__: None)


@pytest.mark.slow
def test_without_truth_its_numbers_are_null(only_the_path, tmp_path: Path) -> None:
    (tmp_path / "groundtruth.txt").write_text("of an earlier run")
    found = write_report(tmp_path, recording(truth=False), frames_in=None)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [key for key, value in metrics.items() if value is None] == ["frames_in", "ate_rmse_m", "depth_abs_rel"]
    assert metrics["path_length_m"] == 9.0
    assert not (tmp_path / "groundtruth.txt").exists()
    assert (tmp_path / "trajectory.png").exists()
    out = io.StringIO()
    show_metrics(found, Console(file=out, width=100))
    for words in ("frames out", "412 MB", "104 ms", "of the estimate"):
        assert words in out.getvalue()


def test_nothing_heard_is_no_failure(tmp_path: Path) -> None:
    write_report(tmp_path, RunLog(), frames_in=5)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["frames_in"] == 5
    assert metrics["frames_out"] == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.json"]
    unknown = write_report(tmp_path, RunLog(), frames_in=None)
    assert (unknown.dropped, unknown.lost) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize("poses", [1, 2])
def test_a_few_poses_are_drawn_though_not_compared(only_the_path, tmp_path: Path, poses: int) -> None:
    metrics = write_report(tmp_path, recording(poses=poses), frames_in=poses)
    assert metrics.ate_rmse_m is None
    assert (tmp_path / "trajectory.png").exists()


@pytest.mark.parametrize(("frames_in", "dropped"), [(200, 20), (200, 127), (None, 127), (None, None), (0, 0)])
def test_many_dropped_images_are_noted(frames_in: int | None, dropped: int | None) -> None:
    lost, frames_out = 3, 70
    metrics = Metrics(frames_in, frames_out, dropped, lost, *[None] * 6)
    if dropped == 127:
        assert metrics.dropped_note.startswith("127 of 200 images were dropped, since this computer is too slow or was")
    else:
        assert metrics.dropped_note == ""


def test_depth_on_few_pixels_is_said() -> None:
    made = RunLog()
    assert sparse_note(made) == ""
    made.moments.add(moment(0))  # 11 of 12 rows
    assert sparse_note(made) == ""
    for i in range(1, 3):
        made.moments.add(moment(i))
        list(made.moments)[-1].depth[2:] = np.nan  # 1 of 12
    assert sparse_note(made).startswith("only 36% of the pixels have a depth, since the weights are unsure")


def vertices(path: Path) -> np.ndarray:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex ")
    return np.frombuffer(body, dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])


@pytest.mark.slow
def test_the_cloud_keeps_the_confident_points(written: tuple[Path, Metrics]) -> None:
    points = vertices(written[0] / "cloud.ply")
    assert len(points) == 10 * 280  # 70 % of each
    assert set(points["xyz"].ravel().tolist()) == set(range(10))
    np.testing.assert_array_equal(points["xyz"], points["rgb"])


@pytest.mark.slow
def test_the_cloud_is_bounded(only_the_path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_report, "MAX_CLOUD_POINTS", 1000)
    made = RunLog()
    for i in range(3):
        made.moments.add(moment(i, points=600))
        made.poses[moment(i, points=0).stamp_ns] = np.eye(4)
    write_report(tmp_path, made, frames_in=3)
    points = vertices(tmp_path / "cloud.ply")
    assert 997 <= len(points) <= 1000
    assert len(np.unique(points["xyz"][:, 0])) == 3


def test_a_folder_is_claimed_only_from_another_run(tmp_path: Path) -> None:
    ours, others = tmp_path / "a/ours", tmp_path / "others"
    for _ in range(2):
        claim_folder(ours)
        (ours / "metrics.json").write_text("of an earlier run")
    others.mkdir()
    for name in FILES:
        (others / name).write_text("mine")
        with pytest.raises(UserError, match=f"others contains {name}, which no demo wrote"):
            claim_folder(others)
        (others / name).unlink()
    (others / "notes.txt").write_text("mine")
    claim_folder(others)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be created"):
        claim_folder(tmp_path / "file/below")
