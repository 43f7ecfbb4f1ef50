"""Videos, folders and the choice between sources."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ttt3r_ros.errors import UserError
from ttt3r_ros.sources import open_source


def picture(shade: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return an RGB image that tells its number and its channels' order apart."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = shade
    image[..., 2] = 255 - shade
    return image


def write_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def write_video(path: Path, frames: int = 10, fps: float = 20.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(cv2.cvtColor(picture(20 * i), cv2.COLOR_RGB2BGR))
    writer.release()


def test_a_video_keeps_colors_and_times(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi")
    source = open_source(str(tmp_path / "v.avi"))
    frames = list(source.frames())
    assert source.length == len(frames) == 10
    assert source.rate_hz == pytest.approx(20.0)
    assert not source.recorded_time
    assert not source.has_truth
    assert source.T_base_camera is None
    assert [f.stamp_ns for f in frames] == [i * 50_000_000 for i in range(10)]
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8
    np.testing.assert_allclose(frames[5].image[24, 32], [100, 0, 155], atol=6)
    assert frames[0].intrinsics is None
    assert frames[0].T_world_camera is None


def test_a_video_can_be_counted_at_another_rate_and_started_later(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi")
    frames = list(open_source(str(tmp_path / "v.avi"), fps=10.0).frames(start_s=0.5))
    assert [f.stamp_ns for f in frames] == [i * 100_000_000 for i in range(5, 10)]
    np.testing.assert_allclose(frames[0].image[24, 32], [100, 0, 155], atol=6)


def test_images_are_sorted_as_people_count(tmp_path: Path) -> None:
    for i in (10, 9, 1, 2):
        write_image(tmp_path / f"frame{i}.png", picture(i))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame1.png").write_bytes(b"what macOS leaves")
    source = open_source(str(tmp_path), fps=5.0)
    frames = list(source.frames())
    assert source.length == 4
    assert [f.image[0, 0, 0] for f in frames] == [1, 2, 9, 10]
    assert [f.image[0, 0, 2] for f in frames] == [254, 253, 246, 245]
    assert [f.stamp_ns for f in frames] == [0, 200_000_000, 400_000_000, 600_000_000]


@pytest.mark.parametrize(
    ("subfolder", "names", "stamps_ns"),
    [
        ("rgb", ["1305031102.175304", "1305031102.211214"], [1305031102175304000, 1305031102211214000]),
        ("mav0/cam0/data", ["1403636579763555584", "1403636579813555456"], [1403636579763555584, 1403636579813555456]),
        (".", ["9.5", "10.25"], [9500000000, 10250000000]),
        (".", ["1403636579763555", "1403636579813555"], [1403636579763555000, 1403636579813555000]),
    ],
)
def test_names_that_are_times_become_stamps(
    tmp_path: Path, subfolder: str, names: list[str], stamps_ns: list[int]
) -> None:
    for i, name in enumerate(names):
        write_image(tmp_path / subfolder / f"{name}.png", picture(i))
    source = open_source(str(tmp_path))
    frames = list(source.frames())
    assert source.recorded_time
    assert [f.stamp_ns for f in frames] == stamps_ns
    assert [f.image[0, 0, 0] for f in frames] == [0, 1]
    assert source.rate_hz == pytest.approx(1e9 / (stamps_ns[1] - stamps_ns[0]))
    assert [f.stamp_ns for f in source.frames(start_s=0.01)] == stamps_ns[1:]


def test_names_that_only_count_are_no_times(tmp_path: Path) -> None:
    for i in (0, 3, 6):
        write_image(tmp_path / f"{i:010d}.jpg", picture(i))
    source = open_source(str(tmp_path))
    assert not source.recorded_time
    assert [f.stamp_ns for f in source.frames()] == [0, 33333333, 66666667]


def test_gray_images_become_rgb(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 6), 7, dtype=np.uint8))
    (frame,) = open_source(str(tmp_path)).frames()
    assert frame.image.shape == (4, 6, 3)
    assert (frame.image == 7).all()


def refusal(specification: str | Path, **options: object) -> str:
    with pytest.raises(UserError) as error:
        list(open_source(str(specification), **options).frames())  # type: ignore[arg-type]  # of any kind
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_is_no_source_is_said_in_one_sentence(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing.mp4")
    (tmp_path / "empty").mkdir()
    assert "neither images" in refusal(tmp_path / "empty")
    (tmp_path / "text.mp4").write_text("not a video")
    assert "is text, not a video" in refusal(tmp_path / "text.mp4")
    write_image(tmp_path / "single.png", picture(1))
    assert "single image" in refusal(tmp_path / "single.png")
    write_video(tmp_path / "v.avi")
    (tmp_path / "cut.avi").write_bytes((tmp_path / "v.avi").read_bytes()[:300])
    assert "cannot be read as a video" in refusal(tmp_path / "cut.avi")
    assert "--topic" in refusal(tmp_path / "v.avi", topic="/camera")
    assert "greater than 0" in refusal(tmp_path / "v.avi", fps=0.0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"\x89PNG but cut")
    assert "cannot be decoded" in refusal(tmp_path / "broken")


@pytest.mark.parametrize("given", ["rtsp://10.0.0.1/stream", "/dev/null"])
def test_a_live_camera_is_no_recording(given: str) -> None:
    assert "is a live camera, not a recording; start its ROS driver" in refusal(given)


def test_what_is_no_recording_is_said_with_what_to_give(tmp_path: Path) -> None:
    archive = tmp_path / "walk.zip"
    archive.write_bytes(b"PK\3\4" + bytes(range(256)))
    assert "is an archive; unpack it" in refusal(str(archive))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/b.MP4").touch()
    assert f"give a video as a file, such as {tmp_path / 'clips/b.MP4'}" in refusal(str(tmp_path / "clips"))
    assert "'' does not exist" in refusal("")
