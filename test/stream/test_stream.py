from __future__ import annotations

import dataclasses
import threading

import cv2
import numpy as np
import pytest
import torch
from scripted_network import PATCH, ScriptedNetwork, along, view

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import R_BODY_OPTICAL, T_BASE_CAMERA, Intrinsics, T_from_rpy, rotation_from_quaternion
from ttt3r_ros.stream import image_check
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.estimate import POINTS
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import CameraFrame, Stream, StreamResult, step

STEP = 0.1  #: seconds between two pictures
SPEED = 0.05  #: metres between two pictures


class Camera:
    """Sends picture after picture to a stream, whose pixels move in another way than the network says."""

    def __init__(self, network: ScriptedNetwork | None = None, *, correct_motion: bool = False, **settings) -> None:
        self.network = ScriptedNetwork(along(SPEED)) if network is None else network
        self.stream = Stream(Backbone(self.network), StreamSettings(correct_motion=correct_motion, **settings))
        self.number, self.stamp = 0, 1_000_000_000

    def send(
        self, image: np.ndarray | None = None, *, seconds: float = STEP, outputs=frozenset({POINTS}), **others
    ) -> StreamResult:
        if image is None:
            image = view(self.number)
        self.number += 1
        self.stamp += round(seconds * 1e9)
        return self.stream.process(image, self.stamp, T_BASE_CAMERA, outputs=outputs, **others)

    def drive(self, count: int, **options) -> list[StreamResult]:
        frames = [self.send(**options) for _ in range(count)]
        assert [frame.lost for frame in frames] == [None] * count
        return frames


def x_of(frame: StreamResult) -> float:
    """Return how far the robot has come."""
    assert frame.motion is not None
    return float(frame.motion.T_odom_base[0, 3])


def spread(frame: StreamResult) -> np.ndarray:
    return frame.motion.covariances.pose


def knows_velocity(frame: StreamResult) -> bool:
    return bool(frame.motion.covariances.twist.max() < 1000)


def blurred(number: int) -> np.ndarray:
    return cv2.GaussianBlur(view(number), (0, 0), 6)


BAD_IMAGES = {
    "black": (lambda number: np.zeros((60, 80, 3), dtype=np.uint8), "black"),
    "white": (lambda number: np.full((60, 80, 3), 255, dtype=np.uint8), "white"),
    "empty": (lambda number: np.full((60, 80, 3), 128, dtype=np.uint8), "no contrast"),
    "blurred": (blurred, "blurred"),
}


def test_an_image_is_judged_while_the_network_works(monkeypatch):
    camera, begun = Camera(), threading.Event()
    check, step = image_check.check, camera.network.step

    def judge_late(*args):
        assert begun.wait(60), "the network waits for the judgement"
        return check(*args)

    def begin(*args, **options):
        begun.set()
        return step(*args, **options)

    monkeypatch.setattr(image_check, "check", judge_late)
    monkeypatch.setattr(camera.network, "step", begin)
    for _ in range(3):
        camera.drive(1)
        begun.clear()


def test_an_image_of_another_size_than_its_camera_is_said_and_survived():
    camera = Camera()
    camera.drive(3)
    other = Intrinsics(70.0, 70.0, 320.0, 240.0, 640, 480)
    for _ in range(2):
        camera.stamp += 100_000_000
        with pytest.raises(UserError, match="640x480"):
            camera.stream.process(view(camera.number), camera.stamp, T_BASE_CAMERA, other)
    camera.drive(3)


def test_it_follows_a_moving_camera():
    frames = Camera().drive(20)
    assert [x_of(frame) for frame in frames] == pytest.approx([SPEED * n for n in range(20)], abs=1e-5)
    assert not knows_velocity(frames[0])
    for frame in frames[1:]:
        np.testing.assert_allclose(frame.motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)
        assert knows_velocity(frame)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_image_that_shows_nothing_is_lost_and_leaves_no_trace(kind):
    make, words = BAD_IMAGES[kind]
    camera, undisturbed = Camera(), Camera()
    camera.drive(10)
    undisturbed.drive(10)
    steps, before = camera.network.steps, camera.stream.state.segments
    for _ in range(5):
        lost = camera.send(make(camera.number))
        assert words in lost.lost
        assert (lost.motion, lost.estimate) == (None, None)
        assert camera.stream.state.segments is before
    assert camera.network.steps == steps + 1  # it works while the first is judged, and sees no more of them
    undisturbed.number += 5
    undisturbed.stamp = camera.stamp
    back, expected = camera.send(), undisturbed.send()
    assert np.array_equal(back.estimate.T_world_camera, expected.estimate.T_world_camera)
    assert x_of(back) == pytest.approx(15 * SPEED, abs=1e-5)  # and has seen how far it came meanwhile
    assert (spread(back) > spread(expected)).all()
    assert not knows_velocity(back)
    again = camera.drive(1)[0]
    assert again.estimate.segment == 0
    np.testing.assert_allclose(again.motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)


