from __future__ import annotations

import cv2
import numpy as np
import pytest

from ttt3r_ros.stream.gray import WIDTH, find_again, gray_of

WEIGHTS = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return an RGB image of soft blobs."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("width", [64, WIDTH])
def test_a_small_image_keeps_its_size_and_its_brightness(width):
    image = texture(width, 48)
    gray = gray_of(image)
    assert (gray.shape, gray.dtype) == ((48, width), np.uint8)
    np.testing.assert_allclose(gray, image @ WEIGHTS, atol=1)


@pytest.mark.parametrize(("size", "height"), [((640, 480), 240), ((960, 300), 100), ((4000, 2), 1)])
def test_a_large_image_is_averaged_down(size, height):
    image = texture(*size) if size[1] > 8 else np.full((size[1], size[0], 3), 77, np.uint8)
    gray = gray_of(image)
    assert gray.shape == (height, WIDTH)
    fx, fy = size[0] // WIDTH, size[1] // height
    if fx * WIDTH == size[0]:  # whole blocks
        blocks = (image @ WEIGHTS).reshape(height, fy, WIDTH, fx).mean(axis=(1, 3))
        np.testing.assert_allclose(gray, blocks, atol=2)
    assert gray.mean() == pytest.approx((image @ WEIGHTS).mean(), abs=1)


def test_points_are_found_where_the_image_has_moved_to_and_others_are_not():
    before = gray_of(texture(160, 120))
    shift = np.float32([3.25, -2.5])
    after = cv2.warpAffine(before, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), (160, 120))
    after[60:] = gray_of(texture(160, 120, seed=1))[60:]  # the lower half shows something else
    y, x = np.mgrid[20:45:8, 20:140:8]
    start = np.column_stack([x.ravel(), y.ravel()]).astype(np.float32)
    guess = start + 1.5
    kept = guess.copy()
    there, found = find_again(before, after, start, guess)
    assert (there.dtype, found.dtype) == (np.float32, np.bool_)
    assert found.all()
    np.testing.assert_allclose(there, start + shift, atol=0.25)
    np.testing.assert_array_equal(guess, kept)  # the guess stays as it was
    outside = np.float32([[400.0, 300.0]])
    assert not find_again(before, after, np.float32([[80, 60]]), outside)[1].any()
