"""The node's /diagnostics message."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time

from ttt3r_ros.ros.statistics import Summary


@dataclass(frozen=True)
class Health:
    """The node's state in one word and one sentence."""

    level: bytes
    state: str
    message: str


STARTING = Health(DiagnosticStatus.OK, "waiting", "waiting for the first image")
PAUSED = Health(DiagnosticStatus.OK, "paused", "paused by ~/enable")
INACTIVE = Health(DiagnosticStatus.OK, "inactive", "inactive: waiting for the transition activate")
TRACKING = Health(DiagnosticStatus.OK, "tracking", "tracking")


def unconfigured(why: str | None) -> Health:
    """No network is loaded; ``why`` says what prevented it, None if nobody has asked for it."""
    if why is None:
        return Health(DiagnosticStatus.OK, "unconfigured", "unconfigured: waiting for the transition configure")
    return Health(DiagnosticStatus.ERROR, "unconfigured", f"unconfigured: {why}")


def lost(why: str) -> Health:
    """Tracking is lost: nothing is published for this frame."""
    return Health(DiagnosticStatus.ERROR, "lost", f"lost: {why}")


def slow(why: str) -> Health:
    """Images are processed, but so few that the poses are not to be trusted."""
    return Health(DiagnosticStatus.WARN, "slow", why)


def interrupted(why: str) -> Health:
    """Images are processed, but most of them follow on none, so that the motion between them is unknown."""
    return Health(DiagnosticStatus.WARN, "interrupted", why)


def ambiguous(why: str) -> Health:
    """Another node publishes the same outputs."""
    return Health(DiagnosticStatus.WARN, "ambiguous", why)


def unreadable(why: str) -> Health:
    """The input cannot be used."""
    return Health(DiagnosticStatus.ERROR, "bad input", why)


def missing(why: str) -> Health:
    """No input arrives."""
    return Health(DiagnosticStatus.WARN, "no input", why)


@dataclass(frozen=True)
class Counters:
    """The node's counters; see `diagnostic_array`."""

    input_rate_hz: float = 0.0
    frames_received: int = 0
    frames_dropped: int = 0
    frames_dropped_by_stamp: int = 0
    frames_failed: int = 0
    frames_lost: int = 0
    camera_infos_refused: int = 0
    callbacks_failed: int = 0
    segment: int = 0
    segment_frames: int = 0


def diagnostic_array(
    name: str, stamp: Time, health: Health, counters: Counters, summary: Summary, facts: dict[str, str]
) -> DiagnosticArray:
    """Return the message for one node."""
    p50, p95, p99 = summary.latency_ms
    low, mean, high = summary.learning_rate
    values = {
        "state": health.state,
        "input_rate_hz": f"{counters.input_rate_hz:.2f}",
        "output_rate_hz": f"{summary.rate_hz:.2f}",
        "latency_ms_p50": f"{p50:.1f}",
        "latency_ms_p95": f"{p95:.1f}",
        "latency_ms_p99": f"{p99:.1f}",
        "frames_received": str(counters.frames_received),
        "frames_processed": str(summary.finished),
        "frames_dropped": str(counters.frames_dropped),
        "frames_dropped_by_stamp": str(counters.frames_dropped_by_stamp),
        "frames_failed": str(counters.frames_failed),
        "frames_lost": str(counters.frames_lost),
        "camera_infos_refused": str(counters.camera_infos_refused),
        "callbacks_failed": str(counters.callbacks_failed),
        "beta_min": f"{low:.4f}",
        "beta_mean": f"{mean:.4f}",
        "beta_max": f"{high:.4f}",
        "segment": str(counters.segment),
        "segment_frames": str(counters.segment_frames),
        "rss_mb": f"{resident_megabytes():.0f}",
        "device_memory_mb": f"{torch.cuda.memory_allocated() / 1e6 if torch.cuda.is_initialized() else 0.0:.0f}",
        **facts,
    }
    status = DiagnosticStatus(level=health.level, name=f"{name.lstrip('/')}: stream", message=health.message)
    status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp.to_msg()
    return array


def resident_megabytes() -> float:
    """Return this process's resident memory [MB], or 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * resource.getpagesize() / 1e6