def test_the_longer_it_was_lost_the_less_it_is_sure():
    spreads = []
    for count in (0, 1, 5, 10):
        camera = Camera()
        camera.drive(10)
        for _ in range(count):
            assert camera.send(np.zeros((60, 80, 3), dtype=np.uint8)).lost
        spreads.append(spread(camera.send())[0])
    assert spreads == sorted(spreads)
    assert spreads[-1] > 2 * spreads[0]


def test_lost_for_long_it_starts_a_segment_where_it_stood():
    camera = Camera(max_frame_gap=2.0)
    before = camera.drive(10)[-1]
    for _ in range(25):
        assert camera.send(np.zeros((60, 80, 3), dtype=np.uint8)).lost
    (back,) = camera.drive(1)
    assert x_of(back) == pytest.approx(x_of(before))
    assert (back.estimate.segment, back.estimate.segment_frames) == (1, 1)
    assert any("lost for 2.6 s: starting a new segment" in event for event in back.events)
    assert camera.stream.state.segment_reason == "lost for 2.6 s"
    assert not knows_velocity(back)


def test_a_frozen_camera_is_lost_until_its_picture_changes():
    camera = Camera(frozen_timeout=1.0)
    camera.drive(10)
    same = view(9)
    lost = [camera.send(same).lost for _ in range(25)]
    assert [bool(reason) for reason in lost] == [False] * 10 + [True] * 15
    assert "frozen" in lost[-1]
    assert x_of(camera.drive(1)[0]) == pytest.approx(35 * SPEED, abs=1e-5)


def test_images_go_unchecked_where_nobody_wants_them_checked():
    camera = Camera(check_images=False, reset_policy="never")
    camera.drive(2)
    assert camera.send(np.zeros((60, 80, 3), dtype=np.uint8)).lost is None


def test_a_simulated_camera_may_stand_still():
    """Its images are copies, to the last bit."""
    camera = Camera(frozen_timeout=0.0)
    first = camera.send(view(5))
    wandering(camera)
    for _ in range(30):
        found = camera.send(view(5))
        assert found.lost is None
        assert found.is_still
        assert np.array_equal(found.motion.T_odom_base, first.motion.T_odom_base)


