"""A mount given as the parameter camera_pose."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Bench
from in_process import InProcess
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage
from waiting import wait_until

from ttt3r_ros.ros.conversions import matrix_from_transform
from ttt3r_ros.ros.parameters import Parameters

pytestmark = pytest.mark.dds

POSE = "0.1 -0.2 0.3 0.0 0.26 1.57"


@pytest.fixture
def posed(monkeypatch, weights):
    inside = InProcess(monkeypatch, weights, camera_pose=f"'{POSE}'", frame_prefix="robot1/", wait_for_transform=3600.0)
    bench = Bench("posed")
    yield bench
    bench.close()
    inside.close()


def test_it_is_used_at_once_and_published_under_the_frame_of_the_images(posed, capfd):
    bench = posed
    bench.listen("/ttt3r/odom", Odometry, key="odom")
    heard: list[TFMessage] = []
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.node.create_subscription(TFMessage, "/tf_static", heard.append, latched)
    bench.wait_for_node()
    stamp = bench.send_until_answered(frame_id="robot1/lens")
    odometry = bench.get("odom", stamp)
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("robot1/odom", "robot1/base_link")
    wait_until(lambda: heard, "the mount on /tf_static")
    (mount,) = heard[-1].transforms
    assert (mount.header.frame_id, mount.child_frame_id) == ("robot1/base_link", "robot1/lens")
    np.testing.assert_allclose(
        matrix_from_transform(mount.transform), Parameters(camera_pose=POSE).T_base_camera, atol=1e-9
    )
    assert "frame_prefix" not in capfd.readouterr().err
    bench.exchange(2, frame_id="lens")
    assert capfd.readouterr().err.count("'lens', which does not begin with the frame_prefix 'robot1/'") == 1
