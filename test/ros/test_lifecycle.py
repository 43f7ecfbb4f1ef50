"""The states of a managed node: what it does in each of them, driven over DDS."""

from __future__ import annotations

import shutil
import signal
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
from harness import Bench, node, pose_of
from in_process import InProcess, node_in_process
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from waiting import PATIENCE, wait_until

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.ttt3r_node import Ttt3rNode
from ttt3r_ros.ros.watches import Watches

pytestmark = pytest.mark.dds

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUTDOWN = Transition.TRANSITION_INACTIVE_SHUTDOWN


def change(bench: Bench, transition: int, name: str = "/managed/ttt3r") -> tuple[bool, str]:
    """Ask for a transition; return whether it succeeded, and the state afterward."""
    request = ChangeState.Request(transition=Transition(id=transition))
    done = bench.call(ChangeState, f"{name}/change_state", request).success
    return done, bench.call(GetState, f"{name}/get_state").current_state.label


def published(inside: InProcess) -> list[str]:
    return sorted(publisher.topic_name for publisher in inside.node.publishers)


def test_a_lifecycle_manager_holds_the_node(weights, tmp_path, bench):
    """From unconfigured to finalized; the weights are missing at first."""
    late = tmp_path / "late.safetensors"
    with node(
        tmp_path / "log",
        "-r",
        "__ns:=/managed",
        wait="unconfigured: waiting",
        weights=late,
        autostart="false",
        wait_for_transform=0.0,
    ) as running:
        bench.hear("odom", "diagnostics", namespace="/managed")
        images = bench.publisher(Image, "/managed/image")
        assert bench.call(GetState, "/managed/ttt3r/get_state").current_state.label == "unconfigured"

        assert change(bench, CONFIGURE) == (False, "unconfigured")
        (said,) = (line for line in running.text().splitlines() if "[ERROR]" in line)
        assert f"{late} does not exist" in said
        told = wait_until(lambda: (d := bench.diagnostics("managed/ttt3r: stream")).get("level") == "2" and d, "a word")
        assert str(late) in told["message"]
        assert told["state"] == "unconfigured"

        shutil.copy(weights, late)
        assert change(bench, CONFIGURE) == (True, "inactive")
        assert images.get_subscription_count() == 0
        assert change(bench, ACTIVATE) == (True, "active")
        bench.send_until_answered(topic="/managed/image")
        before = bench.exchange(3, topic="/managed/image")

        assert change(bench, CONFIGURE) == (False, "active")  # refused, and nothing else
        before += bench.exchange(topic="/managed/image")
        assert change(bench, DEACTIVATE) == (True, "inactive")
        answered = len(bench.received["odom"])
        wait_until(lambda: images.get_subscription_count() == 0, "the node to stop listening")
        bench.send(topic="/managed/image")
        assert bench.call(Trigger, "/managed/ttt3r/reset").success  # services go on
        wait_until(lambda: bench.diagnostics("managed/ttt3r: stream").get("state") == "inactive", "diagnostics")
        assert len(bench.received["odom"]) == answered

        assert change(bench, ACTIVATE) == (True, "active")
        bench.next_stamp += 20_000_000_000
        wait_until(images.get_subscription_count, "the node to listen")
        bench.send_until_answered(topic="/managed/image")
        assert len(bench.received["odom"]) > answered
        back = bench.received["odom"][answered]
        stood = pose_of(bench.get("odom", before[-1]))[:3, 3]
        np.testing.assert_allclose(pose_of(back)[:3, 3], stood, atol=1e-6)
        assert stood.any()
        assert back.twist.covariance[0] > 100  # nobody knows how fast it moved meanwhile

        assert change(bench, DEACTIVATE) == (True, "inactive")
        assert change(bench, SHUTDOWN) == (True, "finalized")
        wait_until(lambda: bench.diagnostics("managed/ttt3r: stream").get("state") == "finalized", "the last state")
        assert running.process.poll() is None
        assert running.stop(signal.SIGINT) == 0
        assert "Traceback" not in running.text()


