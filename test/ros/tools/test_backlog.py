"""A player that waits for a node."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.node import Node
from waiting import PATIENCE, wait_until

from ttt3r_ros.ros.conversions import time_message
from ttt3r_ros.ros.tools import backlog as backlog_module
from ttt3r_ros.ros.tools.backlog import Backlog, frames_answered

pytestmark = pytest.mark.dds

STAMP, STEP = 5 * 10**9, 10**8


@pytest.fixture
def there(request, monkeypatch) -> Iterator[SimpleNamespace]:
    """A backlog of up to three images, perhaps with a patience [s], and publishers that answer for the node."""
    monkeypatch.setattr(backlog_module, "FIRST_S", PATIENCE)  # on a busy machine they come later
    rclpy.init(args=[])
    player, node = Node("player"), Node("ttt3r")
    backlog = Backlog(player, ahead=3, patience_s=getattr(request, "param", PATIENCE))
    odometry = node.create_publisher(Odometry, "ttt3r/odom", 10)
    diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    wait_until(lambda: odometry.get_subscription_count() and diagnostics.get_subscription_count(), "the backlog")
    yield SimpleNamespace(backlog=backlog, odometry=odometry, diagnostics=diagnostics)
    player.destroy_node()
    node.destroy_node()
    rclpy.try_shutdown()


def waits(backlog: Backlog, seconds: float) -> bool:
    """Return whether it still waits after so long."""
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    backlog.wait(stop)
    timer.cancel()
    return stop.is_set()


def report(there: SimpleNamespace, **counted: int) -> None:
    values = [KeyValue(key=key, value=str(value)) for key, value in counted.items()]
    status = DiagnosticStatus(name="ttt3r: stream", values=[*values, KeyValue(key="state", value="lost")])
    there.diagnostics.publish(DiagnosticArray(status=[status]))


def test_it_waits_for_the_node(there):
    for index in range(3):
        assert not waits(there.backlog, PATIENCE)
        there.backlog.add(STAMP + index * STEP)
    assert waits(there.backlog, 0.3)
    message = Odometry()
    message.header.stamp = time_message(STAMP + STEP)  # the second: so the first has no pose
    there.odometry.publish(message)
    assert not waits(there.backlog, PATIENCE)
    for index in range(3, 5):
        there.backlog.add(STAMP + index * STEP)
    assert waits(there.backlog, 0.3)
    report(there, frames_processed=1, frames_lost=3)
    assert not waits(there.backlog, PATIENCE)


def test_images_of_an_earlier_player_do_not_count(there):
    report(there, frames_processed=500)
    there.backlog.begin(threading.Event())
    for index in range(3):
        there.backlog.add(STAMP + index * STEP)
    report(there, frames_processed=500)
    assert waits(there.backlog, 0.5)
    report(there, frames_processed=501)
    assert not waits(there.backlog, PATIENCE)


def test_a_node_that_starts_anew_counts_from_none(there):
    report(there, frames_processed=500)
    there.backlog.begin(threading.Event())
    for index in range(3):
        there.backlog.add(STAMP + index * STEP)
    report(there, frames_processed=1)
    assert not waits(there.backlog, PATIENCE)


@pytest.mark.parametrize("there", [0.1], indirect=True)
def test_a_node_that_never_answers_does_not_hold_it_for_ever(there):
    for index in range(3):
        there.backlog.add(STAMP + index * STEP)
    begun = time.monotonic()
    assert not waits(there.backlog, PATIENCE)
    assert time.monotonic() - begun > 0.1


def test_all_images_that_the_node_is_done_with_count():
    assert frames_answered({}) == 0
    counted = {"frames_processed": "5", "frames_lost": "4", "frames_failed": "3", "frames_dropped": "2"}
    assert frames_answered({**counted, "frames_dropped_by_stamp": "1", "frames_received": "99"}) == 15
