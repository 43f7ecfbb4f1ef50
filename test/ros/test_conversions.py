from __future__ import annotations

import array
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from harness import header, picture
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from sensor_msgs_py.point_cloud2 import read_points

from ttt3r_ros.camera.calibration import Calibration, Distortion
from ttt3r_ros.camera.image_messages import read_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics, T_from_pose
from ttt3r_ros.ros.conversions import (
    camera_info_message,
    cloud_message,
    image_message,
    lasting_cloud,
    lasting_image,
    matrix_from_transform,
    nanoseconds,
    read_message,
    time_message,
    transform_message,
)

CAMERA = Intrinsics(500.5, 501.5, 320.25, 239.75, 640, 480)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_stamps_are_exact(sec, nanosec):
    total = nanoseconds(Time(sec=sec, nanosec=nanosec))
    assert divmod(total, 10**9) == (sec, nanosec)
    assert time_message(total) == Time(sec=sec, nanosec=nanosec)


RGB, GRAY = picture(1), picture(2)[..., 0]
SHAPE = (60, 80)
ENCODED = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "8UC3": (RGB[..., ::-1], RGB),
    "rgba8": (np.dstack([RGB, GRAY]), RGB),
    "bgra8": (np.dstack([RGB[..., ::-1], GRAY]), RGB),
    "mono8": (GRAY, np.dstack([GRAY] * 3)),
    "mono16": (GRAY.astype("<u2") * 256 + 3, np.dstack([GRAY] * 3)),
    "rgb16": (RGB.astype("<u2") * 256 + 3, RGB),
    "yuv422": (np.dstack([np.full(SHAPE, 128, np.uint8), np.full(SHAPE, 235, np.uint8)]), np.full_like(RGB, 255)),
    "yuv422_yuy2": (np.dstack([np.full(SHAPE, 16, np.uint8), np.full(SHAPE, 128, np.uint8)]), np.zeros_like(RGB)),
    **{
        f"bayer_{pattern}8": (np.tile(np.array(corner, np.uint8), (30, 40)), np.full_like(RGB, (200, 100, 50)))
        for pattern, corner in {
            "rggb": [[200, 100], [100, 50]],
            "bggr": [[50, 100], [100, 200]],
            "gbrg": [[100, 50], [200, 100]],
            "grbg": [[100, 200], [50, 100]],
        }.items()
    },
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("padding", [0, 5])
def test_images_of_each_encoding_and_padding(encoding, padding):
    pixels, expected = ENCODED[encoding]
    rows = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8).reshape(60, -1)
    rows = np.pad(rows, [(0, 0), (0, padding)])
    message = Image(height=60, width=80, encoding=encoding, step=rows.shape[1], data=array.array("B", rows.tobytes()))
    found, _ = read_message(message, SampleRange())
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found[1:-1, 1:-1], expected[1:-1, 1:-1])  # mosaics have other edges


def test_an_image_that_needs_no_conversion_is_not_copied():
    """Unless it may not be written, as those of a recording, or has gaps between its rows."""
    rows = picture(1).reshape(60, -1)

    def found(data: np.ndarray, step: int) -> np.ndarray:
        message = SimpleNamespace(height=60, width=80, encoding="rgb8", step=step, data=data)
        return read_image(message, SampleRange())[0]

    assert np.shares_memory(found(rows, 240), rows)
    padded = np.pad(rows, [(0, 0), (0, 5)])
    assert not np.shares_memory(found(padded.ravel(), 245), padded)
    rows.flags.writeable = False
    assert not np.shares_memory(found(rows, 240), rows)
    assert found(rows, 240).flags.writeable


def test_compressed_images():
    for image, codec in ((picture(1), ".png"), (picture(1)[..., 0], ".png")):
        bgr = image if image.ndim == 2 else image[..., ::-1]
        message = CompressedImage(format="png", data=array.array("B", cv2.imencode(codec, bgr)[1].tobytes()))
        expected = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
        assert np.array_equal(read_message(message, SampleRange())[0], expected)


@pytest.mark.parametrize(
    "message",
    [
        Image(height=60, width=80, encoding="rgb8", step=240),
        Image(height=60, width=80, encoding="rgb8", step=10, data=array.array("B", bytes(14400))),
        Image(height=0, width=0, encoding="rgb8"),
        Image(height=4, width=4, encoding="32FC1", step=16, data=array.array("B", bytes(64))),
        Image(height=4, width=4, encoding="", step=16, data=array.array("B", bytes(64))),
        Image(height=2**31, width=2**31, encoding="mono8", step=2**31, data=array.array("B", bytes(64))),
        Image(height=3, width=3, encoding="yuv422", step=6, data=array.array("B", bytes(18))),
        CompressedImage(format="jpeg"),
        CompressedImage(format="jpeg", data=array.array("B", b"no jpeg")),
    ],
    ids=["no data", "short step", "empty", "depth", "no encoding", "huge", "odd yuv", "empty jpeg", "broken jpeg"],
)
def test_what_cannot_be_read_is_said_in_one_sentence(message):
    with pytest.raises(UserError, match=r"^an? |^images ") as error:
        read_message(message, SampleRange())
    assert "\n" not in str(error.value)


def test_a_camera_survives_its_message():
    info = camera_info_message(CAMERA, header(5, "camera"))
    assert Calibration.from_message(info) == Calibration.of(CAMERA)
    lens = Calibration.of(CAMERA, Distortion("equidistant", (0.1, 0.2, 0.3, 0.4)))
    lens = replace(lens, binning=(2, 3), region=(5, 6, 100, 90))
    assert Calibration.from_message(camera_info_message(lens, header(5, "camera"))) == lens


def test_images_are_filled_by_rows():
    depth = np.arange(12, dtype=np.float32).reshape(3, 4)
    message = image_message(depth, "32FC1", header(7, "camera"))
    assert (message.height, message.width, message.step) == (3, 4, 16)
    assert bytes(message.data) == depth.tobytes()
    assert nanoseconds(message.header.stamp) == 7


@pytest.mark.parametrize(
    ("shape", "dtype", "encoding"),
    [((3, 4), np.float32, "32FC1"), ((3, 4), np.uint16, "16UC1"), ((3, 4, 3), np.uint8, "rgb8")],
)
def test_an_image_to_be_sent_over_and_over_is_what_its_array_holds(shape, dtype, encoding):
    message, room = lasting_image(shape, dtype, encoding)
    pixels = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    room[...] = pixels
    once = image_message(pixels, encoding, header(7, "camera"))
    message.header = once.header
    assert message == once


def test_a_transform_survives_its_message():
    T = T_from_pose([1.0, -2.0, 3.0], [0.5, 0.5, -0.5, 0.5])
    message = transform_message(T, header(5, "odom"), "base_link")
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_link")
    np.testing.assert_allclose(matrix_from_transform(message.transform), T, atol=1e-12)


def test_a_lasting_cloud_becomes_what_is_written_into_it():
    message, points = lasting_cloud(2, 3)
    for stamp in (5, 6):
        for name in ("x", "y", "z", "rgb", "confidence"):
            points[name] = np.arange(6).reshape(2, 3) + len(name) + stamp
        message.header = header(stamp, "camera")
        assert message == cloud_message(points, header(stamp, "camera"))
    assert (message.height, message.width, message.point_step, message.row_step) == (2, 3, 20, 60)
    assert read_points(message, field_names=["confidence"])["confidence"].tolist() == [16, 17, 18, 19, 20, 21]
