from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness import Mailbox, header
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from waiting import PATIENCE, settled, wait_until

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.ros import calibration
from ttt3r_ros.ros.calibration import CalibrationInput
from ttt3r_ros.ros.conversions import camera_info_message
from ttt3r_ros.ros.notices import Notices

pytestmark = pytest.mark.dds

CAMERA = Intrinsics(70.0, 72.0, 41.0, 28.0, 80, 60)


#: How many subscriptions hear a publisher of each kind; one that hears nothing would make a driver warn.
DURABILITIES = {DurabilityPolicy.VOLATILE: 1, DurabilityPolicy.TRANSIENT_LOCAL: 2}


@pytest.fixture
def subject(bench):
    return CalibrationInput(bench.node, Notices(bench.node.get_logger()))


@pytest.fixture
def read(monkeypatch) -> list[Calibration]:
    """Return the calibrations that a camera was worked out of."""
    read: list[Calibration] = []
    monkeypatch.setattr(
        Calibration,
        "camera",
        lambda found, real=Calibration.camera, **options: read.append(found) or real(found, **options),
    )
    return read


def test_an_uncalibrated_stream_waits_at_most_once(bench, subject, monkeypatch):
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(calibration, "time", clock)
    bench.publisher(CameraInfo, "camera_info")
    wait_until(lambda: bench.node.count_publishers("camera_info"), "the publisher to be seen")
    assert subject.camera(80, 60, rectified=True) is None
    assert sum(slept) == pytest.approx(calibration.FIRST_WAIT, abs=2 * calibration.POLL_SECONDS)
    slept.clear()
    assert subject.camera(80, 60, rectified=True) is None
    assert slept == []


def test_nobody_waits_where_nobody_publishes(subject, monkeypatch):
    monkeypatch.setattr(calibration, "time", SimpleNamespace(monotonic=lambda: 0.0))  # cannot sleep
    assert subject.camera(80, 60, rectified=True) is None


def test_the_first_frame_waits_for_a_camera_that_is_published(bench, subject, monkeypatch):
    monkeypatch.setattr(calibration, "FIRST_WAIT", PATIENCE)  # on a busy machine it comes later
    publisher = bench.publisher(CameraInfo, "camera_info")
    wait_until(lambda: bench.node.count_publishers("camera_info"), "the publisher to be seen")
    wait_until(publisher.get_subscription_count, "the subscription to be seen")
    bench.node.create_timer(0.2, lambda: publisher.publish(camera_info_message(CAMERA, header(1, "camera"))))
    camera = subject.camera(80, 60, rectified=True)
    assert camera is not None
    assert camera.intrinsics == CAMERA


def test_a_camera_is_worked_out_once_per_change(bench, subject, read):
    publisher = bench.publisher(CameraInfo, "camera_info")

    def heard(message: CameraInfo, focal: float):
        publisher.publish(message)
        camera = subject.camera(80, 60, rectified=True)
        return camera is not None and camera.intrinsics.fx == focal

    first = camera_info_message(CAMERA, header(1, "camera"))
    wait_until(lambda: heard(first, 70.0), "the camera")
    for stamp in range(5):
        first.header = header(stamp, "camera")
        heard(first, 70.0)
    assert len(read) == 1
    second = camera_info_message(Intrinsics(90.0, 72.0, 41.0, 28.0, 80, 60), header(9, "camera"))
    wait_until(lambda: heard(second, 90.0), "the other camera")
    assert len(read) == 2
    assert subject.camera(640, 480, rectified=True) is None  # of another size: ignored, and said


@pytest.fixture
def alone() -> tuple[CalibrationInput, Mailbox, list[str]]:
    """Return an input that gets messages from the test, their mailbox, and what it says."""
    mailbox, said = Mailbox(CameraInfo), []
    node = SimpleNamespace(
        create_subscription=lambda *_, **__: SimpleNamespace(handle=mailbox, topic_name="camera_info"),
        count_publishers=lambda _: 0,
        get_publishers_info_by_topic=lambda _: [],
        context=SimpleNamespace(ok=lambda: True),
    )
    return CalibrationInput(node, SimpleNamespace(warn=said.append)), mailbox, said


def test_of_several_that_wait_the_last_counts(alone):
    subject, mailbox, _ = alone
    for focal in (70.0, 80.0, 90.0):
        camera = Intrinsics(focal, 72.0, 41.0, 28.0, 80, 60)
        mailbox.waiting.append(serialize_message(camera_info_message(camera, header(1, "camera"))))
    assert subject.camera(80, 60, rectified=True).intrinsics.fx == 90.0
    assert mailbox.waiting == []


def test_a_message_that_only_another_stamp_tells_apart_is_not_read(alone, monkeypatch):
    """And one that is cut off is said and ignored; what was known of the camera stays."""
    subject, mailbox, said = alone
    deserialized: list[bytes] = []
    monkeypatch.setattr(
        calibration,
        "deserialize_message",
        lambda data, kind, real=calibration.deserialize_message: deserialized.append(data) or real(data, kind),
    )
    info = camera_info_message(CAMERA, header(1, "camera"))

    def camera_after(data: bytes):
        mailbox.waiting.append(data)
        return subject.camera(80, 60, rectified=True)

    known = camera_after(serialize_message(info))
    assert known is not None
    info.header = header(2_000_000_003, "camera")
    assert camera_after(serialize_message(info)) is known
    assert len(deserialized) == 1
    assert camera_after(serialize_message(info)[:40]) is known
    assert len(deserialized) == 2
    (sentence,) = said
    assert "camera_info" in sentence


@pytest.mark.parametrize("durability", list(DURABILITIES), ids=lambda durability: durability.name.lower())
def test_a_camera_info_is_heard_whether_it_is_latched_or_not(bench, durability):
    """A latched one is sent once, before anybody listens; another one over and over."""
    publisher = bench.node.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=1, durability=durability))
    message = camera_info_message(CAMERA, header(1, "camera"))
    publisher.publish(message)
    subject = CalibrationInput(bench.node, Notices(bench.node.get_logger()))
    if durability == DurabilityPolicy.VOLATILE:
        wait_until(publisher.get_subscription_count, "the subscription to be seen")
        bench.node.create_timer(0.05, lambda: publisher.publish(message))
    wait_until(lambda: subject.camera(80, 60, rectified=True), "the camera")
    assert subject.camera(80, 60, rectified=True).intrinsics == CAMERA
    assert settled(publisher.get_subscription_count, DURABILITIES[durability]) == DURABILITIES[durability]
    changed = Intrinsics(90.0, 72.0, 41.0, 28.0, 80, 60)
    if durability == DurabilityPolicy.TRANSIENT_LOCAL:  # one that is latched may be sent again
        publisher.publish(camera_info_message(changed, header(2, "camera")))
        wait_until(lambda: subject.camera(80, 60, rectified=True).intrinsics == changed, "the change")
