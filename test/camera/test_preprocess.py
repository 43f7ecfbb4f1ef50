from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from ttt3r_ros.camera import preprocess
from ttt3r_ros.camera.preprocess import (
    check_image,
    interleaved,
    normalize,
    pixel_map,
    resample,
    resample_by_matrices,
    resample_by_pillow,
    resample_by_torch,
)
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics

CHECKED = {
    (640, 480): (512, 384),
    (480, 640): (384, 512),
    (1280, 720): (512, 288),
    (752, 480): (512, 320),
    (1241, 376): (512, 144),
    (848, 480): (512, 288),
    (500, 500): (512, 384),
    (320, 240): (512, 384),
    (300, 1000): (144, 512),
}
sides = st.integers(64, 1500)


@pytest.mark.parametrize(("size", "expected"), CHECKED.items())
def test_published_sizes(size, expected):
    assert pixel_map(*size, image_size=512).size == expected
    assert pixel_map(*size, image_size=224, square=True).size == (224, 224)


@given(sides, sides, st.sampled_from([(224, True), (512, False), (160, False)]))
def test_the_crop_lies_inside_the_scaled_image(width, height, target):
    assume(max(width, height) < 8 * min(width, height))
    mapping = pixel_map(width, height, image_size=target[0], square=target[1])
    for axis in range(2):
        assert mapping.size[axis] % 16 == 0
        assert mapping.offset[axis] >= 0
        assert mapping.offset[axis] + mapping.size[axis] <= mapping.scaled_size[axis]


@given(sides, sides, st.floats(0, 1), st.floats(0, 1))
def test_pixel_mappings_invert_each_other(width, height, u, v):
    assume(max(width, height) < 8 * min(width, height))
    mapping = pixel_map(width, height, image_size=512)
    pixel = [u * width, v * height]
    np.testing.assert_allclose(mapping.to_input(mapping.to_network(pixel)), pixel, atol=1e-9)


@given(sides, sides, st.floats(-2, 2), st.floats(-2, 2))
def test_intrinsics_follow_their_pixels(width, height, x, y):
    """A ray hits the same place whether it is projected before or after the image is resampled."""
    assume(max(width, height) < 8 * min(width, height))
    mapping = pixel_map(width, height, image_size=512)
    camera = Intrinsics(300.0, 310.0, width / 2 - 3, height / 2 + 5, width, height)
    ray = np.array([x, y, 1.0])
    before, after = (camera.matrix() @ ray)[:2], (mapping.intrinsics(camera).matrix() @ ray)[:2]
    np.testing.assert_allclose(mapping.to_network(before), after, atol=1e-6)


def test_a_mark_lands_where_the_mapping_says():
    image = np.zeros((480, 640, 3), dtype=np.uint8)
    image[200:204, 100:104] = 255
    mapping = pixel_map(640, 480, image_size=512)
    seen = resample(image, mapping, torch.device("cpu")).float().mean(dim=0)
    rows, columns = torch.meshgrid(torch.arange(384), torch.arange(512), indexing="ij")
    center = [float((columns * seen).sum() / seen.sum()), float((rows * seen).sum() / seen.sum())]
    np.testing.assert_allclose(center, mapping.to_network([101.5, 201.5]), atol=0.05)


def photo(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 20 + 2, width // 20 + 2, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.slow
@pytest.mark.parametrize("size", list(CHECKED))
@pytest.mark.parametrize("target", [(512, False), (224, True)])
@pytest.mark.parametrize("way", ["matrices", "torch"])
def test_the_fast_ways_do_what_pillow_does(size, target, way):
    image = photo(*size)
    mapping = pixel_map(*size, image_size=target[0], square=target[1])
    expected = resample_by_pillow(image, mapping).int()
    if way == "torch":
        found = resample_by_torch(image, mapping).int()
    else:
        found = resample_by_matrices(torch.from_numpy(image), mapping).int()
    assert found.shape == (3, mapping.size[1], mapping.size[0])
    difference = (found - expected).abs()
    assert difference.max() <= 2
    assert (difference > 1).float().mean() < 1e-3


def test_an_image_of_the_right_size_is_left_alone():
    image = photo(512, 384)
    mapping = pixel_map(512, 384, image_size=512)
    for found in (
        resample(image, mapping, torch.device("cpu")),
        resample_by_pillow(image, mapping),
        resample_by_matrices(torch.from_numpy(image), mapping),
    ):
        assert np.array_equal(interleaved(found.numpy()), image)


def test_a_read_only_image_is_like_any_other(recwarn):
    image, mapping = photo(80, 60), pixel_map(80, 60, image_size=64)
    expected = [way(image, mapping) for way in (resample_by_torch, lambda *it: resample(*it, torch.device("cpu")))]
    kept = image.copy()
    image.flags.writeable = False
    for way, wanted in zip((resample_by_torch, lambda *it: resample(*it, torch.device("cpu"))), expected, strict=True):
        assert torch.equal(way(image, mapping), wanted)
    assert np.array_equal(image, kept)
    assert not [str(warning.message) for warning in recwarn]


def test_normalized_pixels_span_minus_one_to_one():
    planes = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None].expand(3, 4, 5)
    normalized = normalize(planes)
    assert normalized.shape == (1, 3, 4, 5)
    assert normalized[0, :, 2, 3].tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_the_table_of_gray_levels_says_what_arithmetic_does():
    planes = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(3, 16, 16)
    assert torch.equal(normalize(planes), planes[None].float() / 127.5 - 1.0)


@settings(max_examples=20)
@given(st.integers(1, 15), st.integers(1000, 3000))
def test_slivers_are_refused_in_words(short, long):
    for size in ((short, long), (long, short)):
        with pytest.raises(UserError, match="less elongated image or a larger image_size"):
            pixel_map(*size, image_size=512)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_what_is_no_rgb_image_is_refused(shape):
    with pytest.raises(UserError, match="must be"):
        check_image(np.zeros(shape, dtype=np.uint8))
    with pytest.raises(UserError, match="float64"):
        check_image(np.zeros((4, 4, 3)))


def test_without_opencv_numpy_does_the_same(monkeypatch):
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 48, 64), dtype=np.uint8))
    expected = normalize(planes), interleaved(planes.numpy())
    monkeypatch.setattr(preprocess, "_HAS_OPENCV", False)
    torch.testing.assert_close(normalize(planes), expected[0], rtol=0, atol=2e-7)
    assert np.array_equal(interleaved(planes.numpy()), expected[1])


def test_without_pillow_an_old_torch_multiplies_matrices(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mapping = pixel_map(80, 60, image_size=64)
    monkeypatch.setattr(preprocess, "_torch_has_lanczos", lambda: False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    found = resample(image, mapping, torch.device("cpu"))
    assert torch.equal(found, resample_by_matrices(torch.from_numpy(image), mapping))
