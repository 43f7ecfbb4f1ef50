"""How a camera input and those who publish images come together, and what is said where they do not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ear import Ear
from harness import Bench, header
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from waiting import PATIENCE, wait_until

from ttt3r_ros.ros import camera_input
from ttt3r_ros.ros.camera_input import CameraInput
from ttt3r_ros.ros.frame_queue import MAX_QUEUE
from ttt3r_ros.ros.receiver import Receiver

pytestmark = pytest.mark.dds

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABILITY = "qos_overrides./image.subscription.reliability"


@pytest.fixture
def make_ear() -> Iterator[Callable[..., Ear]]:
    ears: list[Ear] = []

    def make(**options: Any) -> Ear:
        ears.append(Ear(**options))
        return ears[-1]

    yield make
    for ear in ears:
        ear.close()


def test_compressed_images_come_from_the_remapped_topic(make_ear, bench):
    ear = make_ear(transport="compressed", arguments=("-r", "image:=/front/image_raw"))
    assert ear.input.topic == "/front/image_raw/compressed"
    publisher = bench.publisher(CompressedImage, ear.input.topic, 100)
    wait_until(publisher.get_subscription_count, "the ear")
    publisher.publish(CompressedImage(header=header(5, "camera"), format="jpeg"))
    assert isinstance(ear.take()[0].message, CompressedImage)


@pytest.mark.parametrize("latest_only", [True, False])
def test_where_every_frame_counts_delivery_is_reliable_and_the_history_long(make_ear, latest_only):
    ear = make_ear(latest_only=latest_only)
    assert ear.reliability() == (ReliabilityPolicy.BEST_EFFORT if latest_only else ReliabilityPolicy.RELIABLE)
    assert ear.qos().depth == (1 if latest_only else MAX_QUEUE)


@pytest.fixture
def other() -> Iterator[Bench]:
    other = Bench("other")
    yield other
    other.close()


def say(ear: Ear) -> str:
    sentence = ear.input.why_nothing_arrives()
    assert "\n" not in sentence
    return sentence.removeprefix(f"no image has arrived on {ear.input.topic}: ")


def test_why_nothing_arrives(make_ear, bench, other, monkeypatch):
    ear = make_ear(**{RELIABILITY: "reliable"})
    assert say(ear) == "nothing publishes this topic yet (start the camera, or remap 'image' to its topic)"
    monkeypatch.setenv("ROS_DISCOVERY_SERVER", "10.0.0.1:11811")
    assert "ROS_DISCOVERY_SERVER is '10.0.0.1:11811': nodes see each other only while a server runs" in say(ear)
    monkeypatch.delenv("ROS_DISCOVERY_SERVER")
    elsewhere = bench.node.create_publisher(Image, "/camera/image_raw", 1)
    bench.node.create_publisher(CompressedImage, "/camera/image_raw/compressed", 1)
    bench.node.create_publisher(Image, f"{ear.node.get_fully_qualified_name()}/rgb/image", 1)  # as the node itself does
    there = (
        "nothing publishes this topic, but there is /camera/image_raw: start the node with image:=/camera/image_raw "
        "(without a launch file: --ros-args -r image:=/camera/image_raw)"
    )
    wait_until(lambda: say(ear) == there, there)
    bench.node.destroy_publisher(elsewhere)
    bench.publisher(Image, "/image")
    silent = "/bench publishes it but has sent nothing yet"
    wait_until(lambda: say(ear) == silent, silent)
    lossy = other.publisher(Image, "/image", BEST_EFFORT)
    # only who does not fit is named
    wait_until(lambda: say(ear).startswith("the QoS of /other is incompatible with ours (ERROR: "), "the QoS")
    other.node.destroy_publisher(lossy)
    other.node.create_publisher(Image, "/image", 1)
    both = "/bench, /other publishes it but has sent nothing yet"
    wait_until(lambda: say(ear) == both, both)


def test_after_images_have_come_it_is_said_for_how_long_none_has(make_ear, bench):
    ear = make_ear()
    camera = bench.publisher(Image, "/image")
    bench.wait_for_node()
    bench.send()
    ear.take()
    sentence = "no image has arrived on /image for 0 s: /bench publishes it but sends nothing"
    wait_until(lambda: re.sub(r"\d+ s", "0 s", ear.input.why_nothing_arrives()) == sentence, sentence)
    bench.node.destroy_publisher(camera)
    sentence = "no image has arrived on /image for 0 s: nothing publishes this topic (its publisher is gone)"
    wait_until(lambda: re.sub(r"\d+ s", "0 s", ear.input.why_nothing_arrives()) == sentence, sentence)


def test_a_publisher_whose_node_is_not_known_yet_is_not_named(make_ear, bench, monkeypatch):
    ear = make_ear()
    bench.publisher(Image, "/image")
    (found,) = wait_until(lambda: ear.node.get_publishers_info_by_topic("/image"), "the publisher")
    found.node_name, found.node_namespace = "_NODE_NAME_UNKNOWN_", "_NODE_NAMESPACE_UNKNOWN_"
    monkeypatch.setattr(ear.node, "get_publishers_info_by_topic", lambda _topic: [found])
    assert say(ear) == "a node whose name is unknown publishes it but has sent nothing yet"


@pytest.mark.parametrize(
    ("transport", "kind", "ours"), [("raw", CompressedImage, "Image"), ("compressed", String, "CompressedImage")]
)
def test_a_publisher_of_another_type_is_said(make_ear, bench, transport, kind, ours):
    ear = make_ear(transport=transport)
    bench.node.create_publisher(kind, ear.input.topic, 1)
    theirs = "sensor_msgs/msg/CompressedImage" if kind is CompressedImage else "std_msgs/msg/String"
    sentence = f"/bench publishes {theirs} there, not sensor_msgs/msg/{ours}; see the parameter image_transport"
    wait_until(lambda: say(ear) == sentence, sentence)


@pytest.mark.parametrize("early", [True, False])
def test_it_settles_for_best_effort_where_that_is_all_there_is(make_ear, bench, monkeypatch, early):
    camera = bench.publisher(Image, "/image", BEST_EFFORT)
    if early:
        act_on_events_at_once(monkeypatch)
    ear = make_ear(after_discovery_of="/image" if early else "")
    wait_until(lambda: bench.send() and len(ear.queue), "an image")
    assert ear.said == [
        "/image: a publisher's RELIABILITY is incompatible with ours",
        "/image: listening with best effort; frames may be lost in transit",
    ]
    assert ear.errors == []
    assert ear.reliability() == ReliabilityPolicy.BEST_EFFORT
    assert ear.qos().depth == MAX_QUEUE
    wait_until(lambda: camera.get_subscription_count() == 1, "the first subscription to be gone")


def act_on_events_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the receiver's thread handle what a subscription has met with before its maker does anything else."""
    handled, handle = threading.Event(), CameraInput._on_incompatible_qos

    def on_incompatible_qos(camera: CameraInput, event: Any) -> None:
        try:
            handle(camera, event)
        finally:
            handled.set()

    class Hasty(Receiver):
        def listen_to(self, subscription: Any) -> None:
            super().listen_to(subscription)
            if threading.current_thread().name != "receiver":
                assert handled.wait(PATIENCE)

    monkeypatch.setattr(CameraInput, "_on_incompatible_qos", on_incompatible_qos)
    monkeypatch.setattr(camera_input, "Receiver", Hasty)


def test_what_the_user_has_set_stays_when_it_settles(make_ear, bench):
    own = "qos_overrides./image.subscription."
    ear = make_ear(**{own + "depth": 7, own + "history": "keep_all"})
    bench.publisher(Image, "/image", BEST_EFFORT)
    wait_until(lambda: bench.send() and len(ear.queue), "an image")
    qos = ear.qos()
    assert (qos.depth, qos.history, qos.reliability) == (7, HistoryPolicy.KEEP_ALL, ReliabilityPolicy.BEST_EFFORT)


def test_it_does_not_settle_for_less_than_the_user_wants(make_ear, bench):
    ear = make_ear(latest_only=True, **{RELIABILITY: "reliable"})
    bench.publisher(Image, "/image", BEST_EFFORT)
    wait_until(lambda: ear.said, "word of the camera that does not fit")
    assert ear.reliability() == ReliabilityPolicy.RELIABLE
    wait_until(ear.input.stop, "the thread to end")  # the event has been dealt with
    assert ear.said == ["/image: a publisher's RELIABILITY is incompatible with ours"]
