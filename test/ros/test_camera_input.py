"""What comes in from a camera over DDS, each image with the break before it; `test_camera_input_qos` has the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from ear import Ear
from harness import Bench, header, picture
from sensor_msgs.msg import Image
from waiting import wait_until

from ttt3r_ros.camera.stamps import NO_TIME
from ttt3r_ros.ros import camera_input

pytestmark = pytest.mark.dds

SECOND = 1_000_000_000


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def camera(bench, ear) -> Bench:
    """A bench whose images the ear hears, every one of them."""
    bench.publisher(Image, "/image", 100)
    bench.wait_for_node()
    return bench


def test_images_come_in_order_with_their_arrival(ear, camera):
    before = time.perf_counter()
    sent = [camera.send() for _ in range(3)]
    frames = ear.take(3)
    assert [header(stamp, "camera") for stamp in sent] == [frame.message.header for frame in frames]
    arrivals = [frame.received for frame in frames]
    assert before < arrivals[0] <= arrivals[1] <= arrivals[2] < time.perf_counter()
    assert [frame.break_reason for frame in frames] == [None] * 3
    assert ear.input.received == 3
    assert ear.input.rate.hz() > 0


@pytest.mark.parametrize(
    ("seconds", "frame_id", "reason"),
    [
        (2.0, "camera", None),
        (2.001, "camera", "no image for 2.001 s"),
        (0.1, "left\n", r"the images' frame_id changed from 'camera' to 'left\n'"),
        (0.1, "", "the images' frame_id changed from 'camera' to ''"),
        (9.0, "left", "no image for 9.000 s"),
    ],
)
def test_what_breaks_the_stream(ear, camera, seconds, frame_id, reason, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(camera_input, "time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter))
    camera.send(stamp=100 * SECOND)
    wait_until(lambda: len(ear.queue), "the first image")
    now[0] += seconds
    camera.send(stamp=100 * SECOND + round(seconds * SECOND), frame_id=frame_id)
    camera.send(frame_id=frame_id)
    frames = ear.take(3)
    assert [frame.break_reason for frame in frames] == [None, reason, None]
    assert [frame.clock_step_ns for frame in frames] == [0, 0, 0]


@pytest.mark.parametrize("seconds", [0.0, 1e-6, -0.5, -5.0, 9.0, 60.0])
def test_one_image_whose_stamp_does_not_follow_is_dropped_and_said(ear, camera, seconds):
    sent = [camera.send(stamp=100 * SECOND)]
    camera.send(stamp=100 * SECOND + round(seconds * SECOND))
    sent += [camera.send(stamp=100 * SECOND + tenths * SECOND // 10) for tenths in (1, 2)]
    frames = ear.take(3)
    assert [frame.stamp_ns for frame in frames] == sent
    assert [frame.break_reason for frame in frames] == [None] * 3
    assert sum(ear.input.dropped_by_stamp.values()) == 1
    (sentence,) = ear.said
    assert sentence.startswith("/image: an image ")


@pytest.mark.parametrize(
    ("seconds", "reason"), [(-500.0, "time jumped back by 499.900 s"), (500.0, "time jumped ahead by 500.100 s")]
)
def test_a_jump_breaks_the_stream_at_its_second_image(ear, camera, seconds, reason):
    camera.send(stamp=1000 * SECOND)
    first = camera.send(stamp=1000 * SECOND + round(seconds * SECOND), frame_id="left")
    camera.send(frame_id="left")
    camera.send(frame_id="left")
    frames = ear.take(3)
    assert [frame.stamp_ns - first for frame in frames[1:]] == [SECOND // 10, 2 * SECOND // 10]
    assert frames[1].clock_step_ns == pytest.approx(first - 1000 * SECOND, abs=60 * SECOND)  # less what has passed
    assert [frame.break_reason for frame in frames] == [None, reason, None]


def test_images_without_stamps_get_the_time_of_their_arrival(ear, camera, monkeypatch):
    now = [50 * SECOND]
    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=now[0]), ros_time_is_active=True)
    monkeypatch.setattr(ear.node, "get_clock", lambda: clock)
    for _ in range(20):
        received = ear.input.received
        camera.send(stamp=0)
        wait_until(lambda received=received: ear.input.received > received, "the image")
        now[0] += SECOND // 10
    frames = ear.take(10)
    assert [frame.stamp_ns for frame in frames] == [50 * SECOND + i * SECOND // 10 for i in range(10, 20)]
    assert [frame.break_reason for frame in frames] == [None] * 10
    assert len(ear.said) == 2
    assert "time of arrival is used instead; fix the camera driver" in ear.said[1]


def test_a_camera_whose_images_are_all_dropped_is_no_silent_one(ear, camera, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(camera_input, "time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter))
    camera.send(stamp=100 * SECOND)
    ear.take()
    now[0] += 7.0
    for _ in range(2):
        camera.send(stamp=100 * SECOND)
    wait_until(lambda: ear.input.received == 3, "the images")
    assert ear.input.seconds_without_image() == 7.0
    assert "no image on /image can be used: the last one is not newer than the image before" in (
        ear.input.why_nothing_arrives()
    )
    now[0] += 7.0
    assert "sends nothing" in ear.input.why_nothing_arrives()


def test_the_longest_gap_is_asked_for_anew(ear, camera):
    camera.send(stamp=100 * SECOND)
    ear.take()
    ear.max_gap = 10.0
    camera.send(stamp=109 * SECOND)
    assert ear.take()[0].break_reason is None


def test_time_goes_on_without_a_frame_whose_stamp_is_none(ear, camera):
    camera.send(stamp=100 * SECOND)
    camera.send(picture(0), stamp=-5 * SECOND, frame_id="nonsense")
    camera.send(stamp=101 * SECOND)
    assert [frame.break_reason for frame in ear.take(2)] == [None] * 2
    assert ear.input.dropped_by_stamp == {NO_TIME: 1}


def test_while_paused_images_are_ignored_and_those_that_wait_forgotten(ear, camera, monkeypatch):
    camera.send(stamp=100 * SECOND)
    wait_until(lambda: len(ear.queue), "an image")
    ear.input.set_enabled(False)
    assert len(ear.queue) == 0
    done: list[None] = []
    receiver = ear.input._receiver
    monkeypatch.setattr(receiver, "_on_message", lambda m, take=receiver._on_message: done.append(take(m)))
    camera.send(stamp=101 * SECOND)
    wait_until(lambda: done, "the image to be ignored")
    assert len(ear.queue) == 0
    assert ear.input.received == 1
    ear.input.set_enabled(True)
    ear.max_gap = 1.0
    camera.send(stamp=102 * SECOND)
    camera.send(stamp=103 * SECOND)
    frames = ear.take(2)
    assert [frame.break_reason for frame in frames] == ["no image for 2.000 s", None]
    assert [frame.follows_pause for frame in frames] == [True, False]


def test_being_deactivated_counts_as_a_pause(ear, camera):
    camera.send()
    ear.take()
    assert ear.input.stop()
    ear.input.start()
    camera.wait_for_node()

    def heard() -> int:
        camera.send()
        return len(ear.queue)

    wait_until(heard, "an image after the pause")
    camera.send()
    assert [frame.follows_pause for frame in ear.take(2)] == [True, False]


def test_silence_is_counted_from_the_last_image_or_the_resumption(ear, camera, monkeypatch):
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(camera_input, "time", clock)
    camera.send()
    ear.take()
    now[0] += 7.0
    assert ear.input.seconds_without_image() == 7.0
    ear.input.set_enabled(True)  # already so
    assert ear.input.seconds_without_image() == 7.0
    ear.input.set_enabled(False)
    assert ear.input.seconds_without_image() == 0.0
    ear.input.set_enabled(True)
    now[0] += 3.0
    assert ear.input.seconds_without_image() == 3.0


def test_a_message_that_cannot_be_taken_is_told_and_the_next_one_comes(ear, camera):
    ear.max_gap = None
    camera.send()
    wait_until(lambda: ear.errors, "word of the failure")
    ear.max_gap = 2.0
    camera.send()
    last = camera.send()
    assert [frame.message.header for frame in ear.take(2)][1] == header(last, "camera")
    assert [type(error) for error in ear.errors] == [TypeError]


def test_its_thread_ends_with_it():
    others = set(threading.enumerate())
    ear = Ear()
    try:
        (thread,) = set(threading.enumerate()) - others
        assert thread.name == "receiver"
        wait_until(ear.input.stop, "the thread to end")
        assert not thread.is_alive()
    finally:
        ear.close()
