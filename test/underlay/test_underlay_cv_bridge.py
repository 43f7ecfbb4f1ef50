"""What this package relies on in cv_bridge, be it ROS's or the underlay's."""

from __future__ import annotations

import math
from array import array
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="these packages come with ROS")

import cv2
from cv_bridge import CvBridge, CvBridgeError
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
RANDOM = np.random.default_rng(0)
#: cv_bridge itself misreads rows that end within a pixel, and under numpy 2 fails on big-endian images.
ONLY_THE_UNDERLAY = pytest.mark.skipif(not find_spec("cv_bridge.encodings"), reason="cv_bridge is not the underlay's")


def image_message(pixels: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False) -> Image:
    """An image message made by hand, rows padded with 0xAA."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    rows = np.frombuffer(rows, np.uint8).reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(big_endian),
        data=array("B", rows.tobytes()),
    )


SHAPES_AND_TYPES = {
    "mono8": ((5, 7), np.uint8),
    "mono16": ((5, 7), np.uint16),
    "rgb8": ((5, 7, 3), np.uint8),
    "bgra8": ((5, 7, 4), np.uint8),
    "rgb16": ((5, 7, 3), np.uint16),
    "bayer_rggb8": ((5, 7), np.uint8),
    "yuv422": ((5, 8, 2), np.uint8),
    "8UC3": ((5, 7, 3), np.uint8),
    "16UC1": ((5, 7), np.uint16),
    "16SC2": ((5, 7, 2), np.int16),
    "32FC1": ((5, 7), np.float32),
    "64FC1": ((5, 7), np.float64),
}


@pytest.mark.parametrize("encoding", SHAPES_AND_TYPES)
@pytest.mark.parametrize("padding", [0, 24])
def test_passthrough_keeps_the_pixels_whatever_the_step(encoding: str, padding: int) -> None:
    shape, dtype = SHAPES_AND_TYPES[encoding]
    pixels = RANDOM.integers(0, 120, shape).astype(dtype)
    result = BRIDGE.imgmsg_to_cv2(image_message(pixels, encoding, padding=padding))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, pixels)


@ONLY_THE_UNDERLAY
@pytest.mark.parametrize("encoding", SHAPES_AND_TYPES)
def test_rows_may_end_within_a_pixel_and_bytes_come_in_either_order(encoding: str) -> None:
    shape, dtype = SHAPES_AND_TYPES[encoding]
    pixels = RANDOM.integers(0, 120, shape).astype(dtype)
    result = BRIDGE.imgmsg_to_cv2(image_message(pixels, encoding, padding=1, big_endian=True))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, pixels)


@given(
    st.sampled_from(["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "16UC1", "32FC1"]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_an_image_comes_back_from_its_message(encoding: str, height: int, width: int) -> None:
    dtype = {"16UC1": np.uint16, "32FC1": np.float32}.get(encoding, np.uint8)
    channels = {"rgb8": (3,), "bgr8": (3,), "rgba8": (4,), "bgra8": (4,)}.get(encoding, ())
    pixels = RANDOM.integers(0, 255, (height, width, *channels)).astype(dtype)
    header = Header(frame_id="camera")
    message = BRIDGE.cv2_to_imgmsg(pixels, encoding, header)
    assert (message.encoding, message.height, message.width, message.header) == (encoding, height, width, header)
    assert message.step == width * math.prod(channels) * pixels.itemsize
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message, encoding), pixels)


def test_the_data_of_a_message_is_the_array_that_is_filled_at_once() -> None:
    assert isinstance(BRIDGE.cv2_to_imgmsg(np.zeros((4, 4), np.uint8), "mono8").data, array)


def test_passthrough_names_the_opencv_type() -> None:
    assert BRIDGE.cv2_to_imgmsg(np.zeros((2, 3, 3), np.uint8)).encoding == "8UC3"
    assert BRIDGE.cv2_to_imgmsg(np.zeros((2, 3), np.float32)).encoding == "32FC1"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("rgb8", "bgr8", (30, 20, 10)),
        ("rgb8", "rgba8", (10, 20, 30, 255)),
        ("bgr8", "rgb8", (30, 20, 10)),
        ("rgba8", "rgb8", (10, 20, 30)),
        ("bgra8", "rgb8", (30, 20, 10)),
        ("mono8", "rgb8", (10, 10, 10)),
        ("8UC3", "8UC3", (10, 20, 30)),
        ("rgb8", "8UC3", (10, 20, 30)),
    ],
)
def test_colours_are_put_in_the_order_asked_for(source: str, target: str, expected: tuple[int, ...]) -> None:
    channels = {"mono8": 1, "rgba8": 4, "bgra8": 4}.get(source, 3)
    pixels = np.full((2, 3, channels), (10, 20, 30, 40)[:channels], np.uint8)
    message = image_message(pixels[..., 0] if channels == 1 else pixels, source)
    result = BRIDGE.imgmsg_to_cv2(message, target)
    assert result.shape == (2, 3, len(expected))
    assert (result == expected).all()


def test_grey_is_the_luminance() -> None:
    pixels = RANDOM.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    grey = BRIDGE.imgmsg_to_cv2(image_message(pixels, "rgb8"), "mono8")
    np.testing.assert_allclose(grey, pixels @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize(
    ("pattern", "corner"),
    [("rggb", [[0, 1], [1, 2]]), ("bggr", [[2, 1], [1, 0]]), ("gbrg", [[1, 2], [0, 1]]), ("grbg", [[1, 0], [2, 1]])],
)
def test_a_bayer_mosaic_becomes_the_colour_it_was_taken_from(pattern: str, corner: list[list[int]]) -> None:
    colour = np.array([200, 100, 50], np.uint8)
    mosaic = np.tile(colour[np.array(corner)], (4, 4))
    result = BRIDGE.imgmsg_to_cv2(image_message(mosaic, f"bayer_{pattern}8"), "rgb8")
    assert (result == colour).all()


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "UYVY"), ("yuv422_yuy2", "YUYV")])
def test_yuv422_becomes_rgb(encoding: str, order: str) -> None:
    luma, u, v = 120, 90, 180
    values = {"Y": luma, "U": u, "V": v}
    pixels = np.tile(np.array([values[letter] for letter in order], np.uint8).reshape(2, 2), (4, 3, 1))
    rgb = BRIDGE.imgmsg_to_cv2(image_message(pixels, encoding), "rgb8")[1, 1]
    c, d, e = luma - 16, u - 128, v - 128  # BT.601
    expected = (1.164 * c + 1.596 * e, 1.164 * c - 0.391 * d - 0.813 * e, 1.164 * c + 2.018 * d)
    np.testing.assert_allclose(rgb, expected, atol=2)


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("mono16", "mono8", 65535, 255),
        ("mono16", "mono8", 257 * 7, 7),
        ("mono8", "mono16", 255, 65535),
        ("16UC1", "32FC1", 1234, 1234.0),
        ("32FC1", "16UC1", 70000.0, 65535),
        ("32FC1", "16UC1", 2.6, 3),
    ],
)
def test_depths_are_scaled_between_8_and_16_bits_only(source: str, target: str, value: float, expected: float) -> None:
    pixels = np.full((2, 3), value, SHAPES_AND_TYPES[source][1])
    assert (BRIDGE.imgmsg_to_cv2(image_message(pixels, source), target) == expected).all()


@pytest.mark.parametrize(
    ("source", "target"), [("32FC1", "mono8"), ("8UC3", "rgb8"), ("8UC3", "8UC1"), ("rgb8", "8UC1")]
)
def test_a_conversion_that_makes_no_sense_is_refused(source: str, target: str) -> None:
    shape, dtype = SHAPES_AND_TYPES[source]
    with pytest.raises(CvBridgeError, match=source):
        BRIDGE.imgmsg_to_cv2(image_message(np.zeros(shape, dtype), source), target)


def test_an_unknown_encoding_is_refused() -> None:
    message = image_message(np.zeros((2, 2), np.uint8), "sepia")
    with pytest.raises(CvBridgeError, match="sepia"):
        BRIDGE.imgmsg_to_cv2(message, "rgb8")


def test_a_message_that_is_cut_short_is_refused() -> None:
    message = image_message(np.zeros((4, 4), np.uint8), "mono8")
    message.data = message.data[:-1]
    with pytest.raises(TypeError):
        BRIDGE.imgmsg_to_cv2(message)


def test_an_encoding_that_does_not_fit_the_array_is_refused() -> None:
    with pytest.raises(CvBridgeError, match="incompatible type"):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.uint8), "rgb8")


def test_compressed_images_are_decoded() -> None:
    pixels = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    png = cv2.imencode(".png", pixels[..., ::-1])[1]
    message = CompressedImage(format="png", data=array("B", png.tobytes()))
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8"), pixels)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message), pixels[..., ::-1])


def test_what_opencv_cannot_decode_is_none_or_refused() -> None:
    message = CompressedImage(format="jpeg", data=array("B", b"not an image"))
    assert BRIDGE.compressed_imgmsg_to_cv2(message) is None
    with pytest.raises(TypeError):  # of which CvBridgeError is one
        BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8")


def test_a_converted_image_does_not_share_the_messages_memory() -> None:
    message = image_message(np.zeros((2, 2, 3), np.uint8), "rgb8")
    BRIDGE.imgmsg_to_cv2(message, "rgb8")[:] = 1
    assert not any(message.data)
