"""The pictures of a cloud show it, and the truth where that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ttt3r_ros import colors
from ttt3r_ros.evaluation import cloud_pictures
from ttt3r_ros.evaluation.cloud_pictures import CONFIDENT_SHARE, confident_points, draw_clip, draw_cloud, joined
from ttt3r_ros.evaluation.run_log import Moment, RunLog
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, Intrinsics, T_from_pose, unproject

CAMERA = Intrinsics(30.0, 30.0, 19.5, 14.5, 40, 30)
RED = (200, 20, 20)


def a_run(*, truth: bool, frames: int = 4, T_base_camera: FloatArray = T_BASE_CAMERA) -> RunLog:
    """Return a run past a red wall; its truth began elsewhere, and lies 0.5 m farther away than the estimate."""
    recording = RunLog()
    elsewhere = T_from_pose([7.0, -2.0, 1.0], [1.0, 0.0, 0.0, 1.0])
    for i in range(frames):
        T_odom_base = T_from_pose([0.0, -0.3 * i, 0.0], [1.0, 0.0, 0.0, 0.0])
        recording.poses[i] = T_odom_base
        if truth:
            recording.true_poses[i] = elsewhere @ T_odom_base
        recording.moments.add(a_moment(i, T_odom_base @ T_base_camera, truth=truth))
    return recording


def a_moment(stamp_ns: int, T_odom_camera: FloatArray, *, truth: bool) -> Moment:
    depth = np.full((30, 40), 2.0, np.float32)
    rgb = np.full((30, 40, 3), RED, np.uint8)
    points = unproject(depth, CAMERA).reshape(-1, 3) @ T_odom_camera[:3, :3].T + T_odom_camera[:3, 3]
    return Moment(
        stamp_ns=stamp_ns,
        rgb=rgb,
        depth=depth,
        confidence=np.ones_like(depth),
        true_depth=depth + np.float32(0.5) if truth else None,
        points_odom=points.astype(np.float32),
        colors=rgb.reshape(-1, 3),
        point_confidence=np.arange(1200, dtype=np.float32),
        intrinsics=CAMERA,
        T_odom_camera=T_odom_camera,
    )


def count(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - color).max(axis=2) < 30).sum())


def test_true_points_are_where_a_perfect_camera_would_have_seen_them() -> None:
    recording = a_run(truth=True)
    for i, moment in enumerate(recording.moments):
        found = recording.true_points(moment)
        assert found is not None
        points, shades = found
        np.testing.assert_allclose(points[:, 0], 2.5, atol=1e-5)  # ahead, half a meter behind the estimate's wall
        assert points[:, 1].mean() == pytest.approx(-0.3 * i, abs=1e-5)
        assert shades.shape == points.shape
    nothing = a_run(truth=False)
    assert nothing.T_odom_world() is None
    assert nothing.true_points(next(iter(nothing.moments))) is None


def test_only_confident_points_are_shown_in_equal_shares() -> None:
    moments = list(a_run(truth=False).moments)
    clouds = confident_points(moments, 10**6)
    assert [len(cloud.positions) for cloud in clouds] == [round(CONFIDENT_SHARE * 1200)] * 4
    assert [len(cloud.positions) for cloud in confident_points(moments, 100)] == [25] * 4
    assert len(joined(confident_points(moments, 100)).positions) == 100
    assert len(joined([]).positions) == 0


@pytest.mark.parametrize("truth", [True, False])
def test_the_cloud_is_drawn_from_two_sides(monkeypatch: pytest.MonkeyPatch, truth: bool) -> None:
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: made.append(figure))
    recording = a_run(truth=truth)
    draw_cloud(Path("c.png"), recording, list(recording.moments))
    pictures = [axes.get_images()[0].get_array() for axes in made[0].axes]
    assert len(pictures) == (4 if truth else 2)
    assert all(count(picture, RED) > 5000 for picture in pictures)
    paths = [colors.ESTIMATE, colors.TRUTH] if truth else [colors.ESTIMATE]
    for picture, color in zip(pictures, paths * 2, strict=True):
        assert count(picture, color) > 20
    assert not np.array_equal(pictures[0], pictures[-1])


@pytest.mark.parametrize(
    ("height", "said"),
    [(0.0, "the line is the camera's path; cut open 0.4 m above it"),
     (0.5, "the line is the robot's path; cut open 0.4 m above the camera")],
)  # fmt: skip
def test_rooms_are_cut_open_above_the_camera_also_of_a_robot(
    monkeypatch: pytest.MonkeyPatch, height: float, said: str
) -> None:
    made: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: made.append(figure))
    T_base_camera = T_BASE_CAMERA.copy()
    T_base_camera[2, 3] = height
    recording = a_run(truth=False, T_base_camera=T_base_camera)
    moments = list(recording.moments)
    draw_cloud(Path("c.png"), recording, moments)
    assert any(said in " ".join(text.get_text().split()) for text in made[0].findobj(Text))
    cloud = joined(confident_points(moments, 10**6))
    path = np.array([pose[:3, 3] for pose in recording.poses.values()])
    assert cloud_pictures._Stage.around(cloud, path, moments).ceiling == pytest.approx(height + 0.4)


def test_the_clip_grows(tmp_path: Path) -> None:
    recording = a_run(truth=True, frames=6)
    draw_clip(tmp_path / "c.gif", recording, list(recording.moments))
    with Image.open(tmp_path / "c.gif") as clip:
        assert clip.n_frames == 6
        assert clip.info["loop"] == 0
        frames = []
        for i in range(clip.n_frames):
            clip.seek(i)
            frames.append(np.asarray(clip.convert("RGB"))[:, 200:])
    reds = [count(frame, RED) for frame in frames]
    assert 0 < reds[0] < reds[2] < reds[5]
    assert all(count(frame, colors.ESTIMATE) > 50 for frame in frames)  # the frustum


def test_a_note_is_below_the_clip(tmp_path: Path) -> None:
    recording = a_run(truth=False, frames=1)
    for name, note in (("plain", ""), ("noted", "a sentence " * 10)):
        draw_clip(tmp_path / f"{name}.gif", recording, list(recording.moments), note=note)
    with Image.open(tmp_path / "plain.gif") as plain, Image.open(tmp_path / "noted.gif") as noted:
        assert plain.size == (600, 360)
        assert noted.size == (600, 360 + 2 * 18)
        below = np.asarray(noted.convert("L"))[360:]
        assert all((below[row : row + 18] < 150).sum() > 100 for row in (0, 18))


def test_one_moment_without_truth_is_a_clip(tmp_path: Path) -> None:
    recording = a_run(truth=False, frames=1)
    draw_clip(tmp_path / "c.gif", recording, list(recording.moments))
    with Image.open(tmp_path / "c.gif") as clip:
        assert clip.size == (600, 360)
