"""Streams whose images have pixels that never show the scene."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scripted_network import PATCH, ScriptedNetwork, along, view

from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_BASE_CAMERA
from ttt3r_ros.stream import image_check, segments, still_check
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.gray import gray_of
from ttt3r_ros.stream.image_check import ImageState
from ttt3r_ros.stream.saved_state import to_bytes
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.still_check import StillState
from ttt3r_ros.stream.stream import Stream, StreamResult

WIDTH, HEIGHT = 80, 60


def hood() -> Mask:
    """Return a mask of the lower third of small images; their numbers are in the upper left corner."""
    gray = np.zeros((HEIGHT, WIDTH), np.uint8)
    gray[40:] = 255
    return Mask(gray)


class HoodedNetwork(ScriptedNetwork):
    """Sees the lower third of its image `factor` times as far away as it is, in every other segment."""

    factor = 3.0

    def step(self, image, state, *, rule=None, outputs=frozenset({"points_camera"})):
        prediction, state = super().step(image, state, rule=rule, outputs=outputs)
        points, confidence = prediction.trace.decoded
        if self.segments % 2 == 0:
            points[:, points.shape[1] // 2 :] *= self.factor
            confidence[:, confidence.shape[1] // 2 :] = 90.0
        return prediction, state


def checked(state, image, stamp_ns, frozen_timeout, mask=None):
    return image_check.check(state, image, gray_of(image), stamp_ns, frozen_timeout, mask)


def drive(stream: Stream, count: int, mask: Mask | None, first: int = 0, **options) -> list[StreamResult]:
    results = []
    for number in range(first, first + count):
        image, stamp_ns = view(number), (number + 1) * 100_000_000
        results.append(stream.process(image, stamp_ns, T_BASE_CAMERA, mask=mask, **options))
        stream.prepare()
        assert results[-1].lost is None
    return results


def test_hidden_pixels_are_gray_and_have_no_depth_and_no_point():
    mask, stream = hood(), Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings())
    estimate = drive(stream, 3, mask, outputs=frozenset({POINTS, IMAGE}))[-1].estimate
    hidden = mask.on(estimate.pixel_map)
    assert 0.2 < hidden.mean() < 0.5
    assert np.isnan(estimate.depth[hidden]).all()
    assert np.isnan(estimate.points[hidden]).all()
    assert (estimate.confidence[hidden] == 1).all()
    assert np.isfinite(estimate.points[~hidden]).all()
    assert (estimate.confidence[~hidden] == 3).all()
    assert estimate.typical_confidence() == 3
    rows = np.flatnonzero(hidden.all(axis=1))
    assert np.abs(estimate.image[rows[2:]].astype(int) - 128).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [frozenset({POINTS}), frozenset()], ids=["points", "none"])
def test_hidden_pixels_weigh_nothing_in_the_scale(wanted):
    """Half of the points jump to three times their distance at every other reset, but all of these are hidden."""
    scales = {}
    for masked in (False, True):
        settings = StreamSettings(reset_interval=5)
        stream = Stream(Backbone(HoodedNetwork(along(0.05))), settings)
        gray = np.zeros((HEIGHT, WIDTH), np.uint8)
        gray[HEIGHT // 2 - 8 :] = 255
        drive(stream, 30, Mask(gray) if masked else None, outputs=wanted)
        scales[masked] = stream.state.segments.scale
        assert stream.state.segments.segment > 2
    assert scales[True] == pytest.approx(1.0, abs=1e-3)
    assert abs(np.log(scales[False])) > 0.05


def test_hidden_pixels_weigh_nothing_in_the_focal_length():
    focals = {}
    for masked in (False, True):
        network = HoodedNetwork(along(0.05))
        network.segments, network.script = 0, _bent
        stream = Stream(Backbone(network), StreamSettings())
        result = drive(stream, 3, hood() if masked else None)[-1]
        focals[masked] = result.estimate.intrinsics.fx
        width = result.estimate.pixel_map.size[0]
    assert focals[True] == pytest.approx(width, rel=0.01)
    assert abs(focals[False] / width - 1) > 0.05


def _bent(prediction, state):
    """Widen what the lower half sees."""
    prediction.points_camera[:, prediction.points_camera.shape[1] // 2 + 4 :, :, :2] *= 3.0
    return prediction, state


def test_the_adaptive_policy_looks_at_what_is_visible_and_is_saved():
    mask, backbone = hood(), Backbone(ScriptedNetwork(along(0.05)))
    stream = Stream(backbone, StreamSettings(reset_policy="adaptive", reset_interval=50))
    drive(stream, 40, mask, outputs=frozenset())
    assert stream.state.policy.keyframes
    assert stream.state.policy.confidences[-1] == pytest.approx(2.0)
    assert to_bytes(stream)  # which refuses what is not finite


def test_a_mask_of_another_size_is_said_and_changes_nothing():
    stream = Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings())
    drive(stream, 3, hood())
    before = stream.state
    with pytest.raises(UserError, match="the mask has 40x30 pixels but the images have 80x60"):
        stream.process(view(3), 10**9, mask=Mask(np.zeros((30, 40), np.uint8)))
    assert stream.state is before


def test_a_mask_may_change_between_frames():
    mask, stream = hood(), Stream(Backbone(ScriptedNetwork(along(0.05))), StreamSettings(reset_interval=4))
    for first, some in ((0, None), (3, mask), (9, None), (12, mask)):
        drive(stream, 3, some, first)


# --- the checks of images ---


def hidden_by(mask: Mask, image: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return how an image looks behind a body, filled as the stream fills it."""
    seen = np.where(mask.hidden[..., None] > 0, body, image).astype(np.uint8)
    return mask.filled(seen)