FAULTS = {
    "pose": (lambda p, s: (dataclasses.replace(p, translation=p.translation * torch.nan), s), "not a number"),
    "state": (lambda p, s: (p, dataclasses.replace(s, tokens=s.tokens * torch.nan)), "no longer finite"),
    "memory": (lambda p, s: (p, dataclasses.replace(s, pose_memory=s.pose_memory * torch.inf)), "no longer finite"),
    "explosion": (lambda p, s: (p, dataclasses.replace(s, tokens=s.tokens * 1e6)), "exploded"),
    "depth": (lambda p, s: (dataclasses.replace(p, points_camera=p.points_camera * torch.nan), s), "no finite depth"),
    "jump": (lambda p, s: (dataclasses.replace(p, translation=p.translation + 30.0), s), "jumped"),
    "turn": (lambda p, s: (dataclasses.replace(p, quaternion=p.quaternion.flip(1)), s), "turned"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_one_bad_answer_is_as_if_the_frame_had_never_come(kind):
    script, words = FAULTS[kind]
    camera = Camera()
    camera.drive(10)
    camera.network.script = script
    lost = camera.send()
    assert words in lost.lost
    assert lost.motion is None
    camera.network.script = None
    (back,) = camera.drive(1)
    assert x_of(back) == pytest.approx(11 * SPEED, abs=1e-5)
    assert back.estimate.segment == 0
    assert not knows_velocity(back)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_a_broken_state_is_given_up_after_two_frames(kind):
    script, words = FAULTS[kind]
    camera = Camera()
    before = camera.drive(10)[-1]
    broken = camera.network.segments

    def only_this_segment(prediction, state):
        return script(prediction, state) if camera.network.segments == broken else (prediction, state)

    camera.network.script = only_this_segment
    assert [words in camera.send().lost for _ in range(2)] == [True, True]
    (back, *_) = camera.drive(5)
    assert x_of(back) == pytest.approx(x_of(before))  # the pose goes on where it was
    assert back.estimate.segment == 1
    assert "2 frames in a row were lost" in camera.stream.state.segment_reason
    assert (spread(back) > spread(before)).all()


def test_a_network_that_always_fails_recovers_at_once_when_it_works_again():
    camera = Camera()
    before = camera.drive(10)[-1]
    camera.network.script = FAULTS["pose"][0]
    assert all(camera.send().lost for _ in range(10))
    camera.network.script = None
    assert x_of(camera.drive(1)[0]) == pytest.approx(x_of(before))


def test_a_camera_that_comes_back_elsewhere():
    poses = along(SPEED)
    for T in poses[20:]:
        T[0, 3] += 50.0
    camera = Camera(ScriptedNetwork(poses))
    before = camera.drive(20)[-1]
    assert ["jumped" in (camera.send().lost or "") for _ in range(2)] == [True, True]
    first, second = camera.drive(2)
    assert x_of(first) == pytest.approx(x_of(before))
    assert x_of(second) == pytest.approx(x_of(before) + SPEED, abs=1e-5)
    assert not knows_velocity(first)
    np.testing.assert_allclose(second.motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)


@pytest.mark.slow
def test_quick_but_sane_motion_is_no_fault():
    """Standing still, a sudden start to 2 m/s, a turn of 3 rad/s, and a stop, at 10 and at 30 Hz."""
    for rate in (10.0, 30.0):
        speeds = [0.0] * 20 + [2.0] * 20 + [1.0] * 40 + [0.0] * 20
        turns = [0.0] * 40 + [3.0] * 20 + [-3.0] * 20 + [0.0] * 20
        poses = [np.eye(4)]
        for speed, turn in zip(speeds, turns, strict=True):
            T = np.eye(4)
            angle = turn / rate
            T[:3, :3] = rotation_from_quaternion([np.cos(angle / 2), 0, np.sin(angle / 2), 0])
            T[2, 3] = speed / rate
            poses.append(poses[-1] @ T)
        Camera(ScriptedNetwork(poses), reset_policy="never").drive(len(poses), seconds=1 / rate)


@pytest.mark.parametrize("jump", [10.0, -1.0])
def test_a_jump_of_time_breaks_the_segment(jump):
    camera = Camera()
    before = camera.drive(5)[-1]
    after = camera.send(seconds=jump)
    assert x_of(after) == pytest.approx(x_of(before))
    assert after.estimate.segment == 1
    assert ("no image for 10.000 s" if jump > 0 else "time jumped back by 1.000 s") in after.events[0]
    assert not knows_velocity(after)


def test_a_dropped_frame_breaks_nothing():
    camera = Camera(judges_gaps=False)
    camera.drive(5)
    camera.number += 1
    after = camera.send(seconds=2 * STEP)
    np.testing.assert_allclose(after.motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)
    assert camera.send(seconds=100.0).estimate.segment == 0  # the caller saw no gap


def test_a_reset_every_so_many_frames_keeps_pose_velocity_and_scale():
    """Each segment sees the world in a size of its own; little of what is published shows it, and slowly."""
    camera = Camera(ScriptedNetwork(along(SPEED), scales=(1.0, 1.15, 0.95, 1.0)), reset_interval=5)
    frames = camera.drive(24)
    assert [frame.estimate.segment for frame in frames][-1] == 5
    assert camera.stream.state.segment_reason == "after 5 frames"
    assert [x_of(frame) for frame in frames] == pytest.approx([SPEED * n for n in range(24)], rel=0.06, abs=1e-5)
    for frame in frames[1:]:
        np.testing.assert_allclose(
            frame.motion.twist[0], [SPEED / STEP, 0, 0], atol=0.15 * SPEED / STEP
        )  # a reset's frame the most
        assert knows_velocity(frame)
        assert np.median(frame.estimate.depth) == pytest.approx(2.0, rel=0.15)
    assert not any(frame.events for frame in frames)  # routine


def test_never_is_never():
    camera = Camera(reset_policy="never", reset_interval=2)
    assert camera.drive(40)[-1].estimate.segment == 0


def test_preparing_between_frames_changes_nothing():
    prepared, unprepared = (Camera(reset_policy=policy, reset_interval=7) for policy in ("interval", "interval"))
    for _ in range(20):
        a, b = prepared.send(), unprepared.send()
        prepared.stream.prepare()
        assert np.array_equal(a.motion.T_odom_base, b.motion.T_odom_base)


def test_a_reset_odometry_is_at_the_origin_and_free_of_the_past():
    camera = Camera()
    first = camera.drive(3)
    camera.stream.reset_odometry()
    camera.number, camera.stamp = 0, 500_000_000
    again = camera.drive(3)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.motion.T_odom_base, b.motion.T_odom_base)
        assert np.array_equal(spread(a), spread(b))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((60, 80), dtype=np.uint8), r"must be \(H, W, 3\) uint8, but this one is \(60, 80\) uint8"),
        (None, "must be a numpy array, .* not NoneType"),
        ([[[0, 0, 0]]], "must be a numpy array, .* not list"),
    ],
)
def test_what_is_no_image_is_refused_in_words(image, words):
    camera = Camera()
    camera.drive(2)
    with pytest.raises(UserError, match=words):
        camera.stream.process(image, camera.stamp + 1)
    camera.drive(1)


