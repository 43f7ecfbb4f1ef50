"""A second node of the same name, over DDS."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from harness import Bench, node
from nav_msgs.msg import Odometry
from waiting import wait_until

from ttt3r_ros.ros import watches
from ttt3r_ros.ros.watches import Watches

pytestmark = pytest.mark.dds


@pytest.fixture
def now(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(watches, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_another_node_is_said_once_it_stays(now):
    ours, other = Bench("twin"), Bench("twin")
    try:
        ours.publisher(Odometry, "/twin/odom")
        watch = Watches(ours.node, "~/odom")
        assert watch.other_publishers(20.0) is None
        theirs = other.publisher(Odometry, "/twin/odom")
        wait_until(lambda: ours.node.count_publishers("/twin/odom") == 2, "the other to be discovered")
        assert watch.other_publishers(20.0) is None
        now[0] += 20.0
        wait_until(lambda: "unknown name" not in watch.other_publishers(20.0), "the other's name")
        assert watch.other_publishers(20.0) == (
            "2 nodes publish /twin/odom (/twin, /twin), so odometry and TF alternate between them: stop or "
            "deactivate one, or give each its own namespace and frame_prefix; a killed one is gone within 25 s"
        )
        assert watch.other_publishers(21.0) is None  # it may have been killed a moment ago
        other.node.destroy_publisher(theirs)
        wait_until(lambda: ours.node.count_publishers("/twin/odom") == 1, "the other to be gone")
        assert watch.other_publishers(0.0) is None
    finally:
        ours.close()
        other.close()


def test_two_nodes_in_processes_of_their_own_both_say_it(weights, tmp_path):
    with (
        node(tmp_path / "first", "-r", "__ns:=/doubled", weights=weights) as first,
        node(tmp_path / "second", "-r", "__ns:=/doubled", weights=weights) as second,
    ):
        said = "2 nodes publish /doubled/ttt3r/odom (/doubled/ttt3r, /doubled/ttt3r)"
        for running in (first, second):
            wait_until(lambda running=running: said in running.text(), "a word in the log")
