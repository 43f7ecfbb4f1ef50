"""The node's /diagnostics message."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.time import Time


@dataclass(frozen=True)
class Health:
    """The node's state in one word and one sentence."""

    level: bytes
    state: str
    message: str


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

STARTING = Health(OK, "waiting", "waiting for the first image")
PAUSED = Health(OK, "paused", "paused by ~/enable")
INACTIVE = Health(OK, "inactive", "inactive: waiting for the transition activate")
FINALIZED = Health(OK, "finalized", "finalized: only a restart of the process makes this node work again")
TRACKING = Health(OK, "tracking", "tracking")


@dataclass(frozen=True)
class Counters:
    """The node's counters, by their names in the message."""

    input_rate_hz: float = 0.0
    frames_received: int = 0
    frames_waiting: int = 0
    frames_dropped: int = 0
    frames_dropped_by_stamp: int = 0
    frames_failed: int = 0
    frames_lost: int = 0
    camera_infos_refused: int = 0
    callbacks_failed: int = 0
    segment: int = 0
    segment_frames: int = 0


def status_name(node: str) -> str:
    """Return the name of the status of a node with this full name."""
    return f"{node.lstrip('/')}: stream"


def diagnostic_array(
    name: str, stamp: Time, health: Health, counters: Counters, facts: Mapping[str, str]
) -> DiagnosticArray:
    """Return the message for one node."""
    values = {
        "state": health.state,
        **{key: f"{n:.2f}" if isinstance(n, float) else str(n) for key, n in asdict(counters).items()},
        **facts,
        "rss_mb": f"{resident_megabytes():.0f}",
        "device_memory_mb": f"{_device_megabytes():.0f}",
    }
    status = DiagnosticStatus(level=health.level, name=status_name(name), message=health.message)
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


def _device_megabytes() -> float:
    torch = sys.modules.get("torch")  # it is not imported for this alone
    return torch.cuda.memory_allocated() / 1e6 if torch is not None and torch.cuda.is_initialized() else 0.0
