from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt3r_ros.stream import still_check
from ttt3r_ros.stream.gray import gray_of
from ttt3r_ros.stream.still_check import (
    BLOCKS,
    MAX_SHIFT,
    SETTLE_S,
    StillState,
    check,
    has_moved,
    shift,
    weighted_median,
)

WIDTH, HEIGHT = 320, 240


def scene(seed: int = 0) -> np.ndarray:
    """Return a scene larger than an image, of patches and edges, float32."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(
        rng.integers(30, 220, (40, 52, 3)).astype(np.float32), (416, 320), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(60):
        x, y = (int(value) for value in rng.integers(0, (400, 300)))
        w, h = (int(value) for value in rng.integers(6, 60, 2))
        cv2.rectangle(picture, (x, y), (x + w, y + h), [float(value) for value in rng.integers(20, 230, 3)], -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def seen(scene: np.ndarray, A: np.ndarray | None = None) -> np.ndarray:
    """Return an image (float32) of a scene under a (2, 3) affine motion about the image's centre."""
    M = np.eye(2, 3) if A is None else np.array(A, dtype=float)
    center = np.array([208.0, 160.0])
    M[:, 2] += center - M[:, :2] @ center - [48, 40]
    return cv2.warpAffine(scene, M, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)


def taken(image: np.ndarray, sigma: float = 2.0, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def view(image: np.ndarray, sigma: float = 2.0, seed: int = 1) -> np.ndarray:
    return still_check._view(gray_of(taken(image, sigma, seed)))


def person(image: np.ndarray, left: int) -> np.ndarray:
    image = image.copy()
    clothes = np.random.default_rng(9).integers(0, 255, (24, 8, 3)).astype(np.float32)
    image[30:, left : left + WIDTH // 5] = cv2.resize(clothes, (WIDTH // 5, HEIGHT - 30))
    return image


ROWS = np.sin(np.arange(HEIGHT) / 27.0)[:, None, None]
DISTURBANCES = {
    "noise of 5 gray levels": lambda image: taken(image, 5.0, 2),
    "gain": lambda image: taken(image * 1.12, 2.0, 2),
    "gamma": lambda image: taken(255 * (np.clip(image, 0, 255) / 255) ** 1.15, 2.0, 2),
    "lamps": lambda image: taken(image * (1 + 0.05 * ROWS), 2.0, 2),
    "a person": lambda image: taken(person(image, 120), 2.0, 2),
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", taken(image, 2.0, 2), [1, 60])[1], 1),
}


@pytest.mark.parametrize("kind", DISTURBANCES)
@pytest.mark.parametrize("seed", range(3))
def test_what_changes_an_image_without_motion_is_none(kind, seed):
    image = seen(scene(seed))
    assert not has_moved(view(image), still_check._view(gray_of(DISTURBANCES[kind](image))))


MOTIONS = {
    "across": [[1, 0, 0.4], [0, 1, 0]],
    "down": [[1, 0, 0], [0, 1, 0.4]],
    "nearer": [[1.003, 0, 0], [0, 1.003, 0]],
    "around": [[1, -0.003, 0], [0.003, 1, 0]],
    "far": [[1, 0, 25], [0, 1, 10]],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MOTIONS)
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_small_motion_is_motion_whatever_else_changes(kind, disturbance):
    before, after = seen(scene()), seen(scene(), np.array(MOTIONS[kind]))
    assert has_moved(view(before), still_check._view(gray_of(DISTURBANCES[disturbance](after))))


@pytest.mark.slow
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(0, 20))
@settings(max_examples=25)
def test_a_shift_is_measured_as_it_is(x, y, seed):
    found = shift(view(seen(scene(seed))), view(seen(scene(seed), np.array([[1, 0, x], [0, 1, y]])), seed=2))
    assert found is not None
    assert found[0] == pytest.approx(max(abs(x), abs(y)), abs=0.1)


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0])
def test_a_blank_wall_tells_nothing(sigma):
    wall = np.full((HEIGHT, WIDTH, 3), 120.0, dtype=np.float32) + np.linspace(0, 20, WIDTH)[None, :, None]
    assert shift(view(wall, sigma), view(wall, sigma, seed=2)) is None
    assert has_moved(view(wall, sigma), view(wall, sigma, seed=2))


def test_noise_does_not_shrink_a_shift():
    """As it does where noise in the gradients passes for detail."""
    before, after = seen(scene()), seen(scene(), np.array([[1, 0, 0.5], [0, 1, 0]]))
    quiet = shift(view(before, 0.0), view(after, 0.0))
    noisy = shift(view(before, 8.0), view(after, 8.0, seed=2))
    assert noisy[0] == pytest.approx(quiet[0], rel=0.05)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 5)), min_size=1, max_size=20))
def test_a_weighted_median_is_that_of_repeated_values(pairs):
    values, weights = (np.array(column, dtype=float) for column in zip(*pairs))
    repeated = np.sort(np.repeat(values, weights.astype(int)))
    assert weighted_median(values, weights) == repeated[(len(repeated) - 1) // 2]


def fed(state: StillState, image: np.ndarray, seconds: float, seed: int) -> tuple[bool, StillState]:
    return check(state, gray_of(taken(image, 2.0, seed)), round(seconds * 1e9))


def test_a_stream_begins_standing_and_the_first_motion_is_seen_at_once():
    image, state = seen(scene()), StillState()
    found = []
    for frame in range(10):
        is_still, state = fed(state, image, frame / 15, frame)
        found.append(is_still)
    assert found == [False] + [True] * 9
    moved = seen(scene(), np.array([[1, 0, 0.5], [0, 1, 0]]))
    assert not fed(state, moved, 10 / 15, 99)[0]


@pytest.mark.slow
def test_slow_motion_adds_up():
    """A tenth of what is seen from frame to frame: no frame differs from the one before, and yet it moves."""
    step, state, still = 0.1 * MAX_SHIFT * WIDTH, StillState(), []
    for frame in range(60):
        image = seen(scene(), np.array([[1, 0, step * frame], [0, 1, 0]]))
        is_still, state = fed(state, image, frame / 15, frame)
        still.append(is_still)
    assert any(not found for found in still[1:20])
    assert state.since_ns > 2e9


def test_who_has_moved_stands_only_after_a_while():
    state = StillState()
    for frame in range(10):
        _, state = fed(state, seen(scene(), np.array([[1, 0, 2.0 * frame], [0, 1, 0]])), frame / 15, frame)
    stopped = [fed(state, seen(scene(), np.array([[1, 0, 18.0], [0, 1, 0]])), 9 / 15 + t, 50)[0] for t in (0.1, 0.4)]
    assert stopped == [False, False]
    assert fed(state, seen(scene(), np.array([[1, 0, 18.0], [0, 1, 0]])), 9 / 15 + SETTLE_S + 0.01, 50)[0]


def test_another_image_size_is_another_view():
    _, state = fed(StillState(), seen(scene()), 0.0, 0)
    is_still, state = check(state, gray_of(taken(seen(scene()))[:200]), 100_000_000)
    assert not is_still
    assert state.anchor.shape == (200, 320)


def test_images_as_small_as_can_be_are_compared():
    tiny = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    _, state = check(StillState(), gray_of(tiny), 0)
    assert check(state, gray_of(tiny), 1) is not None
    assert BLOCKS[0] * BLOCKS[1] == 80


def test_the_anchor_stays_while_it_stands():
    _, state = fed(StillState(), seen(scene()), 0.0, 0)
    _, after = fed(state, seen(scene()), 0.1, 1)
    assert after.anchor is state.anchor
    assert after == replace(state, is_still=True)
