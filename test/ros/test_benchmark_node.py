from __future__ import annotations

import json
import math
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from rule_weights import TINY, rule_network

from benchmark import node, timed_node
from benchmark.camera import image_messages
from benchmark.consumer import Consumer
from benchmark.graph import own_graph
from ttt3r_ros.model import Network
from ttt3r_ros.ros.topics import TOPICS
from ttt3r_ros.stream import segments
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.weights.checkpoint import load_network

pytestmark = pytest.mark.dds


@pytest.fixture
def consumer(own_environment):
    with own_graph(), closing(Consumer(["odom", "path"], images=[])) as consumer:
        yield consumer


@pytest.fixture
def setup(own_environment, monkeypatch, weights):
    """A few frames of small images; the weights are not the stub's but as small."""
    monkeypatch.setattr(node, "WARM_UP", 2)
    return node.Setup(20, ["check_images:=false"], weights, image_messages(2, 80, 60))


def test_the_overhead_is_told_of_every_output(setup):
    figures = node.overhead(list(TOPICS), setup)
    around = "resampling_and_download"
    assert {"cpu_ms_per_frame", "network", around, "whole_frame", *TOPICS} - figures.keys() == {"path"}
    assert figures.pop(around)["p50"] < figures["odom"]["p50"]
    assert figures.pop("cpu_ms_per_frame") > 0
    for name, percentiles in figures.items():
        assert 0 < percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"], name
        assert name == "network" or percentiles["p50"] <= figures["whole_frame"]["p50"], name


def test_a_bare_node_answers_too(setup):
    names = ["odom", "rgb/image", "depth/image", "depth/camera_info", "points"]
    figures = node.transport(names, setup)
    assert figures.keys() == {*names, "whole_frame"}
    for name in names:
        assert 0 < figures[name]["p50"] <= figures[name]["p99"]
        assert figures[name]["p50"] <= figures["whole_frame"]["p50"]


def test_a_camera_ahead_of_its_network_is_answered_as_fast_as_that_can(setup, monkeypatch):
    monkeypatch.setattr(node, "CAMERA_HZ", 10.0)  # which a busy machine reaches as well
    monkeypatch.setattr(node, "SLOW_NETWORK", 0.3)
    figures = node.sustained(setup)
    assert 3 <= figures["answered"] < 20  # most images meet a busy network
    assert figures["network"]["p50"] >= 1e3 * node.SLOW_NETWORK
    assert figures["odom"]["p50"] > figures["network"]["p50"]
    assert figures["bound_ms"] == pytest.approx(figures["network"]["p50"] + 1e3 / node.CAMERA_HZ)
    assert figures["seconds"] >= 19 / node.CAMERA_HZ
    assert math.isfinite(figures["odom_p50_late_over_early"])


def test_the_figures_of_all_runs_are_shown_and_written(own_environment, monkeypatch, tmp_path, capsys):
    milliseconds = {"p50": 11.0, "p95": 12.0, "p99": 13.0}
    runs = []

    def overhead(outputs: list[str], setup: node.Setup) -> dict[str, Any]:
        runs.append((outputs, setup.frames, len(setup.images), load_network(setup.weights)[0].config))
        return {"cpu_ms_per_frame": 7.25, "network": milliseconds, "odom": milliseconds}

    sustained = {"camera_hz": 30.0, "network": milliseconds, "odom": milliseconds, "bound_ms": 133.0}
    sustained |= {"odom_p50_late_over_early": 1.0, "cpu_share_of_one_core": 0.1}
    monkeypatch.setattr(node, "overhead", overhead)
    monkeypatch.setattr(node, "sustained", lambda setup: sustained)
    monkeypatch.setattr(node, "transport", lambda outputs, setup: {"odom": milliseconds})
    monkeypatch.setattr(node, "PICTURES", 1)
    out = tmp_path / "node.json"
    assert node.main(["--frames", "30", "--size", "80", "60", "--json", str(out)]) == 0
    assert runs == [(list(TOPICS), 30, 1, node.STUB), (["odom"], 30, 1, node.STUB)]
    result = json.loads(out.read_text())
    assert result["size"] == [80, 60]
    assert result["odometry_only"]["odom"] == milliseconds
    assert result["sustained"] == sustained
    assert "all outputs 7.2, odometry only 7.2" in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")


def test_too_few_frames_are_said_in_a_sentence(own_environment, capsys):
    assert node.main(["--frames", "3"]) == 2
    assert capsys.readouterr().err == "error: --frames must be at least 20, not 3\n"


def test_what_never_came_has_no_latency_and_is_missed(consumer):
    consumer.sent = {1: 10.0, 2: 11.0}
    consumer.arrived["odom"] = {1: 10.25}
    np.testing.assert_array_equal(consumer.latencies("odom", [1, 2]), [0.25, np.nan])
    assert consumer.has_all(["odom"], 1)
    assert not consumer.has_all(["odom"], 2)
    assert not consumer.has_all(["odom", "path"], 1)


def test_the_times_of_steps_come_back_as_written(monkeypatch, tmp_path):
    monkeypatch.setattr(Network, "step", Network.step)  # put back after the test
    monkeypatch.setattr(segments, "advance", segments.advance)
    file = tmp_path / "steps"
    timed_node._time_steps(file, 0.03)
    assert timed_node.read_steps(file).shape == (0, 4)
    backbone, image = Backbone(rule_network(TINY)), np.zeros((48, 64, 3), np.uint8)
    estimates = [segments.advance(backbone, segments.SegmentState(), image)[0] for _ in range(2)]
    steps = timed_node.read_steps(file)
    assert steps.shape == (2, 4)
    assert steps[:, 3].tolist() == [e.timings.preprocess + e.timings.download for e in estimates]
    begun, length, processor, _ = steps.T
    assert begun[1] >= begun[0] + length[0]
    assert (length >= 0.03).all()
    assert (processor < length - 0.02).all()  # sleeping takes no processor
    assert (processor > 0).all()
