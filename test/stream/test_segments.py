from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from rule_weights import TINY, rule_network
from segment_runner import photo, tiny_segments

from ttt3r_ros.camera.mask import Mask
from ttt3r_ros.camera.preprocess import interleaved, normalize, pixel_map, resample
from ttt3r_ros.camera.upright import turned_axes
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import Intrinsics, T_from_pose, inverse
from ttt3r_ros.model import Ttt3r
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.scale_filter import OWN_METRES, ScaleState
from ttt3r_ros.stream.segments import SegmentState, advance, last_points, look, rescaled, warm_up
from ttt3r_ros.stream.settings import StreamSettings


def segment_poses(seeds: list[int]) -> list[np.ndarray]:
    """Return the network's own poses of a segment fed with these images."""
    network, state, poses = rule_network(TINY), None, []
    mapping = pixel_map(80, 60, image_size=64)
    with torch.inference_mode():
        for seed in seeds:
            image = normalize(resample(photo(seed), mapping, torch.device("cpu")))
            prediction, state = network.step(image, state, rule=Ttt3r())
            poses.append(T_from_pose(prediction.translation[0].numpy(), prediction.quaternion[0].numpy()))
    return poses


def scaled(T: np.ndarray, scale: float) -> np.ndarray:
    """Return a transform with its translation multiplied."""
    T = T.copy()
    T[:3, 3] *= scale
    return T


def test_the_world_is_the_first_camera():
    stream = tiny_segments()
    estimates = [stream.read(photo(seed)) for seed in range(3)]
    poses = segment_poses([0, 1, 2])
    np.testing.assert_allclose(estimates[0].T_world_camera, np.eye(4), atol=1e-9)
    for estimate, pose in zip(estimates, poses, strict=True):
        np.testing.assert_allclose(estimate.T_world_camera, inverse(poses[0]) @ pose, atol=1e-5)
    assert [e.segment_frames for e in estimates] == [1, 2, 3]
    assert {e.segment for e in estimates} == {0}


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [True, False])
def test_segments_are_chained_through_the_frames_they_share(prepare):
    stream = tiny_segments(reset_interval=2)
    estimates = []
    for seed in range(4):
        estimates.append(stream.read(photo(seed)))
        if prepare:
            stream.prepare()
    first, second, third = segment_poses([0, 1]), segment_poses([0, 1, 2]), segment_poses([1, 2, 3])
    T = inverse(first[0]) @ first[1]
    np.testing.assert_allclose(estimates[1].T_world_camera, T, atol=1e-5)
    T_2 = scaled(inverse(second[0]) @ second[2], estimates[2].scale)
    np.testing.assert_allclose(estimates[2].T_world_camera, T_2, atol=1e-5)
    T = T @ scaled(inverse(third[0]) @ third[2], estimates[3].scale)
    np.testing.assert_allclose(estimates[3].T_world_camera, T, atol=1e-5)
    assert [e.segment for e in estimates] == [0, 0, 1, 2]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_camera_sees_what_an_upright_one_sees(turns):
    """Images have the network's size, so that the network sees the same; over a reset, with hidden pixels."""
    upright = turned = SegmentState()
    backbone, settings = tiny_segments().backbone, StreamSettings(image_size=64)
    R, hidden, outputs = turned_axes(turns), np.zeros((48, 64), np.uint8), {POINTS, IMAGE}
    hidden[40:, :20] = 255
    for number in range(5):
        image = photo(number, 64, 48)
        expected, upright = advance(backbone, upright, image, settings=settings, outputs=outputs, mask=Mask(hidden))
        found, turned = advance(
            backbone,
            turned,
            np.ascontiguousarray(np.rot90(image, -turns)),
            settings=settings,
            outputs=outputs,
            mask=Mask(np.ascontiguousarray(np.rot90(hidden, -turns))),
            turns=turns,
        )
        for name in ("depth", "confidence", "image"):
            np.testing.assert_array_equal(getattr(found, name), np.rot90(getattr(expected, name), -turns))
        np.testing.assert_allclose(found.points, np.rot90(expected.points, -turns) @ R, atol=1e-6)
        np.testing.assert_allclose(found.T_world_camera[:3, 3], R.T @ expected.T_world_camera[:3, 3], atol=1e-6)
        np.testing.assert_allclose(found.T_world_camera[:3, :3], R.T @ expected.T_world_camera[:3, :3] @ R, atol=1e-6)
        assert (found.scale, found.turns) == (pytest.approx(expected.scale), turns)
        (points, confidence), (as_upright, _) = (last_points(backbone, state) for state in (turned, upright))
        np.testing.assert_allclose(points, np.rot90(as_upright, -turns) @ R, atol=1e-6)
        np.testing.assert_array_equal(confidence, found.confidence)
        if number == 2:
            upright, turned = upright.reset(), turned.reset()
    assert turned.segment == 1