@pytest.mark.parametrize("stamp", [None, 0.5, "now", [10**9], float("nan")])
def test_what_is_no_stamp_is_refused_in_words(stamp):
    camera = Camera()
    camera.drive(2)
    before = camera.stream.state
    with pytest.raises(UserError, match="a stamp must be a whole number of nanoseconds, not "):
        camera.stream.process(np.zeros((60, 80, 3), np.uint8), stamp)
    assert camera.stream.state is before


def test_a_mounted_camera_moves_the_robot():
    """The same stream through a camera that looks to the left drives the robot to the left."""
    camera = Camera()
    left = np.eye(4)
    left[:3, :3] = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ R_BODY_OPTICAL
    for number in range(3):
        frame = camera.stream.process(view(number), number * 100_000_000, left)
    np.testing.assert_allclose(frame.motion.T_odom_base[:3, 3], [0, 2 * SPEED, 0], atol=1e-6)


def rolled(degrees: float) -> np.ndarray:
    """Return the mount of a camera that looks forward, rolled about its optical axis."""
    return T_from_rpy([0, 0, 0], np.deg2rad(degrees), 0, 0) @ T_BASE_CAMERA


@pytest.mark.parametrize(("degrees", "turns"), [(180, 2), (90, 3), (-85, 1)])
def test_a_network_sees_a_rolled_camera_upright(degrees, turns):
    camera, seen = Camera(), []
    step = camera.network.step

    def watched(image, *arguments, **options):
        seen.append(image)
        return step(image, *arguments, **options)

    camera.network.step = watched
    for number in range(2):
        image = np.ascontiguousarray(np.rot90(view(number), -turns))
        camera.stream.process(image, number * 100_000_000, rolled(degrees))
        camera.stream.process(view(number), number * 100_000_000 + 1, T_BASE_CAMERA, break_reason="another camera")
    for turned, upright in zip(seen[::2], seen[1::2], strict=True):
        assert turned.shape == upright.shape
        assert (turned - upright).abs().mean() < 0.02  # but for the rounding of the scaled image


def test_a_mount_that_turns_the_image_another_way_begins_a_segment():
    camera = Camera(max_speed=0.0, max_turn_rate=0.0)  # the scripted network reads its pose from upright images
    camera.drive(3)
    results = [
        camera.stream.process(view(3 + number), camera.stamp + (1 + number) * 100_000_000, rolled(degrees))
        for number, degrees in enumerate((50, 100, 100, 50))
    ]
    assert [result.estimate.segment for result in results] == [0, 1, 1, 1]
    said = "the camera's mount has been turned: starting a new segment; the pose goes on from the last one"
    assert [result.events for result in results] == [(), (said,), (), ()]


