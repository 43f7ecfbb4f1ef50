from __future__ import annotations

import pytest
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from std_msgs.msg import String
from waiting import wait_until

from ttt3r_ros.ros.inbox import Inbox

pytestmark = pytest.mark.dds


def test_messages_wait_until_they_are_taken_the_oldest_first(bench):
    inbox = Inbox(bench.node, String, "said", QoSProfile(depth=3))
    assert not inbox.has_publisher()
    publisher = bench.publisher(String, "said")
    wait_until(inbox.has_publisher, "the publisher to be seen")
    wait_until(publisher.get_subscription_count, "the subscription to be seen")
    for word in ("one", "two", "three"):
        publisher.publish(String(data=word))
    taken: list[str] = []

    def arrived() -> bool:
        messages = inbox.take(2)
        assert len(messages) <= 2
        taken.extend(deserialize_message(message, String).data for message in messages)
        return len(taken) == 3

    wait_until(arrived, "all messages")
    assert taken == ["one", "two", "three"]
    assert inbox.take(2) == []


def test_two_inboxes_can_hear_one_topic(bench):
    """Its QoS can be declared as parameters only once."""
    Inbox(bench.node, String, "said", QoSProfile(depth=1))
    second = Inbox(bench.node, String, "said", QoSProfile(depth=1), overridable=False)
    assert second.topic == bench.node.resolve_topic_name("said")
