"""What the node adds to its network: ``python -m benchmark.node [--frames 200] [--json FILE]``.

The node runs in a process of its own, a camera and consumer in this one, over DDS. Its network is a stub of 20
thousand weights; the time of each step is subtracted from the latency of its frame. Five runs: every output
subscribed, odometry alone, both with a bare node that responds to images with empty messages of the same sizes (the
time of rclpy and DDS alone), and a camera at 30 Hz in front of a network that takes 100 ms.

A message has arrived when the consumer's middleware has it: the millisecond until a Python consumer's callback, or the
ten to decode a cloud, do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from sensor_msgs.msg import Image

from benchmark import command, timed_node
from benchmark.camera import image_messages
from benchmark.consumer import Consumer
from benchmark.graph import arguments, own_graph, running
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import NetworkConfig
from ttt3r_ros.ros.tools.processes import ChildProcess
from ttt3r_ros.ros.topics import ODOM, PATH, TOPICS

if TYPE_CHECKING:
    from ttt3r_ros.model import Network

RUNS = ("all_outputs", "bare_node_all_outputs", "odometry_only", "bare_node_odometry_only")
RARE = {PATH}  #: not sent for every frame

#: As little network as can make images of the usual size.
STUB = NetworkConfig(
    enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=8, dec_depth=2, dec_num_heads=1,
    state_dec_num_heads=1, state_size=4, local_mem_size=2, head_type="linear", mlp_ratio=0.5, image_size=512,
    rgb_head=False,
)  # fmt: skip
#: The stub flies about, and its pictures are sent again and again.
PARAMETERS = {
    "drop_frames": "false", "wait_for_transform": "0.1", "reset_policy": "never", "frozen_timeout": "0.0",
    "max_speed": "0.0", "max_turn_rate": "0.0", "device": "cpu",
}  # fmt: skip
PICTURES = 16  #: rendered once and sent over and over
WARM_UP = 10  #: frames that are not counted
FEWEST = 20  #: counted frames; a slow network answers a third of them, which are told early from late
NODE_TIME = 0.033  #: seconds the node has the machine to itself: this process takes out what has arrived only then
PATIENCE = 90.0  #: seconds for an answer
CAMERA_HZ, SLOW_NETWORK = 30.0, 0.1  #: of the sustained run [Hz, s]


@dataclass(frozen=True)
class Setup:
    """What all runs have in common.

    Attributes:
        frames: counted ones of each run.
        parameters: of the node, as NAME:=VALUE.
        weights: file of the stub.
        images: to be sent over and over.
    """

    frames: int
    parameters: list[str]
    weights: Path
    images: list[Image]


def main(argv: list[str] | None = None) -> int:
    """Run, print a table, and write the figures if asked to."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more would only wait for each other in so small a network
    parser = command.parser(__doc__, "frames", "size", "param", "markdown", frames=200, size=(640, 480))
    return command.start(parser, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Do the five runs."""
    if args.frames < FEWEST:
        raise UserError(f"--frames must be at least {FEWEST}, not {args.frames}")

    from ttt3r_ros.weights.checkpoint import save_network

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "stub.safetensors"
        save_network(_stub(), weights, provenance={"source": "stub"})
        setup = Setup(args.frames, args.param, weights, image_messages(PICTURES, *args.size))
        return {
            "size": list(args.size),
            "processors": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "all_outputs": overhead(list(TOPICS), setup),
            "bare_node_all_outputs": transport([name for name in TOPICS if name not in RARE], setup),
            "odometry_only": overhead([ODOM], setup),
            "bare_node_odometry_only": transport([ODOM], setup),
            "sustained": sustained(setup),
        }


def overhead(outputs: list[str], setup: Setup) -> dict[str, Any]:
    """Send one image after the other has been answered; return the latency per output, network taken out [ms]."""
    with _bench(outputs, setup, extra=0.0) as bench:
        needed = [name for name in outputs if name not in RARE]
        bench.exchange(WARM_UP, needed)
        cpu = bench.cpu_seconds()
        stamps = bench.exchange(setup.frames, needed)
        cpu = bench.cpu_seconds() - cpu
        _, network, _, around = bench.steps()[-len(stamps) :].T
        columns = {name: bench.consumer.latencies(name, stamps) - network for name in needed}
    return {
        "cpu_ms_per_frame": 1e3 * cpu / len(stamps),
        "network": _percentiles(network),
        "resampling_and_download": _percentiles(around),
        **{name: _percentiles(column) for name, column in columns.items()},
        **_whole(columns),
    }


def transport(outputs: list[str], setup: Setup) -> dict[str, Any]:
    """Return the latency per output of a node that does nothing [ms]."""
    from ttt3r_ros.camera.preprocess import pixel_map

    mapping = pixel_map(setup.images[0].width, setup.images[0].height, image_size=STUB.image_size)
    bare = [sys.executable, "-m", "benchmark.bare_node", *map(str, mapping.size), *outputs]
    with _running(bare, outputs, setup) as bench:
        bench.exchange(WARM_UP, outputs)
        stamps = bench.exchange(setup.frames, outputs)
        columns = {name: bench.consumer.latencies(name, stamps) for name in outputs}
    return {**{name: _percentiles(column) for name, column in columns.items()}, **_whole(columns)}


def sustained(setup: Setup) -> dict[str, Any]:
    """Let a camera run ahead of a slow network; return latency of the pose, processor time and what queued."""
    with _bench([ODOM], setup, extra=SLOW_NETWORK, drop_frames="true") as bench:
        consumer, stamps, period = bench.consumer, [], 1.0 / CAMERA_HZ
        # its bench's own warm-up has ended discovery
        begun, cpu = time.monotonic(), bench.cpu_seconds()
        for index in range(setup.frames):
            while (left := begun + index * period - time.monotonic()) > 0:
                consumer.spin(left)
            stamps.append(consumer.send())
            bench.check(time.monotonic() + PATIENCE)
        seconds, cpu = time.monotonic() - begun, bench.cpu_seconds() - cpu
        deadline = time.monotonic() + 1.0
        while not consumer.has_all([ODOM], stamps[-1]) and time.monotonic() < deadline:
            consumer.spin(0.1)
        steps = bench.steps()
        network = steps[steps[:, 0] >= begun, 1]
        latencies = consumer.latencies("odom", stamps)
    latencies = latencies[np.isfinite(latencies)]
    if (third := len(latencies) // 3) == 0:
        raise UserError(f"the node answered only {len(latencies)} of {len(stamps)} images")
    return {
        "camera_hz": CAMERA_HZ,
        "seconds": seconds,
        "answered": len(latencies),
        "network": _percentiles(network),
        "odom": _percentiles(latencies),
        "bound_ms": 1e3 * (float(np.median(network)) + period),
        "odom_p50_late_over_early": float(np.median(latencies[-third:]) / np.median(latencies[:third])),
        "cpu_share_of_one_core": cpu / seconds,
    }


@contextlib.contextmanager
def _bench(outputs: list[str], setup: Setup, *, extra: float, **parameters: str) -> Iterator[_Bench]:
    """Run a node with the stub and its consumer until the block ends; both have met when it begins."""
    settings = arguments({"weights": str(setup.weights), **PARAMETERS, **parameters}, setup.parameters)
    with tempfile.TemporaryDirectory() as folder:
        steps = Path(folder) / "steps"
        timed = [sys.executable, "-m", "benchmark.timed_node", str(steps), str(extra), *settings]
        with _running(timed, outputs, setup, steps) as bench:
            yield bench


@contextlib.contextmanager
def _running(command: list[str], outputs: list[str], setup: Setup, steps: Path | None = None) -> Iterator[_Bench]:
    with own_graph(), contextlib.closing(Consumer(outputs, setup.images)) as consumer, running(command) as child:
        bench = _Bench(consumer, child, steps)
        bench.meet()
        yield bench


class _Bench:
    """A node with the stub, and its consumer."""

    def __init__(self, consumer: Consumer, child: ChildProcess, steps: Path | None) -> None:
        self.consumer = consumer
        self._child = child
        self._steps = steps

    def meet(self) -> None:
        """Send until every output has come once, so that discovery is over."""
        deadline = time.monotonic() + PATIENCE
        arrived = self.consumer.arrived
        while not all(arrived.values()):
            self.consumer.send()
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not all(arrived.values()):
                self.consumer.spin(0.1)
            self.check(deadline)

    def exchange(self, frames: int, needed: list[str]) -> list[int]:
        """Send images, each when the last one has been answered with all that is needed; return their stamps [ns]."""
        stamps = []
        for _ in range(frames):
            stamps.append(self.consumer.send())
            time.sleep(NODE_TIME)
            deadline = time.monotonic() + PATIENCE
            while not self.consumer.has_all(needed, stamps[-1]):
                self.consumer.spin(0.5)
                self.check(deadline)
            time.sleep(0.005)  # the node puts away what it still holds of the frame
        return stamps

    def check(self, deadline: float) -> None:
        """Give up where the node has ended or answers no more."""
        self._child.raise_if_dead()
        if time.monotonic() > deadline:
            raise UserError("the node does not answer images with all of its outputs")

    def steps(self) -> npt.NDArray[np.float64]:
        """See `timed_node.read_steps`."""
        assert self._steps is not None  # a bare node has no network
        return timed_node.read_steps(self._steps)

    def cpu_seconds(self) -> float:
        """Return the processor time that the node has used outside its network."""
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK") - float(self.steps()[:, 2].sum())


def _stub() -> Network:
    import torch

    from ttt3r_ros.model import Network

    torch.manual_seed(0)
    network = Network(STUB)
    with torch.no_grad():
        network.camera_head.get_parameter("mlp.fc2.bias").view(4, -1)[2].fill_(1.2)  # walls at 2.3 m
    return network.eval()


def _whole(columns: dict[str, npt.NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    return {"whole_frame": _percentiles(np.max(list(columns.values()), axis=0))}


def _percentiles(seconds: npt.NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = 1e3 * np.percentile(seconds, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the figures."""
    width, height = result["size"]
    percentiles = ("p50", "p95", "p99")
    rows: list[tuple[str, ...]] = []
    for run in RUNS:
        rows.append((run.replace("_", " "), "", "", ""))
        for name, figures in result[run].items():
            if isinstance(figures, dict):
                rows.append((f"  {name.replace('_', ' ')}", *(f"{figures[p]:.1f}" for p in percentiles)))
    title = f"{width}x{height} in, milliseconds from image published to output received, network taken out"
    command.show(("", *percentiles), rows, args, console, title=title)
    spent = {run: result[run]["cpu_ms_per_frame"] for run in RUNS if "cpu_ms_per_frame" in result[run]}
    console.print(
        "processor time outside the network, milliseconds per frame: "
        + ", ".join(f"{run.replace('_', ' ')} {milliseconds:.1f}" for run, milliseconds in spent.items()),
        highlight=False,
    )
    figures = result["sustained"]
    console.print(
        f"{figures['camera_hz']:.0f} Hz in front of a network of {figures['network']['p50']:.0f} ms: pose after "
        f"{figures['odom']['p50']:.0f} ms (p50), {figures['odom']['p99']:.0f} ms (p99), one network time and one frame "
        f"are {figures['bound_ms']:.0f} ms; late over early {figures['odom_p50_late_over_early']:.2f}; "
        f"{100 * figures['cpu_share_of_one_core']:.0f} % of one core outside the network",
        highlight=False,
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
