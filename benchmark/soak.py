"""Whether the node stays stable: ``python -m benchmark.soak [--frames 20000] [--weights FILE] [--json FILE]``.

A simulated camera sends images over DDS as fast as the node processes them. Every frame's outputs are counted, and the
node's memory, latency, file descriptors and threads are sampled throughout. The exit status is 1 if anything grew or
was missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from matplotlib.figure import Figure
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage

from benchmark import command
from benchmark.graph import keep_to_this_computer
from benchmark.images import image_messages
from ttt3r_ros.cli.frame_progress import FrameProgress
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.tools.processes import ChildProcess

OUTPUTS = {"odom": Odometry, "depth/image": Image, "points": PointCloud2}
PICTURES = 32  #: rendered once and sent over and over, there and back, as a camera can move
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


@dataclass
class Camera:
    """Sends images and notes which outputs come back with their stamps."""

    node: Node
    executor: SingleThreadedExecutor
    messages: list[Image]
    sent: dict[int, float] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=lambda: dict.fromkeys([*OUTPUTS, "tf"], 0))
    latencies: deque[float] = field(default_factory=deque)
    diagnostics: dict[str, str] = field(default_factory=dict)
    _waiting: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in [*OUTPUTS, "tf"]})
    _next: int = 1_000_000_123

    def __post_init__(self) -> None:
        self._images = self.node.create_publisher(Image, "image", QoSProfile(depth=10))
        for name, kind in OUTPUTS.items():
            self.node.create_subscription(kind, f"ttt3r/{name}", self._listener(name), QoSProfile(depth=50))
        self.node.create_subscription(TFMessage, "/tf", self._on_tf, QoSProfile(depth=50))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def send(self) -> int:
        """Publish the next image; return its stamp [ns]."""
        stamp, self._next = self._next, self._next + 33_333_333
        index = len(self.sent) % (2 * len(self.messages) - 2)
        message = self.messages[min(index, 2 * len(self.messages) - 2 - index)]
        message.header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        for waiting in self._waiting.values():
            waiting.add(stamp)
        self.sent[stamp] = time.perf_counter()
        self._images.publish(message)
        return stamp

    def spin(self, seconds: float) -> None:
        """Receive for at most so long."""
        self.executor.spin_once(timeout_sec=seconds)

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
        def note(message: Any) -> None:
            self._note(name, message.header.stamp)

        return note

    def _on_tf(self, message: Any) -> None:
        for transform in message.transforms:
            if transform.header.frame_id == "odom":
                self._note("tf", transform.header.stamp)

    def _note(self, name: str, time_stamp: Any) -> None:
        stamp = time_stamp.sec * 10**9 + time_stamp.nanosec
        if stamp in self._waiting[name]:
            self._waiting[name].remove(stamp)
            self.answered[name] += 1
            if name == "odom":
                self.latencies.append(time.perf_counter() - self.sent[stamp])

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            self.diagnostics = {item.key: item.value for item in status.values}


def main(argv: list[str] | None = None) -> int:
    """Run, print a table, and write what was asked for."""
    shared = ("weights", "frames", "size", "param", "picture")
    return command.start(command.parser(__doc__, *shared, frames=20_000, size=(640, 480)), run, report, argv)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Soak the node; return the figures, the samples and what was found wrong.

    Raises:
        UserError: the run would be too short, or the node ended or went silent.
    """
    if args.frames < MIN_FRAMES:
        raise UserError(f"--frames must be at least {MIN_FRAMES}: a shorter run cannot tell whether anything grows")
    keep_to_this_computer()
    launch = [sys.executable, "-m", "ttt3r_ros.ros.node", "--ros-args", "-p", "drop_frames:=false"]
    launch += ["-p", "wait_for_transform:=0.1"]
    launch += ["-p", "max_speed:=0.0", "-p", "max_turn_rate:=0.0"]  # whatever the weights make of it
    if args.weights:
        launch += ["-p", f"weights:={Path(args.weights).expanduser().resolve()}"]
    for parameter in args.param:
        launch += ["-p", parameter]
    rclpy.init(args=[])
    try:
        node = Node("soak")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        camera = Camera(node, executor, image_messages(PICTURES, *args.size))
        with (
            tempfile.TemporaryDirectory() as folder,
            ChildProcess("node", launch, Path(folder) / "node.log") as child,
        ):
            samples = _soak(camera, child, args.frames, console)
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return _result(args, camera, samples)


def _soak(camera: Camera, child: ChildProcess, frames: int, console: Console) -> list[Sample]:
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
                if time.perf_counter() - max(camera.sent.values()) > PATIENCE:
                    break  # what has not come by now is missing
    _settle(camera)
    return samples


def _meet(camera: Camera, child: ChildProcess) -> None:
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


def _settle(camera: Camera) -> None:
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


def _result(args: argparse.Namespace, camera: Camera, samples: list[Sample]) -> dict[str, Any]:
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
    table = Table(title=f"{result['frames']} frames in {result['seconds']:.0f} s on {result['device']}")
    for column in ("frame", "memory [MB]", "latency p50 [ms]", "p99 [ms]", "descriptors", "threads"):
        table.add_column(column, justify="right")
    samples = result["samples"]
    for index in sorted({round(i) for i in np.linspace(0, len(samples) - 1, 10)}):
        s = samples[index]
        figures = (f"{s['rss_mb']:.0f}", f"{s['latency_ms_p50']:.1f}", f"{s['latency_ms_p99']:.1f}")
        table.add_row(str(s["frame"]), *figures, str(s["descriptors"]), str(s["threads"]))
    console.print(table)
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