@pytest.mark.parametrize("frames_lost", [0, 2])
def test_a_robot_stays_where_it_is_when_its_camera_is_turned(frames_lost):
    """A camera on a gimbal that swings over between two frames has not turned the robot over."""
    camera = Camera(max_speed=0.0, max_turn_rate=0.0)
    before = camera.drive(3)[-1].motion.T_odom_base
    for _ in range(frames_lost):
        assert camera.send(np.zeros((60, 80, 3), np.uint8)).lost
    turned = camera.stream.process(np.ascontiguousarray(np.rot90(view(3), 2)), camera.stamp + 10**8, rolled(180))
    np.testing.assert_allclose(turned.motion.T_odom_base, before, atol=1e-6)
    after = camera.stream.process(np.ascontiguousarray(np.rot90(view(4), 2)), camera.stamp + 2 * 10**8, rolled(180))
    np.testing.assert_allclose(after.motion.T_odom_base[:3, 3] - before[:3, 3], [SPEED, 0, 0], atol=1e-2)


def test_a_robot_stays_where_it_is_when_its_camera_was_upside_down_all_the_time():
    camera = Camera()
    before = camera.drive(3)[-1].motion.T_odom_base
    camera.stream.remount(T_BASE_CAMERA, rolled(180))
    after = camera.stream.process(np.ascontiguousarray(np.rot90(view(3), 2)), camera.stamp + 10**8, rolled(180))
    assert after.estimate.segment == 1
    np.testing.assert_allclose(after.motion.T_odom_base, before, atol=1e-6)


def test_a_robot_stays_where_it_is_when_its_camera_turns_in_a_gap():
    camera = Camera()
    before = camera.drive(3)[-1].motion.T_odom_base
    left = T_from_rpy([0, 0, 0], 0, 0, np.pi / 2) @ T_BASE_CAMERA
    after = camera.stream.process(view(3), camera.stamp + 10**8, left, break_reason="a gap")
    np.testing.assert_allclose(after.motion.T_odom_base, before, atol=1e-6)


def test_a_step_changes_nothing_of_what_it_is_given():
    """The same frame from the same state gives the same result, however often and whatever came in between."""
    camera = Camera(reset_interval=4)
    camera.drive(9)
    state, frame = camera.stream.state, CameraFrame(view(9), camera.stamp + 100_000_000)
    first, after = step(camera.stream.backbone, frame, state, camera.stream.settings)
    camera.drive(5)
    assert camera.stream.state is not state
    again, after_again = step(camera.stream.backbone, frame, state, camera.stream.settings)
    assert np.array_equal(first.motion.T_odom_base, again.motion.T_odom_base)
    assert np.array_equal(after.odometry.covariance, after_again.odometry.covariance)
    assert (after.segments.segment, after.segments.segment_frames) == (2, 4)
    assert (state.segments.segment, state.segments.segment_frames) == (2, 3)


def test_a_frame_that_raises_changes_nothing(monkeypatch):
    camera = Camera()
    camera.drive(3)
    before = camera.stream.state

    def broken(*args, **options):
        raise RuntimeError("the device has failed")

    monkeypatch.setattr(camera.network, "step", broken)
    with pytest.raises(RuntimeError, match="the device has failed"):
        camera.send()
    assert camera.stream.state is before


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"update_rule": "filt3r"}, "the update rule has changed"), ({"image_size": 96}, "image_size has changed")],
)
def test_settings_that_need_another_segment_say_so(change, reason):
    camera = Camera()
    before = camera.drive(3)[-1]
    camera.stream.settings = dataclasses.replace(camera.stream.settings, **change)
    after = camera.send()
    assert after.estimate.segment == 1
    assert after.events == (f"{reason}: starting a new segment; the pose goes on from the last one",)
    assert x_of(after) == pytest.approx(x_of(before) + (SPEED if "update_rule" in change else 0.0), abs=1e-5)
    assert camera.send().events == ()


@pytest.mark.slow
def test_the_covariance_follows_the_constants_in_the_settings():
    small, large = (Camera(covariance=CovarianceModel(network_metres_per_second=rate)).drive(2) for rate in (0.3, 30.0))
    np.testing.assert_array_equal(spread(small[0]), spread(large[0]))  # at the origin nothing is uncertain
    assert spread(large[1])[0] > 50 * spread(small[1])[0]


