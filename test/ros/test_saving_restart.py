"""A node that ends and starts again, with what it has saved."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from harness import node, picture, pose_of
from std_srvs.srv import Trigger
from waiting import PATIENCE

from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.saved_state import from_bytes
from ttt3r_ros.stream.stream import Stream
from ttt3r_ros.weights.checkpoint import load_network

pytestmark = pytest.mark.dds


def test_a_restarted_robot_goes_on_in_its_old_map(weights, tmp_path, bench):
    bench.hear("odom")
    options = {"weights": weights, "save_folder": tmp_path / "saved", "wait_for_transform": 0.1, "load_at_start": True}
    with node(tmp_path / "first.log", **options) as first:
        assert "does not exist yet" in first.text()  # the very first start, with nothing to load
        bench.wait_for_node()
        bench.send_until_answered()
        (stamp,) = bench.exchange(3)[-1:]
        assert bench.trigger("save_state")[0]
        stood = pose_of(bench.get("odom", stamp))
        (stamp,) = bench.exchange(image=picture(5))
        expected = pose_of(bench.get("odom", stamp))
        assert first.stop() == 0
    with node(tmp_path / "second.log", **options) as second:
        assert "loaded the state" in second.text()
        bench.wait_for_node()
        bench.next_stamp = 1_000_000_000  # its clock has started anew
        stamp = bench.send_until_answered(image=picture(5), step=0.01)
        np.testing.assert_allclose(pose_of(bench.get("odom", stamp)), expected, atol=1e-4)
        assert np.abs(expected - stood)[:3, 3].max() > 1e-3
        assert second.stop() == 0


def test_an_end_during_a_save_leaves_a_whole_file_or_none(weights, tmp_path, bench):
    """`test_save_folder` kills a process that saves."""
    bench.hear("odom")
    saved = tmp_path / "saved"
    options = {"weights": weights, "save_folder": saved, "wait_for_transform": 0.1, "overwrite": True}
    with node(tmp_path / "log", **options) as running:
        bench.wait_for_node()
        bench.send_until_answered()
        client = bench.node.create_client(Trigger, "/ttt3r/save_state")
        assert client.wait_for_service(timeout_sec=PATIENCE)
        for _ in range(20):  # of which the signal meets one
            client.call_async(Trigger.Request())
            time.sleep(0.002)
        assert running.stop(signal.SIGTERM) == 0
    assert "Traceback" not in running.text()
    names = {path.name for path in saved.iterdir()} if saved.exists() else set()
    assert "ttt3r.state.safetensors" in names or not names
    if "ttt3r.state.safetensors" in names:
        data = (saved / "ttt3r.state.safetensors").read_bytes()
        stream = Stream(Backbone(load_network(weights)[0]))
        assert from_bytes(data, stream, "it").segments.state is not None
