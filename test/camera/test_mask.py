from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttt3r_ros.camera.mask import FILL, Mask, read_mask
from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.camera.rectify import Rectifier
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics


def blob(seed: int, width: int, height: int) -> np.ndarray:
    """Return a gray image with some white rectangles."""
    rng, gray = np.random.default_rng(seed), np.zeros((height, width), np.uint8)
    for _ in range(3):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        gray[y : y + int(rng.integers(1, height // 3)), x : x + int(rng.integers(1, width // 3))] = 255
    return gray


@example(60, 133, 60, 64)  # a corner covers 1/600 of the square
@given(st.integers(0, 500), st.integers(60, 160), st.integers(60, 160), st.sampled_from([48, 64, 96]))
def test_a_pixel_of_the_networks_image_is_hidden_where_a_hidden_one_is_part_of_it(seed, width, height, image_size):
    gray, mapping = blob(seed, width, height), pixel_map(width, height, image_size=image_size)
    hidden, shrinks = Mask(gray).on(mapping), mapping.scale.max() < 1
    assert hidden.shape == mapping.size[::-1]
    for row, column in np.random.default_rng(seed).integers(0, hidden.shape, (40, 2)):
        low, high = mapping.to_input([column - 0.5, row - 0.5]), mapping.to_input([column + 0.5, row + 0.5])
        middle = np.clip(np.rint((low + high) / 2).astype(int), 0, [width - 1, height - 1])
        assert hidden[row, column] >= (gray[middle[1], middle[0]] > 0)
        if shrinks:  # exactly the pixels that its square covers, but for those that it touches with a hair
            inner = [np.clip(np.rint(edge).astype(int), 0, None) for edge in (low + 0.05, high - 0.05)]
            outer = [np.clip(np.rint(edge).astype(int), 0, None) for edge in (low - 0.05, high + 0.05)]
            assert hidden[row, column] >= gray[inner[0][1] : inner[1][1] + 1, inner[0][0] : inner[1][0] + 1].any()
            assert hidden[row, column] <= gray[outer[0][1] : outer[1][1] + 1, outer[0][0] : outer[1][0] + 1].any()


def test_hidden_pixels_are_gray_and_the_others_as_they_were():
    gray, image = blob(1, 80, 60), np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    before, filled = image.copy(), Mask(gray).filled(image)
    assert (filled[gray > 0] == FILL).all()
    assert (filled[gray == 0] == image[gray == 0]).all()
    assert (image == before).all()


def test_a_margin_hides_what_is_close():
    gray = np.zeros((60, 80), np.uint8)
    gray[30, 40] = 255
    visible = Mask(gray).visible(80, 60, 3)
    assert visible.sum() == visible.size - 7 * 7
    assert not visible[27:34, 37:44].any()


@pytest.mark.parametrize(
    ("gray", "words"),
    [
        (np.full((60, 80), 255, np.uint8), "invert it"),
        (np.zeros((60, 80, 3), np.uint8), "gray image"),
        (np.zeros((0, 80), np.uint8), "gray image"),
    ],
)
def test_what_is_no_mask_is_refused(gray, words):
    with pytest.raises(UserError, match=words):
        Mask(gray)


def test_a_mask_of_another_size_does_not_fit():
    Mask(blob(1, 80, 60)).check(80, 60)
    with pytest.raises(UserError, match="80x60 pixels but the images have 60x80"):
        Mask(blob(1, 80, 60)).check(60, 80)


def test_a_mask_is_undistorted_as_the_images_are():
    camera = Intrinsics(70.0, 70.0, 39.5, 29.5, 80, 60)
    rectifier = Rectifier(camera, [-0.3, 0.1, 0.0, 0.0, 0.0], "plumb_bob")
    gray = np.zeros((60, 80), np.uint8)
    gray[40:, 20:60] = 255
    rectified = Mask(gray).rectified(rectifier)
    expected = rectifier.rectify(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))[..., 0] >= 128
    assert (rectified.hidden.astype(bool) == expected).all()
    assert (rectified.hidden != Mask(gray).hidden).any()


def test_a_mask_is_read_from_a_file_or_refused_in_a_sentence(tmp_path: Path):
    gray = blob(2, 80, 60)
    cv2.imwrite(str(tmp_path / "mask.png"), gray)
    mask = read_mask(str(tmp_path / "mask.png"))
    assert mask is not None
    assert (mask.hidden == (gray > 0)).all()
    assert mask.checksum == Mask(gray).checksum != Mask(blob(3, 80, 60)).checksum
    assert read_mask("") is None
    (tmp_path / "text.png").write_text("no image")
    cv2.imwrite(str(tmp_path / "inverted.png"), 255 - gray // 255 * np.uint8(1))
    for name in ("missing.png", "text.png", "inverted.png", "."):
        with pytest.raises(UserError, match=r"the mask .*"):
            read_mask(str(tmp_path / name))