def standing(number: int, seed: int, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """Return what a camera sees that stands where a picture was taken, with noise."""
    picture = cv2.resize(view(number), size, interpolation=cv2.INTER_NEAREST).astype(np.float64)
    noise = np.random.default_rng(seed).normal(0, 2, picture.shape)
    noise[: 5 * PATCH, : 5 * PATCH] = 0  # where its number stands
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def wandering(camera: Camera) -> None:
    """Let the network see a motion that is none: a centimetre a step."""
    camera.network.script = lambda p, s: (
        dataclasses.replace(p, translation=p.translation + 0.01 * camera.network.steps),
        s,
    )


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [frozenset(), frozenset({POINTS})])
def test_a_camera_that_stands_still_stands_still(outputs):
    """Whatever the network says: pose, scale, covariance and recurrent state are held, and no reset begins."""
    camera = Camera(reset_interval=4)
    before = [camera.send(standing(n, n), outputs=outputs) for n in range(10)][-1]
    camera.stream.prepare()
    settled = [camera.send(standing(9, 100 + n), outputs=outputs) for n in range(10)][-1]
    assert settled.is_still
    state, steps = camera.stream.state, camera.network.steps
    wandering(camera)
    for n in range(40):
        held = camera.send(standing(9, 200 + n), outputs=outputs)
        camera.stream.prepare()
        assert held.is_still
        assert held.lost is None
        assert np.array_equal(held.motion.T_odom_base, settled.motion.T_odom_base)
        assert not np.any(held.motion.twist)
        assert (held.motion.covariances.twist < 1e-3).all()
        assert np.array_equal(spread(held), spread(settled))
        assert held.estimate.scale == settled.estimate.scale
        assert not held.estimate.learning_rate.any()
        assert (held.estimate.depth is None) == (POINTS not in outputs)
    assert camera.stream.state.segments is state.segments
    assert camera.network.steps - steps == (40 if POINTS in outputs else 0)
    assert x_of(before) == pytest.approx(9 * SPEED, abs=1e-5)


def test_the_first_motion_after_standing_is_followed_at_once():
    camera = Camera(reset_policy="never")
    for n in range(30):
        assert camera.send(standing(0, n)).is_still == (n > 0)
    frames = [camera.send(standing(n, n)) for n in range(1, 6)]
    assert [frame.is_still for frame in frames] == [False] * 5
    assert [x_of(frame) for frame in frames] == pytest.approx([SPEED * n for n in range(1, 6)], abs=1e-5)
    for frame in frames:
        np.testing.assert_allclose(frame.motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)


def test_points_are_fresh_while_it_stands():
    camera = Camera()
    for n in range(3):
        camera.send(standing(0, n))
    camera.network.depth = 1.0  # somebody steps in front of the camera
    held = camera.send(standing(0, 9))
    assert held.is_still
    assert np.median(held.estimate.depth) == pytest.approx(1.0)


def test_a_covered_lens_does_not_move_who_stands():
    camera = Camera()
    for n in range(5):
        settled = camera.send(standing(0, n))
    for _ in range(5):
        assert camera.send(np.zeros((240, 320, 3), dtype=np.uint8)).lost
    back = camera.send(standing(0, 50))
    assert back.is_still
    assert np.array_equal(spread(back), spread(settled))
    assert np.array_equal(back.motion.T_odom_base, settled.motion.T_odom_base)


def test_standing_is_not_held_where_nobody_wants_it():
    camera = Camera(hold_still=False, reset_policy="never")
    for n in range(10):
        found = camera.send(standing(0, n))
        assert not found.is_still
    assert camera.network.steps == 10


@pytest.mark.slow
def test_a_stand_of_minutes_with_frames_dropped_ends_in_motion():
    camera, rng = Camera(reset_interval=6, max_frame_gap=2.0), np.random.default_rng(0)
    settled = [camera.send(standing(0, n)) for n in range(3)][-1]
    wandering(camera)
    for n in range(100):
        held = camera.send(standing(0, 10 + n), seconds=rng.uniform(0.03, 1.9), outputs=frozenset())
        camera.stream.prepare()
        assert held.is_still
        assert held.estimate.segment == 0
        assert np.array_equal(held.motion.T_odom_base, settled.motion.T_odom_base)
    camera.network.script = None
    frames = [camera.send(standing(n, n)) for n in range(1, 4)]
    assert [x_of(frame) for frame in frames] == pytest.approx([SPEED * n for n in range(1, 4)], abs=1e-5)
    np.testing.assert_allclose(frames[0].motion.twist[0], [SPEED / STEP, 0, 0], atol=1e-4)


