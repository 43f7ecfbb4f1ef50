"""Folders of images as data sets and people lay them out."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from test_sources import picture, refusal, write_image

from ttt3r_ros.camera.stamps import NOT_NEWER
from ttt3r_ros.geometry import Intrinsics, T_from_pose
from ttt3r_ros.sources import SourceFrame, open_source
from ttt3r_ros.sources.dataset import time_ns

POSES = [T_from_pose((0.1 * i, 0, 1), (np.cos(0.05 * i), 0, np.sin(0.05 * i), 0)) for i in range(3)]


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix, fmt="%.8f")


def write_depth(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((48, 64), 1500, np.uint16))


def read(path: Path) -> list[SourceFrame]:
    return list(open_source(str(path)).frames())


def assert_poses(frames: list[SourceFrame]) -> None:
    assert all(frame.T_world_camera is not None for frame in frames)
    np.testing.assert_allclose([frame.T_world_camera for frame in frames], POSES, atol=1e-6)


def test_seven_scenes(tmp_path: Path) -> None:
    """Colour, depth and pose of a frame side by side."""
    folder = tmp_path / "seq-01"
    for i, pose in enumerate(POSES):
        write_image(folder / f"frame-{i:06d}.color.png", picture(10 * i))
        write_depth(folder / f"frame-{i:06d}.depth.png")
        write_matrix(folder / f"frame-{i:06d}.pose.txt", pose)
    frames = read(folder)
    assert [frame.image[0, 0, 0] for frame in frames] == [0, 10, 20]
    assert_poses(frames)
    assert frames[0].intrinsics is None
    assert "seq-01 contains images" in refusal(tmp_path)


def test_scannet(tmp_path: Path) -> None:
    for i, pose in enumerate(POSES):
        write_image(tmp_path / "color" / f"{i}.jpg", picture(10 * i))
        write_depth(tmp_path / "depth" / f"{i}.png")
        write_matrix(tmp_path / "pose" / f"{i}.txt", pose if i != 1 else np.full((4, 4), -np.inf))
    K = np.diag([60.0, 61.0, 1.0, 1.0])
    K[:2, 2] = 31.5, 23.5
    write_matrix(tmp_path / "intrinsic" / "intrinsic_color.txt", K)
    write_matrix(tmp_path / "intrinsic" / "intrinsic_depth.txt", np.eye(4))
    for given in (tmp_path, tmp_path / "color"):
        frames = read(given)
        assert len(frames) == 3
        assert frames[0].intrinsics == Intrinsics(60.0, 61.0, 31.5, 23.5, 64, 48)
        assert frames[1].T_world_camera is None
        np.testing.assert_allclose(frames[2].T_world_camera, POSES[2], atol=1e-6)


def test_scannet_as_its_reader_leaves_it(tmp_path: Path) -> None:
    for i, pose in enumerate(POSES):
        write_image(tmp_path / f"frame-{i:06d}.color.jpg", picture(10 * i))
        (tmp_path / f"frame-{i:06d}.depth.pgm").write_bytes(b"P5 2 1 65535\n\0\1\0\2")
        write_matrix(tmp_path / f"frame-{i:06d}.pose.txt", pose)
    (tmp_path / "_info.txt").write_text(
        "m_sensorName = StructureSensor\nm_calibrationColorIntrinsic = 60 0 31.5 0 0 61 23.5 0 0 0 1 0 0 0 0 1 \n"
        "m_calibrationDepthIntrinsic = 1 0 1 0 0 1 1 0 0 0 1 0 0 0 0 1\n"
    )
    frames = read(tmp_path)
    assert len(frames) == 3
    assert frames[0].intrinsics == Intrinsics(60.0, 61.0, 31.5, 23.5, 64, 48)
    assert_poses(frames)


def test_tum(tmp_path: Path) -> None:
    """Its ground truth is of times between those of the images."""
    lines = ["# ground truth trajectory", "# timestamp tx ty tz qx qy qz qw"]
    for i in range(-1, 7):
        angle = 0.05 * (i / 2)
        lines.append(f"{1305031102.0 + 0.05 * i:.4f} {0.05 * i:.4f} 0 1 0 {np.sin(angle):.8f} 0 {np.cos(angle):.8f}")
    (tmp_path / "groundtruth.txt").write_text("\n".join(lines))
    for i in range(3):
        write_image(tmp_path / "rgb" / f"{1305031102.0 + 0.1 * i:.6f}.png", picture(10 * i))
        write_depth(tmp_path / "depth" / f"{1305031102.01 + 0.1 * i:.6f}.png")
    for given in (tmp_path, tmp_path / "rgb"):
        frames = read(given)
        assert [frame.stamp_ns for frame in frames] == [1305031102_000000000 + i * 10**8 for i in range(3)]
        assert_poses(frames)
    source = open_source(str(tmp_path), fps=30.0)
    assert source.has_truth
    assert source.T_base_camera is None
    counted = list(source.frames())
    assert [frame.stamp_ns for frame in counted] == [0, 33333333, 66666667]
    assert_poses(counted)


def test_times_from_a_list_beside_the_images(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / "rgb" / f"{i}.png", picture(10 * i))
    (tmp_path / "rgb.txt").write_text(
        "# color images\n" + "".join(f"{5 + 0.1 * i:.6f} rgb/{i}.png\n" for i in range(3))
    )
    source = open_source(str(tmp_path))
    assert source.recorded_time
    assert not source.has_truth
    assert source.T_base_camera is None
    assert [frame.stamp_ns for frame in source.frames()] == [5_000_000_000 + i * 10**8 for i in range(3)]


SENSOR_YAML = """#Default camera
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, 0.1,
         1.0, 0.0, 0.0, 0.2,
         0.0, 0.0, 1.0, 0.3,
         0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [64, 48]
