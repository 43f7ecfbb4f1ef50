"""What the node adds to its network: ``python benchmark/node.py [--frames 200] [--json FILE]``.

The node runs in a process of its own, a camera and consumer in this one, over DDS. Its network is a stub of 20
thousand weights whose every step is timed and taken out of the latency of its frame. Three runs: every output
subscribed, odometry alone, and a camera at 30 Hz in front of a network that takes 100 ms.

Consumers take their messages serialized, as a recorder or a C++ node does: decoding a cloud in Python is not the node's
time. The clock of all processes is the system's monotonic one.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import struct
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from timed_node import RECORD

from ttt3r_ros.errors import UserError
from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.model.checkpoint import save_network
from ttt3r_ros.ros.fastdds import make_room_for_images
from ttt3r_ros.ros.processes import ChildProcess
from ttt3r_ros.synthetic import Sequence

OUTPUTS = {
    "odom": Odometry,
    "path": PathMessage,
    "rgb/image": Image,
    "rgb/camera_info": CameraInfo,
    "depth/image": Image,
    "depth/camera_info": CameraInfo,
    "confidence/image": Image,
    "points": PointCloud2,
}
RUNS = ("all_outputs", "odometry_only")
RARE = {"path"}  #: not sent for every frame

#: As little network as can make images of the usual size.
STUB = NetworkConfig(
    enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=8, dec_depth=2, dec_num_heads=1,
    state_dec_num_heads=1, state_size=4, local_mem_size=2, head_type="linear", mlp_ratio=0.5, image_size=512,
    rgb_head=False,
)  # fmt: skip
#: The stub flies about, and its pictures are sent again and again.
PARAMETERS = {
    "drop_frames": "false", "wait_for_transform": "0.1", "reset_policy": "never", "frozen_timeout": "0.0",
    "max_speed": "0.0", "max_turn_rate": "0.0",
}  # fmt: skip
PICTURES = 16  #: rendered once and sent over and over
WARM_UP = 10  #: frames that are not counted
PATIENCE = 90.0  #: seconds for an answer
CAMERA_HZ, SLOW_NETWORK = 30.0, 0.1  #: of the sustained run [Hz, s]
_STAMP = struct.Struct("<4xiI")  #: of a serialized message that begins with a header, little endian


class Consumer:
    """Publishes images and notes when each output of each stamp arrives [s, monotonic]."""

    def __init__(self, outputs: list[str], size: tuple[int, int]) -> None:
        self.node = Node("benchmark")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.messages = _pictures(*size)
        self.sent: dict[int, float] = {}
        self.arrived: dict[str, dict[int, float]] = defaultdict(dict)
        self._images = self.node.create_publisher(Image, "image", QoSProfile(depth=1))
        for name in outputs:
            self.node.create_subscription(
                OUTPUTS[name], f"ttt3r/{name}", self._listener(name), QoSProfile(depth=10), raw=True
            )
        self._next = 1_000_000_123

    def send(self) -> int:
        """Publish the next image; return its stamp [ns]."""
        stamp, self._next = self._next, self._next + 33_333_333
        message = self.messages[len(self.sent) % len(self.messages)]
        message.header.stamp = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        self.sent[stamp] = time.monotonic()
        self._images.publish(message)
        return stamp

    def spin(self, seconds: float) -> None:
        """Receive for at most so long."""
        self.executor.spin_once(timeout_sec=seconds)

    def latencies(self, name: str, stamps: list[int]) -> npt.NDArray[np.float64]:
        """Return the latency of an output [s]; NaN where it never came."""
        arrived = self.arrived[name]
        return np.array([arrived.get(stamp, np.nan) - self.sent[stamp] for stamp in stamps])

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()

    def _listener(self, name: str) -> Any:
        arrived = self.arrived[name]

        def note(data: bytes) -> None:
            sec, nanosec = _STAMP.unpack_from(data)
            arrived[sec * 10**9 + nanosec] = time.monotonic()

        return note


def main(argv: list[str] | None = None) -> int:
    """Run, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200, help="counted frames of each run (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"), help="of the images [px]")
    parser.add_argument("--param", action="append", default=[], metavar="NAME:=VALUE", help="parameter of the node")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more would only wait for each other in so small a network
    make_room_for_images()
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "stub.safetensors"
            save_network(_stub(), weights, provenance={"source": "stub"})
            result = {
                "size": list(args.size),
                "processors": os.cpu_count(),
                "load_before": os.getloadavg()[0],
                "all_outputs": overhead(list(OUTPUTS), args, weights),
                "odometry_only": overhead(["odom"], args, weights),
                "sustained": sustained(args, weights),
            }
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(result, console)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def overhead(outputs: list[str], args: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Send one image after the other has been answered; return the latency per output, network taken out [ms]."""
    with _Bench(outputs, args, weights, extra=0.0) as bench:
        consumer, stamps, cpu = bench.consumer, [], 0.0
        needed = [name for name in outputs if name not in RARE]
        for index in range(WARM_UP + args.frames):
            cpu = bench.cpu_seconds() if index == WARM_UP else cpu
            stamps.append(consumer.send())
            deadline = time.monotonic() + PATIENCE
            while not all(stamps[-1] in consumer.arrived[name] for name in needed):
                consumer.spin(0.5)
                bench.check(deadline)
            time.sleep(0.005)  # the node puts away what it still holds of the frame
        cpu, stamps = bench.cpu_seconds() - cpu, stamps[WARM_UP:]
        network = bench.steps()[-len(stamps) :, 1]
        columns = {name: consumer.latencies(name, stamps) - network for name in needed}
    return {
        "cpu_ms_per_frame": 1e3 * cpu / len(stamps),
        "network": _percentiles(network),
        **{name: _percentiles(column) for name, column in columns.items()},
        "whole_frame": _percentiles(np.max(list(columns.values()), axis=0)),
    }


def sustained(args: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Let a camera run ahead of a slow network; return latency of the pose, processor time and what queued."""
    with _Bench(["odom"], args, weights, extra=SLOW_NETWORK, drop_frames="true") as bench:
        consumer, stamps, period = bench.consumer, [], 1.0 / CAMERA_HZ
        # its bench's own warm-up has ended discovery
        begun, cpu = time.monotonic(), bench.cpu_seconds()
        for index in range(args.frames):
            while (left := begun + index * period - time.monotonic()) > 0:
                consumer.spin(left)
            stamps.append(consumer.send())
            bench.check(time.monotonic() + PATIENCE)
        seconds, cpu = time.monotonic() - begun, bench.cpu_seconds() - cpu
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            consumer.spin(0.1)
        steps = bench.steps()
        network = steps[steps[:, 0] >= begun, 1]
        latencies = consumer.latencies("odom", stamps)
    latencies = latencies[np.isfinite(latencies)]
    third = len(latencies) // 3
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


class _Bench:
    """A node with the stub, and its consumer, until the block ends."""

    def __init__(
        self, outputs: list[str], args: argparse.Namespace, weights: Path, *, extra: float, **parameters: str
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._steps = Path(self._folder.name) / "steps"
        command = [sys.executable, str(Path(__file__).with_name("timed_node.py")), str(self._steps), str(extra)]
        command += ["--ros-args", "-p", f"weights:={weights}"]
        for name, value in {**PARAMETERS, **parameters}.items():
            command += ["-p", f"{name}:={value}"]
        for parameter in args.param:
            command += ["-p", parameter]
        rclpy.init(args=[])
        self.consumer = Consumer(outputs, tuple(args.size))
        self._child = ChildProcess("node", command, Path(self._folder.name) / "node.log")

    def __enter__(self) -> _Bench:
        self._child.__enter__()
        deadline = time.monotonic() + PATIENCE
        while not all(self.consumer.arrived[name] for name in self.consumer.arrived):
            self.consumer.send()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                self.consumer.spin(0.1)
            self.check(deadline)
        return self

    def __exit__(self, *error: Any) -> None:
        self._child.__exit__(*error)
        self.consumer.close()
        rclpy.try_shutdown()
        self._folder.cleanup()

    def check(self, deadline: float) -> None:
        """Give up where the node has ended or answers no more."""
        self._child.raise_if_dead()
        if time.monotonic() > deadline:
            raise UserError("the node does not answer images with all of its outputs")

    def steps(self) -> npt.NDArray[np.float64]:
        """Return begin, length and processor time of every step so far, (N, 3) [s]."""
        return np.array(list(RECORD.iter_unpack(self._steps.read_bytes()))).reshape(-1, 3)

    def cpu_seconds(self) -> float:
        """Return the processor time that the node has used outside its network."""
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK") - float(self.steps()[:, 2].sum())


def _stub() -> Network:
    import torch

    torch.manual_seed(0)
    network = Network(STUB)
    with torch.no_grad():
        network.camera_head.get_parameter("mlp.fc2.bias").view(4, -1)[2].fill_(1.2)  # walls at 2.3 m
    return network.eval()


def _pictures(width: int, height: int) -> list[Image]:
    frames = Sequence(0, PICTURES, width=width, height=height).render(0, PICTURES)
    messages = []
    for pixels in frames.image.numpy():
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = array.array("B", pixels.tobytes())
        message.header.frame_id = "camera"
        messages.append(message)
    return messages


def _percentiles(seconds: npt.NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = 1e3 * np.percentile(seconds, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def show(result: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    width, height = result["size"]
    table = Table(title=f"{width}x{height} in, milliseconds from image published to output received, network taken out")
    for column in ("", "p50", "p95", "p99"):
        table.add_column(column, justify="right" if column else "left")
    for run in RUNS:
        table.add_row(run.replace("_", " "), style="bold")
        for name, figures in result[run].items():
            if not isinstance(figures, dict):
                continue
            table.add_row(f"  {name.replace('_', ' ')}", *(f"{figures[p]:.1f}" for p in ("p50", "p95", "p99")))
        table.add_section()
    console.print(table)
    console.print(
        "processor time outside the network, milliseconds per frame: "
        + ", ".join(f"{run.replace('_', ' ')} {result[run]['cpu_ms_per_frame']:.1f}" for run in RUNS),
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


if __name__ == "__main__":
    sys.exit(main())