def test_a_gap_while_it_stands_moves_nothing():
    camera = Camera(max_frame_gap=2.0)
    settled = [camera.send(standing(0, n)) for n in range(3)][-1]
    frames = [camera.send(standing(0, 10 + n), seconds=10.0 if n == 0 else STEP) for n in range(5)]
    assert [frame.is_still for frame in frames] == [False] + [True] * 4  # nobody has seen it stand through the gap
    assert frames[0].estimate.segment == 1
    for frame in frames:
        assert np.array_equal(frame.motion.T_odom_base, settled.motion.T_odom_base)
    assert x_of(camera.send(standing(1, 99))) == pytest.approx(SPEED, abs=1e-5)


def test_a_camera_stands_only_where_its_pose_is_known():
    """Nothing is known of where it was at a frame that was lost, even if it stays there."""
    camera = Camera(reset_policy="never", max_frame_gap=2.0)
    for n in range(3):
        camera.send(standing(n, n), seconds=1.0)
    camera.network.script = FAULTS["jump"][0]
    assert "jumped" in camera.send(standing(12, 3), seconds=1.0).lost
    camera.network.script = None
    back = camera.send(standing(12, 4), seconds=0.9)
    assert not back.is_still
    assert x_of(back) == pytest.approx(12 * SPEED, abs=1e-5)
    assert camera.send(standing(12, 5), seconds=0.9).is_still


TILTED = np.eye(4)
TILTED[:3, :3] = 2 * R_BODY_OPTICAL
MIRRORED = np.diag([1.0, 1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("T", "words"),
    [
        (np.full((4, 4), np.nan), "contains numbers that are not finite"),
        (np.eye(3), r"must be a \(4, 4\) transform, but its shape is \(3, 3\)"),
        (TILTED, "is not a rigid transform"),
        (MIRRORED, "is not a rigid transform"),
        (np.ones((4, 4)), "is not a rigid transform"),
        ("here", r"must be a \(4, 4\) array of numbers, not str"),
        (None, r"T_base_camera must be a \(4, 4\)"),
    ],
)
def test_what_is_no_transform_is_refused_and_changes_nothing(T, words):
    camera = Camera()
    camera.drive(2)
    before = camera.stream.state
    with pytest.raises(UserError, match=words):
        camera.stream.process(view(2), camera.stamp + 10**8, T)
    if T is not None:
        with pytest.raises(UserError, match=words):
            camera.stream.process(view(2), camera.stamp + 10**8, T_ground_camera=T)
        with pytest.raises(UserError, match=words):
            camera.stream.set_pose(T)
    assert camera.stream.state is before
    camera.drive(1)


def test_a_mount_may_be_rounded_and_of_any_kind_of_number():
    rounded = np.eye(4)
    rounded[:2, :2] = [[0.707, -0.707], [0.707, 0.707]]
    for T in (rounded, rounded.astype(np.float32), rounded.tolist()):
        result = Stream(Backbone(ScriptedNetwork(along(SPEED)))).process(view(0), 1, T)
        assert result.motion.T_odom_base.dtype == np.float64


def test_a_stamp_belongs_to_one_image_and_is_never_negative():
    camera = Camera()
    camera.drive(2)
    with pytest.raises(UserError, match="two images have the same stamp of 1200000000 ns"):
        camera.send(seconds=0)
    for stamp in (-1, 2**63):
        with pytest.raises(UserError, match=f"a stamp must be from 0 to {2**63 - 1} ns, not {stamp}"):
            camera.stream.process(view(2), stamp)
    assert camera.send().lost is None
    earlier = camera.stream.process(view(3), camera.stamp - 10**9)  # a jump of time
    assert earlier.estimate.segment == 1
    assert not knows_velocity(earlier)


@pytest.mark.parametrize("hours", [1, -1, 24 * 365])
def test_a_clock_that_is_set_is_as_if_it_had_always_been_so(hours):
    """The twin is a break of the same length without a clock being set: all that is left is the segment."""
    camera, twin, step_ns = Camera(), Camera(), hours * 3600 * 10**9
    camera.stamp = twin.stamp = 10**18
    for one in (camera, twin):
        one.drive(5)
    camera.stamp += step_ns
    found = [camera.send(break_reason="time jumped", clock_step_ns=step_ns), *camera.drive(5)]
    expected = [twin.send(break_reason="time jumped"), *twin.drive(5)]
    for frame, other in zip(found, expected, strict=True):
        assert frame.stamp_ns - step_ns == other.stamp_ns
        np.testing.assert_array_equal(frame.motion.T_odom_base, other.motion.T_odom_base)
        np.testing.assert_array_equal(frame.motion.twist, other.motion.twist)
        np.testing.assert_array_equal(frame.motion.covariances.pose, other.motion.covariances.pose)
        np.testing.assert_array_equal(frame.motion.covariances.twist, other.motion.covariances.twist)
    assert spread(found[0])[0] < 0.3  # of the few frames, not of the hours
    assert camera.stream.state.segment_reason == "time jumped"


ROOM = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 255, (240, 640, 3)).astype(np.float32), (0, 0), 3.0)
ROOM = np.clip((ROOM - 128) * 5 + 128, 0, 255).astype(np.uint8)