def body(seed: int = 5) -> np.ndarray:
    """Return a bright, detailed body."""
    return np.random.default_rng(seed).integers(60, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


BAD = {
    "black": np.zeros((HEIGHT, WIDTH, 3), np.uint8),
    "white": np.full((HEIGHT, WIDTH, 3), 255, np.uint8),
    "no contrast": np.full((HEIGHT, WIDTH, 3), 90, np.uint8),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_hidden_does_not_make_an_image_good(kind):
    mask = hood()
    seen = np.where(mask.hidden[..., None] > 0, body(), BAD[kind]).astype(np.uint8)
    assert checked(ImageState(), seen, 1, 1.0)[0] is None
    for image in (seen, hidden_by(mask, BAD[kind], body())):
        reason, _ = checked(ImageState(), mask.filled(image), 1, 1.0, mask)
        assert reason is not None
        assert kind in reason


def test_what_is_hidden_does_not_hide_blur():
    mask = hood()
    state, state_without = ImageState(), ImageState()
    for number in range(5):
        image = np.where(mask.hidden[..., None] > 0, body(), view(number)).astype(np.uint8)
        reason, state = checked(state, mask.filled(image), number, 1.0, mask)
        assert reason is None
        state_without = checked(state_without, image, number, 1.0)[1]
    blurred = cv2.GaussianBlur(view(5), (0, 0), 6)
    image = np.where(mask.hidden[..., None] > 0, body(), blurred).astype(np.uint8)
    assert checked(state_without, image, 6, 1.0)[0] is None
    assert "blurred" in (checked(state, mask.filled(image), 6, 1.0, mask)[0] or "")
    sharp = np.where(mask.hidden[..., None] > 0, cv2.GaussianBlur(body(), (0, 0), 6), view(5)).astype(np.uint8)
    assert checked(state, mask.filled(sharp), 6, 1.0, mask)[0] is None


def grille(width: int, height: int) -> Mask:
    """Return a mask of bars across the whole image, whose edges are everywhere."""
    gray = np.zeros((height, width), np.uint8)
    for left in range(0, width, width // 10):
        gray[:, left : left + max(width // 80, 2)] = 255
    return Mask(gray)


def test_the_edges_of_what_is_hidden_do_not_hide_blur():
    mask, state = grille(WIDTH, HEIGHT), ImageState()
    for number in range(5):
        reason, state = checked(state, mask.filled(view(number)), number, 1.0, mask)
        assert reason is None
    blurred = cv2.GaussianBlur(view(5), (0, 0), 6)
    assert "blurred" in (checked(state, mask.filled(blurred), 6, 1.0, mask)[0] or "")


@pytest.mark.parametrize("shift", [0, 1])
def test_the_edges_of_what_is_hidden_do_not_stand_still(shift):
    """Through a grille before the lens; the scene is dim, and moves by a pixel a frame, or stands."""
    mask, state, found = grille(320, 240), StillState(), []
    rng = np.random.default_rng(0)
    for frame in range(6):
        scene = 30 + 0.2 * texture(1, frame * shift) + rng.normal(0, 1, (240, 320, 3))
        is_still, state = still_check.check(state, gray_of(mask.filled(scene.astype(np.uint8))), frame * 10**9, mask)
        found.append(is_still)
    assert found[1:] == [not shift] * 5


def test_a_clock_in_a_hidden_corner_does_not_hide_that_the_camera_is_frozen():
    gray = np.zeros((HEIGHT, WIDTH), np.uint8)
    gray[:PATCH, :PATCH] = 255
    mask, state, reasons = Mask(gray), ImageState(), []
    for number in range(4):
        image = view(0)
        image[:PATCH, :PATCH] = 10 * number
        reason, state = checked(state, mask.filled(image), number * 10**9, 1.5, mask)
        reasons.append(reason)
    assert reasons[:2] == [None, None]
    assert "frozen" in reasons[3]


def texture(seed: int, shift: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 256, (48, 80, 3), dtype=np.uint8), (400, 240), interpolation=cv2.INTER_CUBIC)
    return scene[:, 20 + shift : 340 + shift]


@pytest.mark.parametrize("rows", [100, 140, 200])
@pytest.mark.parametrize(("scene_moves", "body_moves"), [(True, False), (False, True)])
def test_only_what_is_visible_tells_whether_the_camera_stands(rows, scene_moves, body_moves):
    """A body that fills up to five sixths of the picture stands while the scene moves, or the other way round."""
    gray = np.zeros((240, 320), np.uint8)
    gray[240 - rows :] = 255
    mask, state, found = Mask(gray), StillState(), []
    rng = np.random.default_rng(0)
    for frame in range(6):
        scene, own = texture(1, frame * scene_moves), texture(2, frame * body_moves)
        image = np.where(gray[..., None] > 0, own, scene) + rng.normal(0, 2, scene.shape)
        image = np.clip(image, 0, 255).astype(np.uint8)
        is_still, state = still_check.check(state, gray_of(mask.filled(image)), frame * 10**9, mask)
        found.append(is_still)
    assert found[1:] == [not scene_moves and rows < 200] * 5  # too little is left to tell


def test_points_of_the_last_frame_are_hidden_as_well():
    mask, backbone = hood(), Backbone(ScriptedNetwork(along(0.05)))
    stream = Stream(backbone, StreamSettings())
    estimate = drive(stream, 2, mask, outputs=frozenset())[-1].estimate
    with torch.inference_mode():
        points, confidence = segments.last_points(backbone, stream.state.segments)
    hidden = mask.on(estimate.pixel_map)
    assert np.isnan(points[hidden]).all()
    assert np.isfinite(points[~hidden]).all()
    assert (confidence[hidden] == 1).all()
