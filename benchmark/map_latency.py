"""Whether the map of places delays the odometry: ``python -m benchmark.map_latency [--json FILE]``.

Two nodes with the small weights, one with `publish_map_frame` and one without, get the images of a walk that comes
back to places, over DDS and at 10 Hz. They take turns of a few seconds, so that what else the machine does counts for
both alike; the other one gets no image meanwhile. Latency is from an image's publication to the arrival of its
odometry. The exit status is 1 if with the map p50 is more than 5 % higher, or p95 more than one step of the network.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from std_msgs.msg import Header

from benchmark import command
from benchmark.camera import FRAME_ID
from benchmark.consumer import Consumer
from benchmark.graph import arguments, own_graph, running
from benchmark.timed_node import read_steps
from benchmark.walk import WalkSpec, rendered
from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.conversions import image_message
from ttt3r_ros.ros.tools.processes import ChildProcess
from ttt3r_ros.ros.topics import ODOM

SEED, HZ = 474, 10.0
TURN = 40  #: frames
MAX_P50 = 1.05
PATIENCE = 90.0  #: seconds for a node to answer
REST = 0.5  #: seconds after a turn, in which the last answers come and the map's work ends
WITHOUT, WITH = "without", "with"


class _Player:
    """A node in a namespace of its own, and the camera in front of it."""

    def __init__(self, name: str, walk: list[Any], period_ns: int, child: ChildProcess, steps: Path) -> None:
        self.consumer = Consumer([ODOM], walk, namespace=name, period_ns=period_ns)
        self.stamps: list[int] = []
        self._child, self._steps = child, steps

    def meet(self) -> None:
        """Send images until one is answered."""
        deadline = time.monotonic() + PATIENCE
        while not self.consumer.arrived[ODOM]:
            self.consumer.send()
            self._wait(deadline)

    def play(self, frames: int) -> None:
        """Send so many images at the camera's rate."""
        begun = time.monotonic()
        for index in range(frames):
            self._spin(begun + index / HZ)
            self.stamps.append(self.consumer.send())
        self._spin(time.monotonic() + REST)
        deadline = time.monotonic() + PATIENCE
        while not any(stamp in self.consumer.arrived[ODOM] for stamp in self.stamps[-frames:]):
            self._wait(deadline)

    def figures(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the latencies of the images that were answered, and how long the network's steps took [ms]."""
        latencies = self.consumer.latencies(ODOM, self.stamps)
        return 1e3 * latencies[np.isfinite(latencies)], 1e3 * read_steps(self._steps)[:, 1]

    def _wait(self, deadline: float) -> None:
        self._child.raise_if_dead()
        if time.monotonic() > deadline:
            raise UserError("the node answers no image")
        self._spin(time.monotonic() + 0.5)

    def _spin(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            self.consumer.spin(left)


def main(argv: list[str] | None = None) -> int:
    """Run both nodes, print a table, and write the figures if asked to."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    shared = ("weights", "frames", "fps", "size", "param", "work", "markdown")
    parser = command.parser(__doc__, *shared, frames=400, fps=5.0, size=(320, 240), work=Path(".cache/map"))
    return command.start(parser, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Let the nodes take turns.

    Raises:
        UserError: there are too few frames for a turn, or a node does not answer.
    """
    if args.frames < TURN:
        raise UserError(f"--frames must be at least {TURN}, not {args.frames}")
    walk = rendered(WalkSpec(SEED, "wheeled", args.frames, args.size[0], args.size[1], args.fps), args.work, console)
    images = [image_message(frame.image, "rgb8", Header(frame_id=FRAME_ID)) for frame in walk.frames()]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(own_graph())
        players = {}
        for name, is_on in ((WITHOUT, "false"), (WITH, "true")):
            steps = folder / name
            parameters = {"device": "cpu", "wait_for_transform": "2.0", "publish_map_frame": is_on}
            if args.weights:
                parameters["weights"] = args.weights
            settings = [*arguments(parameters, args.param), "-r", f"__ns:=/{name}"]
            child = stack.enter_context(
                running([sys.executable, "-m", "benchmark.timed_node", str(steps), "0", *settings])
            )
            players[name] = _Player(name, images, round(1e9 / args.fps), child, steps)
            stack.callback(players[name].consumer.close)
        for player in players.values():
            player.meet()
        for turn in range(args.frames // TURN):
            names = (WITHOUT, WITH) if turn % 2 else (WITH, WITHOUT)
            for name in names:
                players[name].play(TURN)
        return {name: _figures(*player.figures(), len(player.stamps)) for name, player in players.items()}


def _figures(latencies: npt.NDArray[np.float64], steps: npt.NDArray[np.float64], sent: int) -> dict[str, float]:
    p10, p50, p95, p99 = np.percentile(latencies, [10, 50, 95, 99])
    return {
        "sent": sent,
        "answered": len(latencies),
        "p10": float(p10),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "step": float(np.median(steps)),
    }


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the figures; return whether the map delays the odometry by no more than it may."""
    names = ("sent", "answered", "p10", "p50", "p95", "p99", "step")
    rows = [(f"{way} the map", *(f"{result[way][name]:.4g}" for name in names)) for way in (WITHOUT, WITH)]
    title = f"images at {HZ:g} Hz; milliseconds from image published to odometry received, and of a network's step"
    command.show(("", *names), rows, args, console, title=title)
    without, with_map = result[WITHOUT], result[WITH]
    console.print(
        f"p50 {with_map['p50'] / without['p50']:.3f} times that without; p95 later by "
        f"{with_map['p95'] - without['p95']:.1f} ms, {(with_map['p95'] - without['p95']) / without['step']:.2f} steps",
        highlight=False,
    )
    is_late = with_map["p95"] > without["p95"] + without["step"]
    return with_map["p50"] <= MAX_P50 * without["p50"] and not is_late


if __name__ == "__main__":
    sys.exit(main())