def test_the_scale_survives_a_reset(monkeypatch):
    """A second segment that sees everything 1.3 times as large changes neither depth nor motion by 1 %.

    This is so where ratios are known to be unbiased, as after some resets; see `scale_filter`.
    """
    unbiased = ScaleState(covariance=np.diag([OWN_METRES**2, 0.0, 0.0]))
    plain, rescaled = tiny_segments(), tiny_segments()
    step, segments = rescaled.backbone.network.step, [0]

    def larger_later(image, state, **kwargs):
        segments[0] += state is None
        factor = 1.3 if segments[0] > 1 else 1.0
        prediction, state = step(image, state, **kwargs)
        points = prediction.points_camera
        prediction = dataclasses.replace(
            prediction,
            translation=prediction.translation * factor,
            points_camera=None if points is None else points * factor,
        )
        return prediction, state

    monkeypatch.setattr(rescaled.backbone.network, "step", larger_later)
    for outputs in ({POINTS}, set()):  # with and without points of the frame at the reset
        for stream in (plain, rescaled):
            stream.state = SegmentState(scale_state=unbiased)
        segments[0] = 0
        for seed in range(3):
            for stream in (plain, rescaled):
                stream.read(photo(seed), outputs=outputs)
        for stream in (plain, rescaled):
            stream.state = stream.state.reset()
        expected, found = (stream.read(photo(7)) for stream in (plain, rescaled))
        assert expected.scale != 1.0  # these weights, too, see another scale in another segment
        assert found.scale == pytest.approx(expected.scale / 1.3, rel=0.01)
        np.testing.assert_allclose(found.points, expected.points, rtol=0.01)
        before = plain.state.T_world_segment[:3, 3]
        moved = np.linalg.norm(expected.T_world_camera[:3, 3] - before)
        np.testing.assert_allclose(found.T_world_camera, expected.T_world_camera, atol=0.01 * max(moved, 0.1))


def test_a_reset_forgets_the_state_but_not_the_pose():
    stream = tiny_segments()
    before = [stream.read(photo(seed)) for seed in range(3)]
    stream.state = stream.state.reset()
    after = stream.read(photo(7))
    poses = segment_poses([1, 2, 7])
    expected = before[1].T_world_camera @ scaled(inverse(poses[0]) @ poses[2], after.scale)
    np.testing.assert_allclose(after.T_world_camera, expected, atol=1e-5)
    assert (after.segment, after.segment_frames) == (1, 2)


def test_a_break_goes_on_where_the_stream_stood():
    stream = tiny_segments()
    for seed in range(3):
        before = stream.read(photo(seed))
    stream.state = stream.state.without_state()
    after = stream.read(photo(7))
    np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
    assert (after.segment, after.segment_frames) == (1, 1)


def test_a_reset_before_the_first_frame_changes_nothing():
    stream = tiny_segments()
    stream.state = stream.state.reset()
    stream.prepare()
    assert stream.read(photo(0)).segment == 0


def test_a_changed_image_size_starts_a_segment():
    stream = tiny_segments()
    stream.read(photo(0))
    before = stream.read(photo(1))
    after = stream.read(photo(2, width=60, height=80))
    np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
    assert after.points.shape == (64, 48, 3)
    assert after.segment == 1


