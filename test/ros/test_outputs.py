"""What is published of a motion, and what anybody wants, as listeners of each topic get it over DDS."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from harness import OUTPUTS, Bench, header, subscribers
from outputs_node import OutputsNode
from rclpy.qos import ReliabilityPolicy
from waiting import wait_until

from ttt3r_ros.geometry import T_from_pose
from ttt3r_ros.ros.conversions import matrix_from_transform, odometry_message
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.stream.covariance import Covariances
from ttt3r_ros.stream.estimate import IMAGE, POINTS
from ttt3r_ros.stream.odometry import Motion

pytestmark = pytest.mark.dds

SECOND = 1_000_000_000


@pytest.fixture
def source() -> Iterator[OutputsNode]:
    source = OutputsNode()
    yield source
    source.close()


def motion(x: float = 0.0) -> Motion:
    T_odom_base = T_from_pose([x, 2.0, 3.0], [0.5, 0.5, -0.5, 0.5])
    twist = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    return Motion(T_odom_base, twist, Covariances(np.arange(1.0, 7.0), np.arange(11.0, 17.0)))


def test_tf_leaves_before_the_odometry_and_says_the_same(source, bench):
    bench.hear("tf")
    wait_until(lambda: subscribers(source.node, "/tf"), "a listener of TF")
    source.is_heard_by(bench, "odom")
    silent, loud = header(1 * SECOND, "world"), header(2 * SECOND, "world")
    source.outputs.publish_motion(motion(1.0), silent, Parameters(base_frame="robot", publish_tf=False))
    source.outputs.publish_motion(motion(2.0), loud, Parameters(base_frame="robot"))
    (transform,) = bench.get("tf", 2 * SECOND).transforms
    assert (transform.header, transform.child_frame_id) == (loud, "robot")
    np.testing.assert_allclose(matrix_from_transform(transform.transform), motion(2.0).T_odom_base, atol=1e-12)
    assert bench.get("odom", 2 * SECOND) == odometry_message(motion(2.0), loud, "robot")
    assert bench.sent_at["tf", 2 * SECOND] <= bench.sent_at["odom", 2 * SECOND]
    assert bench.get("odom", 1 * SECOND) == odometry_message(motion(1.0), silent, "robot")
    assert bench.stamps("tf") == [2 * SECOND]


def advance(source: OutputsNode, *milliseconds: int, path_max_size: int = 1000) -> None:
    """Publish motions of these times; where the robot is then is told by the same number."""
    for since in milliseconds:
        stamp = 100 * SECOND + since * 1_000_000
        source.outputs.publish_motion(motion(since), header(stamp, "odom"), Parameters(path_max_size=path_max_size))


def paths(bench: Bench, count: int) -> list[tuple[int, list[float]]]:
    """Return the time [ms] of so many paths, once they have come, and the places they lead through."""
    wait_until(lambda: len(bench.received["path"]) >= count, f"{count} paths")
    assert {path.header.frame_id for path in bench.received["path"]} == {"odom"}
    places = [[pose.pose.position.x for pose in path.poses] for path in bench.received["path"]]
    return [(stamp // 1_000_000 - 100_000, place) for stamp, place in zip(bench.stamps("path"), places)]


def test_a_path_is_sent_twice_a_second_and_when_time_goes_back(source, bench):
    advance(source, 0)  # nobody listens, but it counts
    source.is_heard_by(bench, "path")
    advance(source, 125, 250, 500, 625, 1000, 600)
    assert paths(bench, 3) == [
        (125, [0, 125]),
        (625, [0, 125, 250, 500, 625]),
        (600, [0, 125, 250, 500, 625, 1000, 600]),
    ]


def test_the_oldest_poses_of_a_path_go_first(source, bench):
    source.is_heard_by(bench, "path")
    advance(source, 0, 1000, 2000, 3000, path_max_size=3)
    advance(source, 4000, path_max_size=2)
    advance(source, 5000, 6000, path_max_size=4)
    found = paths(bench, 7)
    assert [len(places) for _, places in found] == [1, 2, 3, 3, 2, 3, 4]
    assert found[-1] == (6000, [3000, 4000, 5000, 6000])


def test_what_is_wanted_follows_those_who_listen(source, bench):
    for names, needs in {
        ("odom", "path"): set(),
        ("rgb/image",): {IMAGE},
        ("rgb/camera_info",): {POINTS},
        ("depth/image",): {POINTS},
        ("depth/camera_info",): {POINTS},
        ("confidence/image",): {POINTS},
        ("points",): {POINTS, IMAGE},
        ("rgb/image", "depth/image"): {POINTS, IMAGE},
    }.items():
        heard = source.is_heard_by(bench, *names)
        assert source.outputs.wanted() == needs, names
        for subscription in heard:
            bench.unlisten(subscription)
        wait_until(lambda: source.outputs.wanted() == set(), "the listeners to be gone")


def test_delivery_is_reliable_unless_the_user_wants_another():
    source = OutputsNode(**{"qos_overrides./source/points.publisher.reliability": "best_effort"})
    try:
        found = {}
        infos = source.node.get_publishers_info_by_topic
        for name in OUTPUTS:
            wait_until(lambda topic=f"/source/{name}": len(infos(topic)) == 1, "earlier nodes to be gone")
            (info,) = infos(f"/source/{name}")
            found[name] = info.qos_profile.reliability
    finally:
        source.close()
    assert found == dict.fromkeys(OUTPUTS, ReliabilityPolicy.RELIABLE) | {"points": ReliabilityPolicy.BEST_EFFORT}
