from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time

from ttt3r_ros.ros import diagnostics
from ttt3r_ros.ros.diagnostics import Counters, Health, diagnostic_array, resident_megabytes
from ttt3r_ros.ros.statistics import Summary

COUNTERS = Counters(
    input_rate_hz=29.968,
    frames_received=101,
    frames_dropped=12,
    frames_dropped_by_stamp=19,
    frames_failed=13,
    frames_lost=14,
    camera_infos_refused=15,
    callbacks_failed=16,
    segment=17,
    segment_frames=18,
)
SUMMARY = Summary(finished=76, rate_hz=24.518, latency_ms=(31.04, 42.06, 53.0), learning_rate=(0.00012, 0.5, 0.99999))
NOTHING_YET = Summary(finished=0, rate_hz=0.0, latency_ms=(math.nan,) * 3, learning_rate=(math.nan,) * 3)


def values_of(summary: Summary = SUMMARY, **facts: str) -> dict[str, str]:
    array = diagnostic_array("/ttt3r", Time(), diagnostics.TRACKING, COUNTERS, summary, facts)
    return {item.key: item.value for item in array.status[0].values}


def test_each_figure_is_under_its_name():
    values = values_of()
    del values["rss_mb"], values["device_memory_mb"]  # see below
    assert values == {
        "state": "tracking",
        "input_rate_hz": "29.97",
        "output_rate_hz": "24.52",
        "latency_ms_p50": "31.0",
        "latency_ms_p95": "42.1",
        "latency_ms_p99": "53.0",
        "frames_received": "101",
        "frames_processed": "76",
        "frames_dropped": "12",
        "frames_dropped_by_stamp": "19",
        "frames_failed": "13",
        "frames_lost": "14",
        "camera_infos_refused": "15",
        "callbacks_failed": "16",
        "beta_min": "0.0001",
        "beta_mean": "0.5000",
        "beta_max": "1.0000",
        "segment": "17",
        "segment_frames": "18",
    }
    assert {field.name for field in dataclasses.fields(Counters)} <= values.keys()


def test_before_the_first_frame_what_is_not_known_is_said_to_be_none():
    values = values_of(NOTHING_YET)
    assert values["frames_processed"] == "0"
    for name in ("latency_ms_p50", "latency_ms_p95", "latency_ms_p99", "beta_min", "beta_mean", "beta_max"):
        assert values[name] == "nan"


def test_facts_are_added():
    assert values_of(device="cpu", weights="tiny").items() >= {"device": "cpu", "weights": "tiny"}.items()
    assert values_of(device="cpu").keys() - values_of().keys() == {"device"}


@pytest.mark.parametrize(("used", "megabytes"), [(True, "1235"), (False, "0")])
def test_memory_of_the_gpu_is_told_where_one_is_used(monkeypatch, used, megabytes):
    monkeypatch.setattr(diagnostics.torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(diagnostics.torch.cuda, "memory_allocated", lambda: 1_234_567_890)
    assert values_of()["device_memory_mb"] == megabytes


@pytest.mark.parametrize(
    ("health", "level", "state", "message"),
    [
        (diagnostics.STARTING, DiagnosticStatus.OK, "waiting", "waiting for the first image"),
        (diagnostics.PAUSED, DiagnosticStatus.OK, "paused", "paused by ~/enable"),
        (diagnostics.TRACKING, DiagnosticStatus.OK, "tracking", "tracking"),
        (diagnostics.slow("two a second"), DiagnosticStatus.WARN, "slow", "two a second"),
        (diagnostics.ambiguous("two nodes"), DiagnosticStatus.WARN, "ambiguous", "two nodes"),
        (diagnostics.missing("no camera"), DiagnosticStatus.WARN, "no input", "no camera"),
        (diagnostics.unreadable("no image"), DiagnosticStatus.ERROR, "bad input", "no image"),
        (diagnostics.lost("no pose"), DiagnosticStatus.ERROR, "lost", "lost: no pose"),
    ],
)
def test_health_is_a_level_a_word_and_a_sentence(health: Health, level, state, message):
    array = diagnostic_array("/left/ttt3r", Time(seconds=5, nanoseconds=7), health, COUNTERS, SUMMARY, {})
    assert (array.header.stamp.sec, array.header.stamp.nanosec) == (5, 7)
    (status,) = array.status
    assert (status.level, status.message) == (level, message)
    assert status.name == "left/ttt3r: stream"
    assert next(item.value for item in status.values if item.key == "state") == state


def test_resident_memory_is_what_the_system_tells():
    held = np.ones(64_000_000, np.uint8)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert resident_megabytes() == pytest.approx(1.024e-3 * int(status["VmRSS"].split()[0]), abs=5)
    assert held.any()
    assert abs(float(values_of()["rss_mb"]) - resident_megabytes()) < 5


@pytest.mark.parametrize("content", [None, "", "12", "many pages"])
def test_resident_memory_is_none_where_the_system_does_not_tell(monkeypatch, content):
    def read_text(path: Path) -> str:
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    assert resident_megabytes() == 0.0
