"""From the node's launch to its first odometry: ``python -m benchmark.start [--config full] [--runs 3] [--json FILE]``.

The node runs in a process of its own. A camera in this process publishes over DDS all the time, and TF has its mount,
as on a running robot. Times up to "topics" come from the node's own log. Discovery is the part of it that remains then:
it starts with the node's participant, before the weights are loaded.

Every run starts the node twice: cold, with the weights file only on disk, and warm, with the file in the page cache.
Just before each start, the file is read in the same state; loading cannot be faster than the fastest of these reads.
Everything else, such as torch's libraries, stays in the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import command
from benchmark.graph import NODE, arguments, own_graph, running
from benchmark.start_camera import StartCamera
from benchmark.start_weights import drop_from_cache, made_by_rule, seconds_to_read
from ttt3r_ros.errors import UserError
from ttt3r_ros.model import CUT3R_512_DPT

FULL = Path(".cache/start/full.safetensors")
PATIENCE = 600.0  #: seconds for the first odometry
STATES = ("cold", "warm")

IMPORTS, DISCOVERY, ODOMETRY = "imports", "discovery", "odometry"
#: Phases that end with a line of the node's log, and how that line begins.
LOGGED = {
    "ROS": "loading weights",
    "weights": "warming up",
    "warm-up": "network ready",
    "topics": "ready: listening",
}
PHASES = (IMPORTS, *LOGGED, DISCOVERY, ODOMETRY)

_LOG_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
_IMPORT = "import os, ttt3r_ros.ros.run; os.write(1, b'.'); os._exit(0)"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, and write the figures if asked to."""
    parser = command.parser(__doc__, "weights", "param", "markdown")
    add = parser.add_argument
    add("--config", choices=("full",), help=f"full: full-size random weights, created once in {FULL.parent}")
    add("--runs", type=int, default=3, help="starts in each state, cold and warm (default: %(default)s)")
    add("--no-cold", action="store_true", help="only start with the file in the page cache")
    return command.start(parser, measure, report, argv)


def measure(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Start the node again and again; return the figures of every start, and their medians.

    Raises:
        UserError: the node ended, or gave no odometry.
    """
    if args.runs < 1:
        raise UserError(f"--runs must be at least 1, not {args.runs}")
    if args.config and args.weights:
        raise UserError("give either --config or --weights")

    from ttt3r_ros.weights.load import PACKAGED

    given = Path(args.weights or PACKAGED).expanduser().resolve()
    weights = made_by_rule(CUT3R_512_DPT, FULL, console) if args.config else given
    states = [state for state in STATES if state == "warm" or not args.no_cold]
    if "cold" in states and not drop_from_cache(weights):
        console.print(f"{weights} cannot be dropped from the page cache: warm starts only", highlight=False)
        states.remove("cold")
    starts: dict[str, list[dict[str, float]]] = {state: [] for state in states}
    os.environ["RCUTILS_CONSOLE_OUTPUT_FORMAT"] = _LOG_FORMAT  # whose times are read
    load = os.getloadavg()[0]
    with own_graph(), contextlib.closing(StartCamera()) as camera:
        for run in range(1, args.runs + 1):
            for state in states:
                start = _start(weights, args.param, camera, cold=state == "cold")
                starts[state].append(start)
                console.print(f"run {run} of {args.runs}, {state}: {_total(start):.1f} s", highlight=False)
    return {
        "weights": weights.name,
        "megabytes": weights.stat().st_size / 1e6,
        "processors": os.cpu_count(),
        "load_before": load,
        "starts": starts,
        "medians": {state: _medians(found) for state, found in starts.items()},
    }


def _start(weights: Path, parameters: list[str], camera: StartCamera, *, cold: bool) -> dict[str, float]:
    """Return the seconds that each phase of one start takes, and those that reading its weights file takes."""
    imports = _seconds_to_import()
    reading = seconds_to_read(weights, cold=cold)
    if cold:
        drop_from_cache(weights)
    begun = time.time()
    with running([*NODE, *arguments({"weights": str(weights)}, parameters)]) as child:
        met, odometry = camera.first_odometry(child, begun, PATIENCE)
        logged = moments_of(child.log.read_text())
    moments = [begun + imports, *logged, max(met, logged[-1]), odometry]
    before = [begun, *moments]
    return {**{phase: moments[i] - before[i] for i, phase in enumerate(PHASES)}, "reading": reading}


def moments_of(log: str) -> list[float]:
    """Return when each logged phase ended, in the clock's seconds.

    Raises:
        UserError: the log lacks a line.
    """
    moments = []
    for beginning in LOGGED.values():
        line = next((line for line in log.splitlines() if f"]: {beginning}" in line), None)
        if line is None:
            raise UserError(f"the node's log has no line that begins with '{beginning}'")
        moments.append(float(line.split("] [")[1]))
    return moments


def _seconds_to_import() -> float:
    """Return how long an interpreter takes to start and import the node, in a process that does nothing else."""
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", _IMPORT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read(1)
        seconds = time.monotonic() - begun
    if not said:
        raise UserError("the node cannot be imported")
    return seconds


def _total(start: dict[str, float]) -> float:
    return sum(start[phase] for phase in PHASES)


def _medians(starts: list[dict[str, float]]) -> dict[str, float]:
    medians = {phase: statistics.median(start[phase] for start in starts) for phase in PHASES}
    fastest = min(start["reading"] for start in starts)
    return {
        **medians,
        "total": statistics.median(_total(start) for start in starts),
        "fastest_reading": fastest,
        "loading_over_reading": medians["weights"] / fastest,
    }


def report(result: dict[str, Any], args: argparse.Namespace, console: Console) -> bool:
    """Print the medians."""
    medians = result["medians"]
    columns = medians.values()
    rows = [
        *((phase, *(f"{figures[phase]:.2f}" for figures in columns)) for phase in PHASES),
        ("in all", *(f"{figures['total']:.2f}" for figures in columns)),
        ("reading the file", *(f"{figures['fastest_reading']:.3f}" for figures in columns)),
        ("  MB/s", *(f"{result['megabytes'] / figures['fastest_reading']:.0f}" for figures in columns)),
        ("loading / reading", *(f"{figures['loading_over_reading']:.2f}" for figures in columns)),
    ]
    title = f"{result['weights']}, {result['megabytes']:.0f} MB: seconds from launch, medians"
    command.show(("", *medians), rows, args, console, title=title)
    return True


if __name__ == "__main__":
    sys.exit(main())
