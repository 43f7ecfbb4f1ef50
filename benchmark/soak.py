"""Whether the node stays stable: ``python -m benchmark.soak [--frames 20000] [--weights FILE] [--json FILE]``.

A simulated camera sends images over DDS as fast as the node processes them. Every frame's outputs are counted, and the
node's memory, latency, file descriptors and threads are sampled throughout. The exit status is 1 if anything grew or
was missing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from matplotlib.figure import Figure
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from rich.console import Console
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from benchmark import command
from benchmark.camera import Camera, image_messages
from benchmark.graph import NODE, arguments, own_graph, running
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import nanoseconds
from ttt3r_ros.ros.tools.processes import ChildProcess

OUTPUTS = {"odom": Odometry, "depth/image": Image, "points": PointCloud2}
PICTURES = 32  #: rendered once and sent over and over
#: Of the node; its motion counts whatever the weights make of it.
PARAMETERS = {"drop_frames": "false", "wait_for_transform": "0.1", "max_speed": "0.0", "max_turn_rate": "0.0"}
IN_FLIGHT = 2  #: frames sent and not answered yet, so that the node never waits for the camera
SAMPLES = 200  #: of the process, in a whole run
SETTLED = 0.25  #: share of a run after which nothing may grow any more
PATIENCE = 60.0  #: seconds for an answer

#: Fewest frames that tell growth from the noise of a starting process: its memory and caches settle over some hundreds.
MIN_FRAMES = 5000

#: What counts as flat: memory per thousand frames [MB], and median latency late in a run over that early in it.
MAX_GROWTH_MB, MAX_SLOWDOWN = 1.0, 1.3


@dataclass(frozen=True)
class Sample:
    """The node's process at one moment, and the latency since the sample before [ms]."""

    frame: int
    seconds: float
    rss_mb: float
    descriptors: int
    threads: int
    latency_ms_p50: float
    latency_ms_p99: float


class SoakCamera(Camera):
    """Sends images and notes which outputs come back with their stamps.

    Attributes:
        answered: how many of each output have come.
        latencies: of odometry, until they are taken [s].
        diagnostics: the newest of the node.
    """

    def __init__(self, images: list[Image]) -> None:
        super().__init__([*images, *images[-2:0:-1]], depth=10)  # there and back, as a camera can move
        self.answered = dict.fromkeys([*OUTPUTS, "tf"], 0)
        self.latencies: deque[float] = deque()
        self.diagnostics: dict[str, str] = {}
        self._waiting: dict[str, set[int]] = {name: set() for name in self.answered}
        for name, kind in OUTPUTS.items():
            self.node.create_subscription(kind, f"ttt3r/{name}", self._listener(name), QoSProfile(depth=50))
        self.node.create_subscription(TFMessage, "/tf", self._on_tf, QoSProfile(depth=50))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def publish(self, stamp_ns: int) -> None:
        """Publish the next image, and wait for its outputs."""
        for waiting in self._waiting.values():
            waiting.add(stamp_ns)
        super().publish(stamp_ns)

    def in_flight(self) -> int:
        """Return how many frames have not come back whole."""
        return max(len(waiting) for waiting in self._waiting.values())

    def forget(self) -> None:
        """Count from here."""
        self.sent.clear()
        self.latencies.clear()
        for name, waiting in self._waiting.items():
            waiting.clear()
            self.answered[name] = 0

    def _listener(self, name: str) -> Any:
        return lambda message: self._note(name, message.header.stamp)

    def _on_tf(self, message: Any) -> None:
        for transform in message.transforms:
            if transform.header.frame_id == "odom":
                self._note("tf", transform.header.stamp)

    def _note(self, name: str, time_stamp: Any) -> None:
        stamp = nanoseconds(time_stamp)
        if stamp in self._waiting[name]:
            self._waiting[name].remove(stamp)
            self.answered[name] += 1
            if name == "odom":
                self.latencies.append(time.time() - self.sent[stamp])

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            self.diagnostics = {item.key: item.value for item in status.values}


