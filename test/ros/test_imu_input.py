"""What an IMU's messages are taken for, without DDS in between."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from expectations import one_sentence
from harness import Mailbox
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import T_from_pose, quaternion_from_rotation
from ttt3r_ros.ros import imu_input
from ttt3r_ros.ros.imu_input import MAX_ODD, MAX_READ, ImuInput, read_imu
from ttt3r_ros.stream.gravity import GRAVITY, turn

SECOND = 1_000_000_000
NONE = [-1.0] + 8 * [0.0]


def message(stamp_ns: int = SECOND, force=(0, 0, GRAVITY), rate=None, quaternion=None, frame_id: str = "imu") -> Imu:
    """Return a message of a driver that says what it has not."""
    imu = Imu()
    imu.header.frame_id = frame_id
    imu.header.stamp = Time(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    imu.orientation_covariance = NONE if quaternion is None else 9 * [0.01]
    imu.angular_velocity_covariance = NONE if rate is None else 9 * [0.01]
    imu.linear_acceleration_covariance = NONE if force is None else 9 * [0.01]
    if quaternion is not None:
        imu.orientation.w, imu.orientation.x, imu.orientation.y, imu.orientation.z = map(float, quaternion)
    for vector, values in ((imu.angular_velocity, rate), (imu.linear_acceleration, force)):
        if values is not None:
            vector.x, vector.y, vector.z = map(float, values)
    return imu


class Subject:
    """An input that gets messages from the test."""

    def __init__(self, T_base_imu: np.ndarray | None = None) -> None:
        self.mailbox, self.said = Mailbox(Imu), []
        self.T_base_imu = T_base_imu
        node = SimpleNamespace(
            create_subscription=lambda *_, **__: SimpleNamespace(handle=self.mailbox, topic_name="/ttt3r/imu"),
            count_publishers=lambda _: 0,
            context=SimpleNamespace(ok=lambda: True),
        )
        notices = SimpleNamespace(warn=self.said.append)
        self.input = ImuInput(node, notices, SimpleNamespace(T_base=lambda _: self.T_base_imu), "base_link")

    def samples(self, stamp_ns: int, *messages: Imu):
        self.mailbox.waiting += [serialize_message(message) for message in messages]
        return self.input.samples(stamp_ns)


@pytest.fixture
def subject() -> Subject:
    return Subject(np.eye(4))


def test_an_accelerometer_is_enough():
    sample = read_imu(message(force=(0.1, 0.2, 9.7)))
    np.testing.assert_allclose(sample.force, [0.1, 0.2, 9.7])
    assert sample.rate is None
    assert not sample.is_fused


@given(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)))
def test_an_orientation_is_used_where_it_is_valid(vector):
    R = turn(np.array(vector))
    sample = read_imu(message(force=(50, 0, 0), quaternion=quaternion_from_rotation(R)))
    if sample.is_fused:
        np.testing.assert_allclose(R @ sample.force, [0, 0, GRAVITY], atol=1e-6)


@pytest.mark.parametrize("quaternion", [None, (0, 0, 0, 0), (1, 0, 0, 0), (0.5, 0, 0, 0)])
def test_an_orientation_that_a_driver_has_left_as_it_was_is_none(quaternion):
    imu = message(force=(0, 1.0, 9.7), quaternion=quaternion)
    if quaternion is not None:
        imu.orientation_covariance = 9 * [0.0]
    sample = read_imu(imu)
    assert not sample.is_fused
    np.testing.assert_allclose(sample.force, [0, 1.0, 9.7])


@pytest.mark.parametrize(
    ("imu", "words"),
    [
        (message(force=None), "neither a valid orientation nor a linear_acceleration"),
        (message(force=(0, 0, 0)), "neither a valid orientation nor a linear_acceleration"),
        (message(force=(0, np.nan, 9)), "linear_acceleration (0, nan, 9) is impossible"),
        (message(rate=(np.inf, 0, 0)), "angular_velocity (inf, 0, 0) is impossible"),
        (message(force=(1e300, 0, 9)), "linear_acceleration (1e+300, 0, 9) is impossible"),
        (message(rate=(0, -1e6, 0)), "angular_velocity (0, -1e+06, 0) is impossible"),
        (message(quaternion=(np.nan, 0, 0, 0)), "orientation (nan, 0, 0, 0) is impossible"),
    ],
)
def test_a_message_that_tells_nothing_is_refused_in_a_sentence(imu, words):
    with pytest.raises(UserError) as caught:
        read_imu(imu)
    assert words in one_sentence(caught.value)


def test_a_gyroscope_that_is_said_to_be_none_is_none():
    assert read_imu(message(rate=(0, 0, 0))).rate is None
    assert read_imu(message(rate=(0, 0, 0.1))).rate is not None
    assert Imu().linear_acceleration_covariance[0] == 0  # the default does not say so


def test_samples_are_handed_over_once_up_to_the_frame_and_in_the_axes_of_the_base():
    subject = Subject(T_from_pose([1, 2, 3], quaternion_from_rotation(turn(np.array([0, np.pi / 2, 0])))))
    stamps = [SECOND + n * 10_000_000 for n in range(20)]
    imu = [message(stamp, force=(GRAVITY, 0, 0), rate=(1, 0, 0)) for stamp in stamps]
    first = subject.samples(stamps[4], *imu[:8])
    assert len(first.stamps_ns) == 8  # the first frame takes what there is
    later = subject.samples(stamps[12], *imu[8:16])
    assert later.stamps_ns.tolist() == stamps[5:13]
    last = subject.samples(stamps[19], *imu[16:])
    assert last.stamps_ns.tolist() == stamps[13:]
    assert subject.samples(stamps[19] + 1) is None
    np.testing.assert_allclose(later.force, [[0, 0, -GRAVITY]] * 8, atol=1e-9)
    np.testing.assert_allclose(later.rate, [[0, 0, -1]] * 8, atol=1e-9)
    assert subject.input.fact == "accelerometer and gyroscope"
    assert subject.said == []


def test_of_a_thousand_messages_some_are_read(subject):
    subject.samples(SECOND)
    stamps = [SECOND + n * 1_000_000 for n in range(1, 301)]
    samples = subject.samples(stamps[-1], *(message(stamp) for stamp in stamps))
    assert MAX_READ / 2 < len(samples.stamps_ns) <= MAX_READ
    assert samples.stamps_ns.min() < stamps[20]
    assert samples.stamps_ns.max() > stamps[-20]


@pytest.mark.parametrize("ahead_s", [-1e9, -3.5, 0.0, 0.5, 7.0, 5e8])
def test_another_clock_is_taken_out_and_said_once(subject, ahead_s):
    """By less than a second it is taken as it is."""
    taken, ahead = [], round(ahead_s * 1e9)
    for frame in range(1, 20):
        stamp = 2 * 10**18 // 10**9 * 10**9 % (2**31 * SECOND) // 2 + frame * 100_000_000
        imu = [message(stamp + ahead + n * 10_000_000) for n in range(-9, 1)]
        samples = subject.samples(stamp, *imu)
        taken.append(0 if samples is None else len(samples.stamps_ns))
        if samples is not None:
            assert (np.abs(samples.stamps_ns - stamp) <= SECOND).all()
    assert sum(taken[6:]) == 10 * len(taken[6:])
    assert len(subject.said) == (abs(ahead_s) > 1)
    assert all("another clock" in sentence for sentence in subject.said)


def test_unstamped_messages_belong_to_the_frame_that_finds_them(subject):
    for frame in range(1, 5):
        samples = subject.samples(frame * SECOND, *(message(0) for _ in range(5)))
        assert samples.stamps_ns.tolist() == [frame * SECOND] * 5
    assert {"time of arrival" in sentence for sentence in subject.said} == {True}


def test_time_that_starts_anew_is_followed(subject):
    for begin in (100 * SECOND, 5 * SECOND):
        for frame in range(5):
            stamp = begin + frame * 100_000_000
            samples = subject.samples(stamp, *(message(stamp - n * 10_000_000) for n in range(9, -1, -1)))
            assert samples is not None
            assert abs(samples.stamps_ns.max() - stamp) < SECOND
    assert subject.said == []


def test_a_late_frame_finds_the_samples_of_its_time(subject):
    """As with drop_frames: false; the IMU is ten seconds ahead of what is processed."""
    stamps = [SECOND + n * 100_000_000 for n in range(100)]
    subject.samples(stamps[0], *(message(stamp) for stamp in stamps[:2]))
    for frame in range(1, 100):
        fresh = [message(stamp) for stamp in stamps[max(2, 5 * frame - 4) : 5 * frame + 1]]
        samples = subject.samples(stamps[frame], *fresh)
        assert samples is None or samples.stamps_ns.max() <= stamps[frame]
        if frame > 5:
            assert samples.stamps_ns.tolist() == [stamps[frame]]
    assert subject.said == []


def test_an_imu_that_is_not_in_tf_is_ignored_and_said():
    subject = Subject(None)
    assert subject.samples(SECOND, message(SECOND)) is None
    assert "TF has no transform base_link -> imu" in subject.said[0]
    assert "ignored" in subject.input.fact
    assert subject.samples(2 * SECOND, message(2 * SECOND, frame_id="")) is not None  # the base itself
    subject.T_base_imu = np.eye(4)
    assert subject.samples(3 * SECOND, message(3 * SECOND)) is not None
    assert subject.input.fact == "accelerometer"


@pytest.mark.parametrize("force", [(0, 0, 1.0), (0, 0.01, 0.1), (0, 0, 980.665)])
def test_accelerations_in_other_units_or_without_gravity_are_said(subject, force):
    for frame in range(1, MAX_ODD + 2):
        samples = subject.samples(frame * SECOND, message(frame * SECOND, force=force))
    assert samples is None
    assert "must be in m/s² and include gravity" in subject.said[-1]
    assert subject.samples(99 * SECOND, message(99 * SECOND)) is not None


def test_silence_is_said_and_a_message_that_is_cut_off_is_survived(subject, monkeypatch):
    assert subject.samples(SECOND) is None
    assert subject.said == []  # nobody has promised an IMU
    subject.samples(2 * SECOND, message(2 * SECOND))
    subject.mailbox.waiting.append(serialize_message(message(3 * SECOND))[:30])
    assert subject.input.samples(3 * SECOND) is None
    assert "cannot be read" in subject.said[-1]
    now = time.monotonic()
    monkeypatch.setattr(imu_input, "time", SimpleNamespace(monotonic=lambda: now + 10, sleep=time.sleep))
    assert subject.samples(4 * SECOND) is None
    assert "no message has arrived on /ttt3r/imu" in subject.said[-1]
    assert subject.input.fact == "silent"
    assert subject.samples(5 * SECOND, message(5 * SECOND)) is not None
