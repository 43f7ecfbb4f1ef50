from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time

from ttt3r_ros.ros import diagnostics
from ttt3r_ros.ros.diagnostics import Counters, Health, diagnostic_array, resident_megabytes

COUNTERS = Counters(
    input_rate_hz=29.968,
    frames_received=101,
    frames_waiting=20,
    frames_dropped=12,
    frames_dropped_by_stamp=19,
    frames_failed=13,
    frames_lost=14,
    camera_infos_refused=15,
    callbacks_failed=16,
    segment=17,
    segment_frames=18,
)


def values_of(**facts: str) -> dict[str, str]:
    array = diagnostic_array("/ttt3r", Time(), diagnostics.TRACKING, COUNTERS, facts)
    return {item.key: item.value for item in array.status[0].values}


def test_each_figure_is_under_its_name():
    values = values_of()
    del values["rss_mb"], values["device_memory_mb"]  # see below
    assert values == {
        "state": "tracking",
        "input_rate_hz": "29.97",
        "frames_received": "101",
        "frames_waiting": "20",
        "frames_dropped": "12",
        "frames_dropped_by_stamp": "19",
        "frames_failed": "13",
        "frames_lost": "14",
        "camera_infos_refused": "15",
        "callbacks_failed": "16",
        "segment": "17",
        "segment_frames": "18",
    }


@pytest.mark.parametrize(("used", "megabytes"), [(True, "1235"), (False, "0")])
def test_memory_of_the_gpu_is_told_where_one_is_used(monkeypatch, used, megabytes):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 1_234_567_890)
    assert values_of()["device_memory_mb"] == megabytes


@pytest.mark.parametrize(
    ("health", "level", "state", "message"),
    [
        (diagnostics.STARTING, DiagnosticStatus.OK, "waiting", "waiting for the first image"),
        (diagnostics.PAUSED, DiagnosticStatus.OK, "paused", "paused by ~/enable"),
        (diagnostics.TRACKING, DiagnosticStatus.OK, "tracking", "tracking"),
        (Health(diagnostics.ERROR, "lost", "lost: no pose"), DiagnosticStatus.ERROR, "lost", "lost: no pose"),
    ],
)
def test_health_is_a_level_a_word_and_a_sentence(health: Health, level, state, message):
    array = diagnostic_array("/left/ttt3r", Time(seconds=5, nanoseconds=7), health, COUNTERS, {})
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