def main(argv: list[str] | None = None) -> int:
    """Run, print a table, and write what was asked for."""
    shared = ("weights", "frames", "size", "param", "markdown", "picture")
    return command.start(command.parser(__doc__, *shared, frames=20_000, size=(640, 480)), run, report, argv)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Soak the node; return the figures, the samples and what was found wrong.

    Raises:
        UserError: the run would be too short, or the node ended or went silent.
    """
    if args.frames < MIN_FRAMES:
        raise UserError(f"--frames must be at least {MIN_FRAMES}: a shorter run cannot tell whether anything grows")
    weights = {"weights": str(Path(args.weights).expanduser().resolve())} if args.weights else {}
    launch = [*NODE, *arguments({**PARAMETERS, **weights}, args.param)]
    images = image_messages(PICTURES, *args.size)
    with own_graph(), contextlib.closing(SoakCamera(images)) as camera, running(launch) as child:
        samples = _soak(camera, child, args.frames, console)
    return _result(args, camera, samples)


def _soak(camera: SoakCamera, child: ChildProcess, frames: int, console: Console) -> list[Sample]:
    _meet(camera, child)
    samples: list[Sample] = []
    begun, every = time.perf_counter(), max(frames // SAMPLES, 1)
    with FrameProgress("soak", frames, console) as progress:
        while len(camera.sent) < frames or camera.in_flight():
            if len(camera.sent) < frames and camera.in_flight() < IN_FLIGHT:
                camera.send()
                if len(camera.sent) % every == 0 and camera.latencies:
                    samples.append(_sample(child.pid, len(camera.sent), time.perf_counter() - begun, camera.latencies))
                    progress.update(len(camera.sent))
            last = camera.in_flight()
            camera.spin(0.5)
            if camera.in_flight() == last:
                child.raise_if_dead()
                if time.time() - max(camera.sent.values()) > PATIENCE:
                    break  # what has not come by now is missing
    _settle(camera)
    return samples


def _meet(camera: SoakCamera, child: ChildProcess) -> None:
    """Send until every output has come once, so that discovery is over."""
    deadline = time.monotonic() + 3 * PATIENCE
    while not all(camera.answered.values()):
        child.raise_if_dead()
        if time.monotonic() > deadline:
            raise UserError(f"the node does not answer images with all of its outputs; got {camera.answered}")
        camera.send()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            camera.spin(0.1)
    while camera.diagnostics.get("frames_received") != camera.diagnostics.get("frames_processed", ""):
        camera.spin(0.5)
    camera.forget()


def _settle(camera: SoakCamera) -> None:
    """Wait for diagnostics of after the last frame."""
    camera.diagnostics = {}
    deadline = time.monotonic() + 5.0
    while not camera.diagnostics and time.monotonic() < deadline:
        camera.spin(0.1)


def _sample(pid: int, frame: int, seconds: float, latencies: deque[float]) -> Sample:
    process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    latencies.clear()
    return Sample(
        frame=frame,
        seconds=seconds,
        rss_mb=int(status["VmRSS"].split()[0]) / 1e3,
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
        latency_ms_p50=float(p50),
        latency_ms_p99=float(p99),
    )


def _result(args: argparse.Namespace, camera: SoakCamera, samples: list[Sample]) -> dict[str, Any]:
    dropped = int(camera.diagnostics.get("frames_dropped", 0))
    settled = [sample for sample in samples if sample.frame >= SETTLED * args.frames] or samples
    frames = np.array([sample.frame for sample in settled], dtype=np.float64)
    growth = 1e3 * float(np.polyfit(frames, [s.rss_mb for s in settled], 1)[0]) if len(settled) > 2 else 0.0
    third = max(len(settled) // 3, 1)
    parts = settled[:third], settled[-third:]
    before, after = (float(np.median([s.latency_ms_p50 for s in part])) for part in parts)
    missed = {name: len(camera.sent) - count - dropped for name, count in camera.answered.items()}
    verdict = [f"{count} frames without {name}" for name, count in missed.items() if count > 0]
    if growth > MAX_GROWTH_MB:
        verdict.append(f"memory grows by {growth:.1f} MB per 1000 frames")
    if after > MAX_SLOWDOWN * before:
        verdict.append(f"latency grew from {before:.1f} to {after:.1f} ms")
    for name in ("descriptors", "threads"):
        first, last = getattr(settled[0], name), getattr(settled[-1], name)
        if last > first:
            verdict.append(f"{name} grew from {first} to {last}")
    return {
        "frames": len(camera.sent),
        "seconds": samples[-1].seconds,
        "size": list(args.size),
        "weights": camera.diagnostics.get("weights", ""),
        "device": camera.diagnostics.get("device", ""),
        "processors": os.cpu_count(),
        "dropped": dropped,
        "missed": missed,
        "memory_growth_mb_per_1000_frames": growth,
        "latency_ms_early": before,
        "latency_ms_late": after,
        "verdict": verdict,
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the course of a run in ten rows, and the verdict; draw the picture if asked to."""
    samples, rows = result["samples"], []
    for index in sorted({round(i) for i in np.linspace(0, len(samples) - 1, 10)}):
        s = samples[index]
        figures = (f"{s['rss_mb']:.0f}", f"{s['latency_ms_p50']:.1f}", f"{s['latency_ms_p99']:.1f}")
        rows.append((str(s["frame"]), *figures, str(s["descriptors"]), str(s["threads"])))
    title = f"{result['frames']} frames in {result['seconds']:.0f} s on {result['device']}"
    header = ("frame", "memory [MB]", "latency p50 [ms]", "p99 [ms]", "descriptors", "threads")
    command.show(header, rows, args, console, title=title)
    console.print(
        f"dropped {result['dropped']}, missed {result['missed']}, memory "
        f"{result['memory_growth_mb_per_1000_frames']:+.2f} MB per 1000 frames once settled",
        highlight=False,
    )
    console.print("; ".join(result["verdict"]) or "flat, and nothing is missing")
    if args.picture:
        draw(result, args.picture)
    return not result["verdict"]


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw memory, latency, and descriptors and threads over the frames of a run."""
    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    columns: dict[str, npt.NDArray[np.float64]] = {
        key: np.array([sample[key] for sample in result["samples"]], dtype=np.float64) for key in result["samples"][0]
    }
    memory, latency, handles = figure.subplots(3, 1, sharex=True)
    memory.plot(columns["frame"], columns["rss_mb"], color="#30638e")
    memory.set(ylabel="memory [MB]", ylim=(0, 1.2 * columns["rss_mb"].max()))
    latency.plot(columns["frame"], columns["latency_ms_p50"], color="#30638e", label="p50")
    latency.plot(columns["frame"], columns["latency_ms_p99"], color="#d1495b", label="p99", linewidth=0.8)
    latency.set(ylabel="latency [ms]", ylim=(0, None))
    latency.legend(frameon=False, loc="upper right")
    handles.plot(columns["frame"], columns["descriptors"], color="#30638e", label="file descriptors")
    handles.plot(columns["frame"], columns["threads"], color="#d1495b", label="threads")
    handles.set(ylabel="count", xlabel="frame", ylim=(0, None))
    handles.legend(frameon=False, loc="lower right")
    for axes in (memory, latency, handles):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    width, height = result["size"]
    figure.suptitle(f"The node over {result['frames']} frames of {width}x{height} pixels, {result['device']}")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