def test_the_frame_in_progress_is_published_nowhere(weights, bench, monkeypatch):
    with node_in_process(weights) as inside:
        bench.hear("odom")
        bench.wait_for_node()
        bench.send_until_answered()
        begun, inactive, step = threading.Event(), threading.Event(), inside.network.step

        def slow(*args: Any, **options: Any) -> Any:
            begun.set()
            assert inactive.wait(PATIENCE)
            return step(*args, **options)

        monkeypatch.setattr(inside.network, "step", slow)
        answered, late = len(bench.received["odom"]), bench.send()
        assert begun.wait(PATIENCE)
        assert change(bench, DEACTIVATE, "/ttt3r") == (True, "inactive")
        inactive.set()
        inside.node.pipeline.between_frames(lambda _: None).result(PATIENCE)  # comes after the frame
        assert change(bench, ACTIVATE, "/ttt3r") == (True, "active")
        bench.send_until_answered()
        assert late not in bench.stamps("odom")
        assert len(bench.received["odom"]) > answered


def test_a_node_on_standby_is_no_second_node(weights, bench):
    """It keeps its name, its weights and its services; odometry alone tells that it is active."""
    with node_in_process(weights):
        bench.publisher(Odometry, "/ttt3r/odom")
        watch = Watches(bench.node, "/ttt3r/odom")

        def publishers() -> int:
            return bench.node.count_publishers("/ttt3r/odom")

        wait_until(lambda: publishers() == 2, "both nodes")
        assert watch.other_publishers(0.0).startswith("2 nodes publish /ttt3r/odom")
        for _ in range(2):
            assert change(bench, DEACTIVATE, "/ttt3r") == (True, "inactive")
            wait_until(lambda: publishers() == 1, "the odometry of the node on standby to be gone")
            assert watch.other_publishers(0.0) is None
            assert bench.call(Trigger, "/ttt3r/reset").success
            assert change(bench, ACTIVATE, "/ttt3r") == (True, "active")
            wait_until(lambda: publishers() == 2, "the odometry of both")
            assert watch.other_publishers(0.0) is not None


def test_a_node_that_is_destroyed_or_cannot_start_leaves_the_graph_at_once(bench, tmp_path):
    def is_there() -> bool:
        return "ttt3r" in bench.node.get_node_names()

    rclpy.init(args=["--ros-args", "-p", "autostart:=false"])
    kept = Ttt3rNode()
    wait_until(is_there, "the node")
    kept.destroy_node()
    wait_until(lambda: not is_there(), "the node to leave")
    rclpy.shutdown()
    rclpy.init(args=["--ros-args", "-p", f"weights:={tmp_path / 'none'}"])
    with pytest.raises(UserError, match="does not exist") as refused:
        Ttt3rNode()
    wait_until(lambda: not is_there(), "the node to leave")
    rclpy.shutdown()
    del kept, refused  # were kept until now, and the node in the error's traceback


def test_cleanup_frees_the_network_and_configure_loads_it_again(weights, bench, monkeypatch):
    with node_in_process(weights) as inside:
        bench.hear("odom")
        bench.wait_for_node()
        bench.send_until_answered()
        network = weakref.ref(inside.network)
        del inside.network, inside.stream
        topics, was_gone = published(inside), []
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: was_gone.append(network() is None))
        assert change(bench, DEACTIVATE, "/ttt3r") == (True, "inactive")
        assert change(bench, CLEANUP, "/ttt3r") == (True, "unconfigured")
        assert was_gone == [True]  # the GPU takes back what is free by then
        assert published(inside) == ["/diagnostics", "/parameter_events"]
        assert "/ttt3r/reset" not in {service.srv_name for service in inside.node.services}

        assert change(bench, CONFIGURE, "/ttt3r") == (True, "inactive")
        assert change(bench, ACTIVATE, "/ttt3r") == (True, "active")
        bench.send_until_answered()
        assert published(inside) == topics
