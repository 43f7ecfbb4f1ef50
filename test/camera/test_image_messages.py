"""Image messages beyond what test_sources_rosbag.py has: 16 bits, planes."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ttt3r_ros.camera.image_messages import read_compressed, read_image
from ttt3r_ros.camera.sample_range import SampleRange
from ttt3r_ros.errors import UserError

#: Without fine detail, which chroma of half the size and demosaicing would change.
BGR = cv2.resize(np.random.default_rng(0).integers(60, 200, (3, 4, 3), dtype=np.uint8), (48, 32))
RGB = BGR[..., ::-1]


def message(
    data: np.ndarray, encoding: str, *, height: int = 32, width: int = 48, step: int, big: bool = False
) -> object:
    flat = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    return SimpleNamespace(height=height, width=width, encoding=encoding, step=step, data=flat, is_bigendian=big)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("big", [False, True])
def test_ten_and_twelve_bits_are_read_like_eight(bits: int, big: bool) -> None:
    gray = RGB[..., 1].astype(np.uint16) << (bits - 8)
    gray[0, 0] = (1 << bits) - 1
    image, held = read_image(message(gray.astype(">u2" if big else "<u2"), "mono16", step=96, big=big), SampleRange())
    assert held.bits == bits
    np.testing.assert_array_equal(image[1:, :, 0], RGB[1:, :, 1])
    color = RGB.astype(np.uint16) << (bits - 8)
    color[0, 0] = (1 << bits) - 1
    image, _ = read_image(message(color.astype(">u2" if big else "<u2"), "rgb16", step=288, big=big), SampleRange())
    np.testing.assert_array_equal(image[1:], RGB[1:])


def test_the_range_is_held_and_transparency_does_not_count() -> None:
    bright = np.full((32, 48), 1023, np.uint16)
    _, held = read_image(message(bright, "mono16", step=96), SampleRange())
    image, held = read_image(message(bright // 8, "mono16", step=96), held)
    assert (image == 1023 // 8 // 4).all()
    rgba = np.full((32, 48, 4), 1000, np.uint16)
    rgba[..., 3] = 65535
    image, held = read_image(message(rgba, "rgba16", step=384), SampleRange())
    assert held.bits == 10
    assert (image == 250).all()


@pytest.mark.parametrize("name", ["rggb", "bggr", "gbrg", "grbg"])
def test_sixteen_bit_bayer_is_like_eight_bit(name: str) -> None:
    eight = np.random.default_rng(1).integers(0, 256, (32, 48), dtype=np.uint8)
    expected, _ = read_image(message(eight, f"bayer_{name}8", step=48), SampleRange())
    image, _ = read_image(message(eight.astype("<u2") * 16 + 15, f"bayer_{name}16", step=96), SampleRange())
    np.testing.assert_array_equal(image, expected)


def planes(kind: str, padding: int = 0) -> np.ndarray:
    """Return the bytes of an image with its chroma in planes, rows padded."""
    i420 = cv2.cvtColor(BGR, cv2.COLOR_BGR2YUV_I420).ravel()
    y, u, v = i420[: 32 * 48].reshape(32, 48), i420[1536:1920].reshape(16, 24), i420[1920:].reshape(16, 24)
    uv = np.dstack([u, v])
    parts = {
        "i420": [y, u, v],
        "yv12": [y, v, u],
        "nv12": [y, uv.reshape(16, 48)],
        "nv21": [y, uv[..., ::-1].reshape(16, 48)],
        "nv24": [y, uv.repeat(2, axis=0).repeat(2, axis=1).reshape(32, 96)],
    }[kind]
    padded = [np.pad(part, ((0, 0), (0, padding * part.shape[1] // 48)), constant_values=77) for part in parts]
    return np.concatenate([part.ravel() for part in padded])


@pytest.mark.parametrize("kind", ["i420", "yv12", "nv12", "nv21", "nv24"])
@pytest.mark.parametrize("padding", [0, 16])
def test_planes(kind: str, padding: int) -> None:
    image, _ = read_image(message(planes(kind, padding), kind, step=48 + padding), SampleRange())
    assert image.shape == RGB.shape
    difference = np.abs(image.astype(int) - RGB)  # chroma is of four pixels
    assert difference.mean() < 3
    assert difference.max() < 25


@pytest.mark.parametrize("kind", ["i420", "yv12", "nv12", "nv21", "nv24"])
def test_planes_that_are_too_short_or_odd_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="damaged"):
        read_image(message(planes(kind)[:-1], kind, step=48), SampleRange())
    with pytest.raises(UserError, match="cannot be read as"):
        read_image(message(planes(kind), kind, height=31, step=48), SampleRange())


def test_a_png_of_twelve_bits_in_a_message() -> None:
    _, data = cv2.imencode(".png", BGR.astype(np.uint16) * 16 + 15)
    png = SimpleNamespace(format="16UC3; png compressed bgr16", data=data.ravel())
    image, held = read_compressed(png, SampleRange(12))
    assert held.bits == 12
    np.testing.assert_array_equal(image, RGB)