def sideways(number: int) -> np.ndarray:
    """Return the picture of this number of a camera that moves 5 cm to the right before a wall 2 m ahead."""
    picture = ROOM[:, 8 * number : 8 * number + 320].copy()
    picture[:64, :64] = number
    return picture


@pytest.mark.parametrize("outputs", [frozenset({POINTS}), frozenset()], ids=["points", "none"])
def test_pixels_tell_the_motion_that_the_network_does_not_see(outputs):
    """It says that the camera drives ahead; through resets, and again from the state before."""
    camera = Camera(ScriptedNetwork(along(SPEED)), correct_motion=True, reset_interval=6)
    camera.stream.settings = dataclasses.replace(camera.stream.settings, hold_still=False)
    frames, states = [], []
    for number in range(20):
        states.append(camera.stream.state)
        frames.append(camera.send(sideways(number), outputs=outputs))
    assert camera.network.segments > 2
    told = np.array([frame.motion.T_odom_base[:3, 3] for frame in frames])
    first = 1 if outputs else 2  # no point has been seen before
    right = -SPEED * np.arange(20 - first)
    np.testing.assert_allclose(told[first:, 1] - told[first, 1], right, atol=0.012)
    np.testing.assert_allclose(told[first:, [0, 2]] - told[first, [0, 2]], 0.0, atol=0.012)
    twist = frames[-1].motion.twist
    np.testing.assert_allclose(np.concatenate(twist), [0, -SPEED / STEP, 0, 0, 0, 0], atol=0.05)
    again, _ = step(
        camera.stream.backbone,
        CameraFrame(sideways(19), camera.stamp, outputs=outputs),
        states[-1],
        camera.stream.settings,
    )
    np.testing.assert_array_equal(again.motion.T_odom_base, frames[-1].motion.T_odom_base)
    alone = Camera(ScriptedNetwork(along(SPEED)), reset_interval=6, hold_still=False)
    assert x_of([alone.send(sideways(number), outputs=outputs) for number in range(20)][-1]) > 0.6


def test_points_to_follow_are_dropped_where_frames_do_not_follow_on_one_another():
    camera = Camera(ScriptedNetwork(along(SPEED)), correct_motion=True)
    for number in range(3):
        camera.send(sideways(number))
    camera.stream.prepare()
    assert camera.stream.state.tracks.key is not None
    camera.stream.start_segment("a test")
    assert camera.stream.state.tracks.key is None
    camera.send(sideways(3), seconds=1.0)
    camera.stream.prepare()
    camera.stream.resume(camera.stream.state, later=True)
    before = camera.stream.state.tracks.key
    camera.send(sideways(4))
    camera.stream.prepare()
    assert camera.stream.state.tracks.key is not before


@pytest.mark.parametrize("apart", [1e-9, 0.001, 0.005])
def test_two_images_with_all_but_the_same_stamp_break_nothing(apart):
    """What moved between them, in next to no time, is no velocity that the next one must keep."""
    camera = Camera()
    camera.drive(10)
    camera.drive(1, seconds=apart)
    camera.drive(4)
    assert camera.network.segments == 1


def test_what_is_no_covariance_of_a_pose_is_said():
    lopsided = np.eye(6)
    lopsided[0, 1] = 0.5
    for wrong in (-np.eye(6), lopsided):
        with pytest.raises(UserError, match="must be symmetric and without negative eigenvalues"):
            Camera().stream.set_pose(np.eye(4), wrong)