def test_only_what_is_asked_for_is_made():
    stream = tiny_segments()
    bare = stream.read(photo(0), outputs=set())
    assert bare.points is None
    assert bare.depth is None
    assert bare.confidence is None
    assert bare.image is None
    assert bare.intrinsics is None
    full = stream.read(photo(1), outputs={POINTS, IMAGE})
    assert full.points.shape == (48, 64, 3)
    assert np.array_equal(full.depth, full.points[..., 2])
    assert full.confidence.shape == (48, 64)
    expected = interleaved(resample(photo(1), full.pixel_map, torch.device("cpu")).numpy())
    assert np.array_equal(full.image, expected)


def test_given_intrinsics_follow_the_pixels():
    camera = Intrinsics(70.0, 71.0, 39.5, 29.5, 80, 60)
    estimate = tiny_segments().read(photo(0), camera, outputs=set())
    assert estimate.intrinsics_source == "given"
    assert estimate.intrinsics == estimate.pixel_map.intrinsics(camera)
    with pytest.raises(UserError, match="intrinsics are for 80x60 pixels but the image has 60x80"):
        tiny_segments().read(photo(0, 60, 80), camera)


def test_no_focal_length_is_sought_where_intrinsics_are_given(monkeypatch):
    stream, sought = tiny_segments(), []
    monkeypatch.setattr("ttt3r_ros.camera.focal.focal_from_points", lambda points: sought.append(1) or 10.0)
    stream.read(photo(0), Intrinsics(70.0, 71.0, 39.5, 29.5, 80, 60))
    assert not sought
    assert stream.read(photo(1)).intrinsics_source == "estimated"
    assert len(sought) == 1


def test_a_focal_length_is_estimated_and_then_held(monkeypatch):
    stream, focals = tiny_segments(), iter([10.0, 12.0, 11.0, *([500.0] * 100)])
    monkeypatch.setattr("ttt3r_ros.camera.focal.focal_from_points", lambda points: next(focals))
    found = [stream.read(photo(seed)).intrinsics.fx for seed in range(3)]
    assert found == [40.0, 44.0, 44.0]  # medians of what was found on every fourth pixel
    monkeypatch.setattr("ttt3r_ros.camera.focal.FOCAL_FRAMES", 3)
    assert stream.read(photo(4)).intrinsics.fx == 44.0
    assert stream.read(photo(5)).intrinsics_source == "estimated"


def test_a_common_lens_is_assumed_while_the_points_fit_none(monkeypatch):
    monkeypatch.setattr("ttt3r_ros.camera.focal.focal_from_points", lambda points: float("nan"))
    estimate = tiny_segments().read(photo(0))
    assert estimate.intrinsics_source == "assumed"
    assert estimate.intrinsics == Intrinsics(0.9 * 64, 0.9 * 64, 32, 24, 64, 48)


@pytest.mark.parametrize("poison", ["pose", "state", "depth"])
def test_what_is_not_a_number_is_a_fault_and_the_next_frame_recovers(poison, monkeypatch):
    stream = tiny_segments()
    stream.read(photo(0))
    before = stream.read(photo(1))
    nan = float("nan")
    step = stream.backbone.network.step

    def poisoned(*args, **kwargs):
        prediction, state = step(*args, **kwargs)
        if poison == "pose":
            prediction = dataclasses.replace(prediction, translation=prediction.translation * nan)
        elif poison == "state":
            state = dataclasses.replace(state, pose_memory=state.pose_memory * nan)
        else:
            prediction = dataclasses.replace(prediction, points_camera=prediction.points_camera * nan)
        return prediction, state

    monkeypatch.setattr(stream.backbone.network, "step", poisoned)
    assert stream.read(photo(2)).fault
    monkeypatch.setattr(stream.backbone.network, "step", step)
    after = stream.read(photo(3))
    assert after.fault is None
    assert after.segment == 1
    np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)


