"""Messages past the executor: all of them, in order, whatever happens; and no work for the executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Int32
from waiting import PATIENCE, wait_until

from ttt3r_ros.ros.receiver import Receiver, ServedElsewhere

pytestmark = pytest.mark.dds


class Heard:
    """A node with a receiver, and what that has handed on."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node("heard")
        self.messages: list[int] = []
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.events: list[Any] = []
        self.fails_at: set[int] = set()
        self.meanwhile: Callable[[], object] = lambda: None  #: called with every message in hand
        self.receiver = Receiver(self.node.context, self._note, self.errors.append)

    def subscribe(self, topic: str, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE) -> Any:
        subscription = self.node.create_subscription(
            Int32,
            topic,
            self._note,
            QoSProfile(depth=100, reliability=reliability),
            callback_group=ServedElsewhere(),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self.events.append),
        )
        self.receiver.listen_to(subscription)
        return subscription

    def publisher(self, topic: str, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE) -> Any:
        publisher = self.node.create_publisher(Int32, topic, QoSProfile(depth=100, reliability=reliability))
        if reliability == ReliabilityPolicy.RELIABLE:
            wait_until(publisher.get_subscription_count, "the subscription to be seen")
        return publisher

    def close(self) -> None:
        self.receiver.stop()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _note(self, message: Int32) -> None:
        self.threads.add(threading.current_thread().name)
        self.meanwhile()
        if message.data in self.fails_at:
            raise ValueError(message.data)
        self.messages.append(message.data)


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.close()


def test_every_message_comes_in_order_from_one_thread(heard):
    heard.subscribe("a")
    publisher = heard.publisher("a")
    for number in range(50):
        publisher.publish(Int32(data=number))
    wait_until(lambda: len(heard.messages) == 50, "all messages")
    assert heard.messages == list(range(50))
    assert heard.threads == {"receiver"}
    assert heard.errors == []


def test_the_executor_is_left_in_peace(heard, monkeypatch):
    """Messages wake it neither for themselves nor for the sake of events."""
    heard.subscribe("a")
    publisher = heard.publisher("a")
    executor = SingleThreadedExecutor()
    executor.add_node(heard.node)
    woken, nodes = [0], executor.get_nodes

    def counted() -> list[rclpy.node.Node]:  # what the executor does before it waits, and whenever it is woken
        woken[0] += 1
        return nodes()

    monkeypatch.setattr(executor, "get_nodes", counted)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    for number in range(50):
        publisher.publish(Int32(data=number))
        wait_until(lambda number=number: len(heard.messages) > number, "the message")
    executor.shutdown()
    thread.join()
    assert woken[0] < 20  # by the publisher's coming and the end


@pytest.mark.parametrize("listening", [True, False])
def test_it_stops_without_a_message_to_wake_it(heard, listening):
    if listening:
        heard.subscribe("a")
    assert heard.receiver.stop(timeout=PATIENCE)


def test_it_does_not_wait_for_ever_for_a_message_in_hand(heard):
    heard.subscribe("a")
    release = threading.Event()
    entered = threading.Event()

    def dawdle() -> None:
        entered.set()
        release.wait(PATIENCE)

    heard.meanwhile = dawdle
    heard.publisher("a").publish(Int32(data=1))
    wait_until(entered.is_set, "the message")
    assert not heard.receiver.stop(timeout=0.05)
    release.set()
    assert heard.receiver.stop(timeout=PATIENCE)