camera_model: pinhole
intrinsics: [60.0, 61.0, 31.5, 23.5] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 1.8e-05]
"""


@pytest.mark.parametrize("truth", ["state_groundtruth_estimate0", "mocap0"])
def test_euroc(tmp_path: Path, truth: str) -> None:
    cam = tmp_path / "mav0" / "cam0"
    for i in range(3):
        write_image(cam / "data" / f"{1403636579000000000 + i * 10**8}.png", picture(10 * i))
    (cam / "sensor.yaml").write_text(SENSOR_YAML)
    rows = ["#timestamp,..."]
    for i in range(3):
        w, x, y, z = np.cos(0.05 * i), 0, np.sin(0.05 * i), 0
        rows.append(f"{1403636579000000000 + i * 10**8},{0.1 * i},0,1,{w:.9f},{x},{y:.9f},{z},0,0,0")
    (tmp_path / "mav0" / truth).mkdir()
    (tmp_path / "mav0" / truth / "data.csv").write_text("\n".join(rows))
    mount = np.array([[0, -1, 0, 0.1], [1, 0, 0, 0.2], [0, 0, 1, 0.3], [0, 0, 0, 1]])
    for given in (tmp_path, tmp_path / "mav0", cam, cam / "data"):
        frames = read(given)
        assert [frame.stamp_ns for frame in frames] == [1403636579000000000 + i * 10**8 for i in range(3)]
        assert frames[0].intrinsics == Intrinsics(60.0, 61.0, 31.5, 23.5, 64, 48)
        assert (frames[0].calibration.model, frames[0].calibration.D) == ("plumb_bob", (-0.28, 0.07, 0.0002, 1.8e-05))
        np.testing.assert_allclose(
            [frame.T_world_camera for frame in frames], [pose @ mount for pose in POSES], atol=1e-6
        )


@pytest.mark.parametrize("folder", ["images", "color", "rgb", "image", "."])
@pytest.mark.parametrize(
    "matrix",
    [
        "60 0 31.5\n0 61 23.5\n0 0 1\n",
        "60 61 31.5 23.5\n",
        "# of camera 0\n[[60, 0, 31.5], [0, 61, 23.5], [0, 0, 1]]",
        "60 0 31.5 0\n0 61 23.5 0\n0 0 1 0\n",
    ],
)
def test_a_matrix_and_poses_beside_images(tmp_path: Path, folder: str, matrix: str) -> None:
    for i in range(3):
        write_image(tmp_path / folder / f"{i}.png", picture(10 * i))
    (tmp_path / "K.txt").write_text(matrix)
    (tmp_path / "pose.txt").write_text("\n".join(" ".join(map(str, pose.ravel())) for pose in POSES))
    frames = read(tmp_path)
    assert frames[0].intrinsics == Intrinsics(60.0, 61.0, 31.5, 23.5, 64, 48)
    assert_poses(frames)


def test_files_above_a_folder_of_any_name_are_others(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / "holiday" / f"{i}.png", picture(10 * i))
    (tmp_path / "K.txt").write_text("60 61 31.5 23.5")
    assert read(tmp_path / "holiday")[0].intrinsics is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("K.txt", "a b c", "K.txt is ignored"),
        ("K.txt", "1 2 3", "but contains 3"),
        ("_info.txt", "m_calibrationColorIntrinsic = 1 2 3", "but contains 3"),
        ("sensor.yaml", "- a", "it must contain lists: intrinsics of 4 numbers"),
        ("sensor.yaml", SENSOR_YAML.replace("intrinsics: [", "intrinsics: [1.5, "), "intrinsics of 4 numbers"),
        ("sensor.yaml", SENSOR_YAML.replace("0.0, -1.0, 0.0, 0.1", ".nan, -1.0, 0.0, 0.1"), "T_BS is not a rigid"),
        ("sensor.yaml", SENSOR_YAML.replace("T_BS:", "T_BS: x\nother:"), "T_BS is not a rigid transform"),
        ("K.txt", "60 61 999 23.5", "does not fit images of 64x48 pixels"),
        ("sensor.yaml", "{", "it is not valid YAML"),
        ("sensor.yaml", "rate: 1", "'intrinsics' is missing"),
        ("sensor.yaml", SENSOR_YAML.replace("radial-tangential", "omni"), "the distortion model 'omni'"),
        ("sensor.yaml", SENSOR_YAML.replace("[64, 48]", "[752, 480]"), "does not fit images of 64x48"),
        ("pose.txt", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "contains 1 poses, but there are 3 images"),
        ("groundtruth.txt", "1 2 3 4 5 6 7 x", "groundtruth.txt contains something other than numbers"),
    ],
)
def test_what_cannot_be_understood_is_said_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, words: str
) -> None:
    for i in range(3):
        write_image(tmp_path / f"{i}.png", picture(10 * i))
    (tmp_path / name).write_text(content)
    frames = list(open_source(str(tmp_path), fps=30.0).frames())
    assert len(frames) == 3
    assert frames[0].intrinsics is None
    assert frames[0].T_world_camera is None
    (message,) = [record.message for record in caplog.records]
    assert words in message
    assert "\n" not in message


def test_a_folder_without_times_says_which_rate_it_assumes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        write_image(tmp_path / f"{i}.png", picture(10 * i))
    with caplog.at_level(logging.WARNING):
        read(tmp_path)
        list(open_source(str(tmp_path), fps=10.0).frames())
    (record,) = caplog.records
    assert "assuming 30 Hz" in record.message
    assert "--fps" in record.message


def test_two_images_of_one_time_are_one(tmp_path: Path) -> None:
    for name in ("1.5.png", "1.5.jpg", "1.6.png"):
        write_image(tmp_path / name, picture(10))
    source = open_source(str(tmp_path))
    assert [frame.stamp_ns for frame in source.frames()] == [1_500_000_000, 1_600_000_000]
    assert source.report.left_out == {NOT_NEWER: 1}


def test_names_with_two_counters_are_no_times(tmp_path: Path) -> None:
    for i in range(11):
        write_image(tmp_path / f"0.{i}.png", picture(10 * i))
    source = open_source(str(tmp_path))
    assert not source.recorded_time
    levels = [frame.image[..., 0].mean() for frame in source.frames()]
    assert len(levels) == 11
    assert levels == sorted(levels)


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_listed_times_in_other_units(tmp_path: Path, unit: str) -> None:
    per_ms = {"ns": 10**6, "us": 10**3, "ms": 1}[unit]
    times = [1_500_000_000_000 + 100 * i for i in range(3)]
    for i in range(3):
        write_image(tmp_path / "rgb" / f"{i}.png", picture(10 * i))
    (tmp_path / "rgb.txt").write_text("".join(f"{ms * per_ms} rgb/{i}.png\n" for i, ms in enumerate(times)))
    assert [frame.stamp_ns for frame in read(tmp_path)] == [ms * 10**6 for ms in times]


@pytest.mark.parametrize(
    "text", ["-1.0", "1e30", "nan", "inf", "1e999999999", "9999999999", "9999999999999999999", "x"]
)
def test_what_no_message_can_hold_is_no_time(text: str) -> None:
    assert time_ns(text) is None


@pytest.mark.parametrize("content", ["", "1 2 3", "x"])
def test_pose_files_without_poses_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    for i in range(3):
        write_image(tmp_path / f"{i}.png", picture(10 * i))
        (tmp_path / "pose").mkdir(exist_ok=True)
        (tmp_path / f"pose/{i}.txt").write_text(content)
    frames = list(open_source(str(tmp_path), fps=30.0).frames())
    assert [frame.T_world_camera for frame in frames] == [None] * 3
    (record,) = caplog.records
    assert "contain no 4x4 matrix, and count as unknown" in record.message


def test_masks_and_depth_beside_color_are_left_alone(tmp_path: Path) -> None:
    for i in range(2):
        write_image(tmp_path / f"rgb_{i}.png", picture(10 * i))
        write_depth(tmp_path / f"depth_{i}.png")
        write_depth(tmp_path / f"mask_{i}.png")
    write_image(tmp_path / "segway_3.png", picture(30))
    assert open_source(str(tmp_path)).length == 3


def test_twelve_bit_images_keep_their_range_from_the_first_dark_one_on(tmp_path: Path) -> None:
    for i, brightness in enumerate((160, 4095, 160)):
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((4, 6), brightness, np.uint16))
    assert [int(frame.image[0, 0, 0]) for frame in read(tmp_path)] == [10, 255, 10]


def test_webp_and_heic(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(np.rot90(picture(200, 48, 64)).copy()).save(tmp_path / "0.webp", exif=exif, lossless=True)
    (tmp_path / "1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    source = open_source(str(tmp_path))
    (frame,) = source.frames()
    assert frame.image.shape == (48, 64, 3)
    assert source.report.left_out == {"HEIC or AVIF": 1}
    (tmp_path / "0.webp").unlink()
    assert "are HEIC or AVIF" in refusal(tmp_path)
    (tmp_path / "1.heic").rename(tmp_path / "1.jpg")
    assert "is a HEIC image" in refusal(tmp_path)


def test_images_that_are_cut_off_or_giants_are_said_by_name(tmp_path: Path) -> None:
    write_image(tmp_path / "0.jpg", np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    data = (tmp_path / "0.jpg").read_bytes()
    (tmp_path / "0.jpg").write_bytes(data[: len(data) // 2])
    sentence = refusal(tmp_path)
    assert "0.jpg cannot be decoded; it is damaged, cut off" in sentence
    header = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    giant = header + (60000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    (tmp_path / "0.jpg").unlink()
    (tmp_path / "0.bmp").write_bytes(giant)
    assert "megapixels" in refusal(tmp_path)


@pytest.mark.parametrize("mark", ["run.json", "player.log"])
@pytest.mark.parametrize("images", ["rgb", "images"])
def test_the_results_of_a_run_are_no_pictures_of_a_camera_and_its_trajectory_no_truth(
    tmp_path: Path, mark: str, images: str
) -> None:
    lines = "".join(f"0.{i} 0 0 {i} 0 0 0 1\n" for i in range(3))
    for name, text in (("metrics.json", "{}"), (mark, ""), ("trajectory.txt", lines)):
        (tmp_path / name).write_text(text)
    write_image(tmp_path / "frames.png", picture(200))
    assert "holds the results of a run, whose pictures are no camera's; give the recording" in refusal(tmp_path)
    for i in range(3):
        write_image(tmp_path / images / f"0.{i}00000000.png", picture(10 * i))
    for folder in (tmp_path, tmp_path / images):
        frames = read(folder)
        assert [frame.image[0, 0, 0] for frame in frames] == [0, 10, 20]
        assert [frame.stamp_ns for frame in frames] == [0, 100_000_000, 200_000_000]
        assert not any(frame.T_world_camera is not None for frame in frames)
    (tmp_path / "groundtruth.txt").write_text(lines)  # the recording's own, which a run writes as well
    assert all(frame.T_world_camera is not None for frame in read(tmp_path))


@pytest.mark.parametrize("missing", ["metrics.json", "trajectory.txt", "run.json"])
def test_a_recording_that_has_some_files_named_like_results_is_read(tmp_path: Path, missing: str) -> None:
    for name in {"metrics.json", "trajectory.txt", "run.json"} - {missing}:
        lines = "".join(f"0.{i} 0 0 {i} 0 0 0 1\n" for i in range(3))
        (tmp_path / name).write_text(lines if name == "trajectory.txt" else "{}")
    for i in range(3):
        write_image(tmp_path / f"0.{i}00000000.png", picture(10 * i))
    frames = read(tmp_path)
    assert [frame.T_world_camera is not None for frame in frames] == [missing != "trajectory.txt"] * 3


@pytest.mark.parametrize("names", ["depth/{}.png", "a/{}.png", "a/frame-{}.depth.png", "a/{}.tiff"])
def test_a_folder_of_depth_is_no_camera(tmp_path: Path, names: str) -> None:
    for i in range(5):
        depth = np.random.default_rng(i).integers(600, 9000, (48, 64), dtype=np.uint16)
        if "depth" not in names:
            depth[:, :9] = 0
        path = tmp_path / names.format(i)
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), depth)
    assert "are depth or the like, not a camera's; give the folder of the color images" in refusal(path.parent)


@pytest.mark.parametrize("darkest", ["black level", "clipped", "shadows", "left-aligned"])
def test_a_camera_of_sixteen_bits_is_no_depth(tmp_path: Path, darkest: str) -> None:
    for i in range(5):
        gray = np.random.default_rng(i).integers(600, 60000, (48, 64), dtype=np.uint16)
        if darkest != "black level":
            gray[:, :9] = np.arange(48)[:, None] if darkest == "shadows" else np.arange(48)[:, None] // 24 * 64
        if darkest == "clipped":
            gray[:, :9] = np.random.default_rng(i).normal(0, 30, (48, 9)).clip(0)
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), gray)
    assert len(read(tmp_path)) == 5


def test_true_poses_that_are_not_finite_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        write_image(tmp_path / "rgb" / f"1.{i}.png", picture(10 * i))
    lines = [f"1.{i} {x} 0 0 0 0 0 {w}" for i, (x, w) in enumerate((("nan", 1), (1, 1), (2, 0)))]
    (tmp_path / "groundtruth.txt").write_text("\n".join(lines))
    assert [frame.T_world_camera is None for frame in read(tmp_path)] == [True, False, True]
    assert f"2 of 3 poses in {tmp_path / 'groundtruth.txt'} are not finite or no rotation" in caplog.text
    (tmp_path / "groundtruth.txt").unlink()
    write_matrix(tmp_path / "poses.txt", np.vstack([POSES[0], np.full((4, 4), np.nan), POSES[2]]))
    assert [frame.T_world_camera is None for frame in read(tmp_path)] == [False, True, False]
    assert f"1 of 3 poses in {tmp_path / 'poses.txt'} are not finite" in caplog.text
    (tmp_path / "poses.txt").unlink()
    for i, pose in enumerate(POSES):
        write_matrix(tmp_path / "pose" / f"1.{i}.txt", pose if i else np.full((4, 4), -np.inf))
    assert [frame.T_world_camera is None for frame in read(tmp_path)] == [True, False, False]
    assert f"some poses in {tmp_path / 'pose'} are not finite or no rotation" in caplog.text