def test_a_frame_that_fails_when_fed_again_starts_no_segment(monkeypatch):
    stream = tiny_segments()
    stream.read(photo(0))
    before = stream.read(photo(1))
    step = stream.backbone.network.step

    def poisoned(*args, **kwargs):
        prediction, state = step(*args, **kwargs)
        return dataclasses.replace(prediction, translation=prediction.translation * float("nan")), state

    stream.state = stream.state.reset()
    monkeypatch.setattr(stream.backbone.network, "step", poisoned)
    stream.prepare()
    monkeypatch.setattr(stream.backbone.network, "step", step)
    after = stream.read(photo(2))
    np.testing.assert_allclose(after.T_world_camera, before.T_world_camera, atol=1e-9)
    assert after.segment_frames == 1


def test_a_refused_image_changes_nothing():
    stream, other = tiny_segments(), tiny_segments()
    for target in (stream, other):
        target.read(photo(0))
    with pytest.raises(UserError):
        stream.read(np.zeros((60, 80), dtype=np.uint8))
    with pytest.raises(UserError):
        stream.read(photo(1, width=1000, height=4))
    assert np.array_equal(stream.read(photo(1)).T_world_camera, other.read(photo(1)).T_world_camera)


def test_warming_up_leaves_no_trace():
    warm, cold = tiny_segments(), tiny_segments()
    warm_up(warm.backbone, 60, 80)
    assert np.array_equal(warm.read(photo(0)).points, cold.read(photo(0)).points)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="choose one of float32, bfloat16, float16, int8"):
        tiny_segments(precision="int4")


@pytest.mark.parametrize("outputs", [set(), {POINTS}])
def test_points_of_the_last_frame_can_be_had_whoever_wanted_them(outputs):
    stream, asked = tiny_segments(), tiny_segments()
    stream.read(photo(0), outputs=outputs)
    expected = asked.read(photo(0), outputs={POINTS})
    points, confidence = last_points(stream.backbone, stream.state)
    assert np.array_equal(points, expected.points)
    assert np.array_equal(confidence, expected.confidence)
    assert (stream.state.last.trace is None) == (POINTS in outputs)  # a trace holds far more memory
    assert last_points(stream.backbone, SegmentState()) is None


def test_a_segment_of_one_frame_is_followed_by_one_that_begins_with_it():
    stream = tiny_segments()
    stream.read(photo(0))
    stream.state = stream.state.reset()
    after = stream.read(photo(7))
    poses = segment_poses([0, 7])
    expected = scaled(inverse(poses[0]) @ poses[1], after.scale)
    np.testing.assert_allclose(after.T_world_camera, expected, atol=1e-5)
    assert (after.segment, after.segment_frames) == (1, 2)


def test_another_factor_leaves_the_last_pose_where_it_is():
    stream = tiny_segments()
    for seed in range(3):
        before = stream.read(photo(seed))
    halved = ScaleState(log_scale=math.log(0.5))
    stream.state = rescaled(stream.state, halved)
    assert np.array_equal(stream.state.T_world_camera, before.T_world_camera)
    after = stream.read(photo(3))
    poses = segment_poses([0, 1, 2, 3])
    moved = inverse(poses[2]) @ poses[3]
    np.testing.assert_allclose(inverse(before.T_world_camera) @ after.T_world_camera, scaled(moved, 0.5), atol=1e-5)


@pytest.mark.parametrize("outputs", [set(), {IMAGE}])
def test_a_look_without_the_network_says_what_stays(outputs):
    stream = tiny_segments()
    for seed in range(3):
        last = stream.read(photo(seed))
    found = look(stream.backbone, stream.state, photo(5), None, stream.settings, outputs=outputs)
    assert np.array_equal(found.T_world_camera, last.T_world_camera)
    assert (found.segment, found.segment_frames) == (last.segment, last.segment_frames)
    assert found.points is None
    assert (found.image is None) == (IMAGE not in outputs)
    assert found.learning_rate.shape == last.learning_rate.shape
    assert not found.learning_rate.any()
