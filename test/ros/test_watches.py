"""A second node of the same name, over DDS."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace

import pytest
from harness import Bench
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
    with closing(Bench("twin")) as ours, closing(Bench("twin")) as other:
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
