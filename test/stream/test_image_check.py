from __future__ import annotations

import cv2
import numpy as np
import pytest
from scripted_network import view

from ttt3r_ros.stream.gray import gray_of
from ttt3r_ros.stream.image_check import MAX_BLURRED, ImageState, check
from ttt3r_ros.synthetic import Sequence

STEP = 100_000_000  #: [ns]


@pytest.fixture(scope="module")
def walk() -> list[np.ndarray]:
    """Return pictures of a handheld camera in a furnished flat, ten a second."""
    return list(Sequence(2, 40, width=160, height=120, fps=10.0).render(0, 40).image.numpy())


def reasons(images: list[np.ndarray], frozen_timeout: float = 1.0) -> list[str | None]:
    return checked(images, [index * STEP for index in range(len(images))], frozen_timeout)


def checked(images: list[np.ndarray], stamps: list[int], frozen_timeout: float) -> list[str | None]:
    found, state = [], ImageState()
    for image, stamp in zip(images, stamps, strict=True):
        reason, state = check(state, image, gray_of(image), stamp, frozen_timeout)
        found.append(reason)
    return found


def noisy(image: np.ndarray, gain: float, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image * gain + noise, 0, 255).astype(np.uint8)


def lit_wall(seed: int, across: float) -> np.ndarray:
    """Return a plain wall whose brightness falls off to the sides, seen with a sensor's noise."""
    u, v = np.meshgrid(np.linspace(-1, 1, 160), np.linspace(-1, 1, 120))
    gray = 160 - 40 * ((u - across) ** 2 + v**2)
    return noisy(np.repeat(gray[..., None], 3, axis=2), 1.0, 2.0, seed)


@pytest.mark.slow
def test_a_walk_is_fine(walk):
    assert not any(reasons(walk))


def test_a_walk_by_night_is_fine(walk):
    assert not any(reasons([noisy(image, 0.12, 3.0, index) for index, image in enumerate(walk)]))


def test_turning_to_a_plain_wall_and_back_is_fine(walk):
    wall = [lit_wall(index, index / 20) for index in range(20)]
    assert not any(reasons([*walk[:20], *wall, *walk[20:]]))


def test_turning_quickly_is_fine(walk):
    """Every picture smeared by a tenth of its width and shifted by as much: what a turn looks like."""
    kernel = np.full((1, 17), 1 / 17)
    turning = [cv2.filter2D(np.roll(walk[20], 17 * n, axis=1), -1, kernel) for n in range(8)]
    assert not any(reasons([*walk[:20], *turning, *walk[21:]]))


def test_lamps_that_go_on_and_off_are_fine(walk):
    flicker = [noisy(image, 0.3 if index % 2 else 1.0, 2.0, index) for index, image in enumerate(walk)]
    assert not any(reasons(flicker))


@pytest.mark.parametrize(
    ("level", "sigma", "words"),
    [(0, 0.0, "black"), (5, 3.0, "black"), (255, 0.0, "white"), (254, 1.0, "white"), (128, 0.0, "no contrast")],
)
def test_what_shows_nothing_is_refused_noise_or_not(level, sigma, words):
    flat = np.full((120, 160, 3), level, dtype=np.uint8)
    (reason,) = reasons([noisy(flat, 1.0, sigma, 0)])
    assert words in reason


def test_a_big_picture_of_noise_has_no_contrast():
    """A covered lens: the noise of many pixels averages out."""
    (reason,) = reasons([noisy(np.full((480, 640, 3), 90, dtype=np.uint8), 1.0, 4.0, 0)])
    assert "no contrast" in reason


@pytest.mark.parametrize("sigma", [4, 6, 10])
def test_detail_that_goes_while_the_view_stays_is_blur(walk, sigma):
    images = [*walk[:20], cv2.GaussianBlur(walk[20], (0, 0), sigma), *walk[21:]]
    found = reasons(images)
    assert "blurred" in found[20]
    assert not any(found[:20] + found[21:])


def test_a_lens_that_stays_blurred_is_used_in_the_end():
    found = reasons(
        [*(view(n) for n in range(20)), *(cv2.GaussianBlur(view(20), (0, 0), 4 + n / 99) for n in range(40))]
    )
    assert all("blurred" in reason for reason in found[20 : 20 + MAX_BLURRED])
    assert not any(found[20 + MAX_BLURRED :])


def test_the_same_pixels_for_too_long_are_a_frozen_camera():
    found = reasons([view(0)] * 15 + [view(1)] * 5)
    assert [bool(reason) for reason in found] == [False] * 11 + [True] * 4 + [False] * 5
    assert "identical pixels for 1.1 s (frozen_timeout is 1 s)" in found[11]
    assert not any(reasons([view(0)] * 50, frozen_timeout=0.0))


def test_one_pixel_of_noise_is_a_living_camera():
    images = []
    for index in range(30):
        image = view(0)
        image[24, 40 + index % 2] += 1
        images.append(image)
    assert not any(reasons(images))


def test_time_that_jumps_back_freezes_nothing():
    assert checked([view(0)] * 3, [100 * STEP, 0, 5 * STEP], 1.0) == [None] * 3


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3)])
def test_odd_shapes_are_judged_too(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    reasons([image, image])


@pytest.mark.parametrize("sigma", [40, 60])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_clean_images_after_noisy_ones_are_not_blurred(walk, sigma, count):
    """Interference, or a gain that falls: the noise had more detail than the view."""
    doubled = [cv2.resize(image, None, fx=2, fy=2) for image in walk]
    images = [noisy(image, 1.0, sigma if index < count else 1.0, index) for index, image in enumerate(doubled)]
    assert not any(reasons(images))


@pytest.mark.parametrize("sigma", [1.5, 10])
def test_blur_is_found_beneath_the_sensors_noise(walk, sigma):
    doubled = [cv2.resize(image, None, fx=2, fy=2) for image in walk]
    images = [noisy(image, 1.0, sigma, index) for index, image in enumerate(doubled)]
    images[20] = noisy(cv2.GaussianBlur(doubled[20], (0, 0), 8), 1.0, 1.5, 20)
    found = reasons(images)
    assert "blurred" in found[20]
    assert not any(found[:20] + found[21:])
