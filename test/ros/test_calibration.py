from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness import Mailbox, header
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from waiting import PATIENCE, send_until, settled, wait_until

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
EITHER = pytest.mark.parametrize("durability", list(DURABILITIES), ids=lambda durability: durability.name.lower())


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
        resolve_topic_name=lambda topic: topic,
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


@EITHER
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


class Camera:
    """Publishes images, perhaps with a camera_info."""

    def __init__(self, node: Node, durability: DurabilityPolicy | None = None, images: str = "image") -> None:
        kind = CompressedImage if images.endswith("/compressed") else Image
        self.node, self.images = node, node.create_publisher(kind, images, 1)
        if durability is not None:
            qos = QoSProfile(depth=1, durability=durability)
            self.infos = node.create_publisher(CameraInfo, "camera_info", qos)
        wait_until(lambda: node.count_publishers(images), "the images to be seen")

    def tell(self, focal: float) -> None:
        camera = Intrinsics(focal, 72.0, 41.0, 28.0, 80, 60)
        self.infos.publish(camera_info_message(camera, header(1, "camera")))

    def end(self, *publishers: Publisher) -> None:
        for publisher in publishers:
            topic, count = publisher.topic_name, self.node.count_publishers(publisher.topic_name)
            self.node.destroy_publisher(publisher)
            wait_until(lambda topic=topic, left=count - 1: self.node.count_publishers(topic) == left, "it to be gone")


class Calibrated:
    """An input that looks for another camera with every image, and what it says."""

    def __init__(self, node: Node) -> None:
        self.said: list[str] = []
        self.input = CalibrationInput(node, SimpleNamespace(warn=self.said.append))

    def focal(self) -> float:
        """Return the focal length for an image of the size that all cameras have; 0 if it is not known."""
        camera = self.input.camera(80, 60, rectified=True)
        return 0.0 if camera is None else camera.intrinsics.fx

    def hear(self, camera: Camera, focal: float) -> None:
        send_until(lambda: camera.tell(focal), lambda: self.focal() == focal, f"a focal length of {focal}")


@pytest.fixture
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(calibration, "LOOK_PERIOD", 0.0)
    monkeypatch.setattr(calibration, "FIRST_WAIT", 0.0)


@pytest.fixture
def calibrated(bench, at_once) -> Calibrated:
    return Calibrated(bench.node)


@EITHER
@pytest.mark.parametrize("is_silent", [True, False], ids=["a silent camera_info", "no camera_info"])
def test_the_next_camera_does_not_get_the_former_ones_camera_info(bench, calibrated, durability, is_silent):
    """Though its images have the same size; once it says the same as the former, that counts."""
    former = Camera(bench.node, durability)
    calibrated.hear(former, 70.0)
    former.end(former.images, former.infos)
    assert calibrated.focal() == 70.0  # of an image that has waited
    camera = Camera(bench.node, durability if is_silent else None)
    assert [calibrated.focal() for _ in range(3)] == [0.0] * 3
    (sentence,) = calibrated.said
    assert "from another camera than the camera_info, whose publisher is gone: it is not used anymore" in sentence
    if is_silent:
        calibrated.hear(camera, 70.0)
        assert len(calibrated.said) == 1


@pytest.mark.parametrize("images", ["image", "image/compressed", "/front/image_raw/compressed"])
@pytest.mark.usefixtures("at_once")
def test_a_camera_info_that_came_twice_is_forgotten_whether_images_are_compressed_or_not(bench, images, monkeypatch):
    """A latched one that is sent with every image comes to both subscriptions, also after the last image."""
    topic = "/front/image_raw" if images.startswith("/front") else "/image"  # after remapping
    monkeypatch.setattr(bench.node, "resolve_topic_name", lambda _: topic)
    former = Camera(bench.node, DurabilityPolicy.TRANSIENT_LOCAL, images)
    former.tell(70.0)
    calibrated = Calibrated(bench.node)
    wait_until(lambda: calibrated.focal() == 70.0, "the former camera's camera_info")
    wait_until(lambda: former.infos.get_subscription_count() == 2, "both subscriptions to be seen")
    for _ in range(3):
        former.tell(70.0)
        assert former.infos.wait_for_all_acked()
        assert calibrated.focal() == 70.0
    former.tell(70.0)
    assert former.infos.wait_for_all_acked()
    former.end(former.images, former.infos)
    camera = Camera(bench.node, images=images)
    assert [calibrated.focal() for _ in range(3)] == [0.0] * 3
    assert len(calibrated.said) == 1
    camera.end(camera.images)


@EITHER
def test_a_camera_is_another_once_the_former_is_gone(bench, calibrated, durability):
    """One that is killed stays in the graph for a while; what the next one has said meanwhile stays."""
    former, silent = Camera(bench.node, durability), Camera(bench.node)
    calibrated.hear(former, 70.0)
    silent.end(silent.images)
    silent = Camera(bench.node)
    assert calibrated.focal() == 70.0
    former.end(former.images, former.infos)
    assert calibrated.focal() == 0.0
    camera = Camera(bench.node, durability)
    calibrated.hear(camera, 80.0)
    silent.end(silent.images)
    assert calibrated.focal() == 80.0
    assert len(calibrated.said) == 1


@EITHER
@pytest.mark.parametrize("gone", ["images", "infos"])
def test_a_camera_stays_while_its_images_or_its_camera_info_are_published(bench, calibrated, durability, gone):
    """The one is sent once, by hand perhaps, and another node may send the other."""
    camera = Camera(bench.node, durability)
    calibrated.hear(camera, 70.0)
    camera.end(getattr(camera, gone))
    if gone == "images":
        Camera(bench.node)
    assert [calibrated.focal() for _ in range(3)] == [70.0] * 3
    assert calibrated.said == []


@pytest.mark.usefixtures("at_once")
def test_a_latched_camera_info_comes_once_also_if_it_says_the_same(bench, monkeypatch):
    """While the former camera, which is gone already, is still in the graph."""
    heard: list[bytes] = []
    take = calibration.Inbox.take
    monkeypatch.setattr(calibration.Inbox, "take", lambda inbox, most: heard.extend(new := take(inbox, most)) or new)
    former = Camera(bench.node, DurabilityPolicy.TRANSIENT_LOCAL)
    former.tell(70.0)
    calibrated = Calibrated(bench.node)
    wait_until(lambda: calibrated.focal() == 70.0, "the former camera's camera_info")
    camera = Camera(bench.node, DurabilityPolicy.TRANSIENT_LOCAL)
    wait_until(lambda: camera.infos.get_subscription_count() == 2, "both subscriptions to be seen")
    heard.clear()
    camera.tell(70.0)
    wait_until(lambda: calibrated.focal() and len(heard) == 2, "the next camera's camera_info, by both")
    former.end(former.images, former.infos)
    assert calibrated.focal() == 70.0
    assert calibrated.said == []
