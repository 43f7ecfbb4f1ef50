"""The commands' entry points. Each loads its program when called, so that a missing library ends in one sentence."""

from __future__ import annotations

import importlib
import sys

from ttt3r_ros.errors import why_not_imported


def ttt3r() -> int:
    """Run the node."""
    return _run("ttt3r_ros.ros.node")


def play() -> int:
    """Play a recording as a camera."""
    return _run("ttt3r_ros.ros.tools.play")


def demo() -> int:
    """Run camera, node and consumer, and write what comes out."""
    return _run("ttt3r_ros.ros.tools.demo")


def reconstruct() -> int:
    """Process a recording without ROS."""
    return _run("ttt3r_ros.offline.reconstruct")


def evaluate() -> int:
    """Evaluate on public data sets."""
    return _run("ttt3r_ros.protocols.command")


def fetch_weights() -> int:
    """Download, convert or check weights."""
    return _run("ttt3r_ros.weights.fetch")


def _run(module: str) -> int:
    """Return the exit code of a module's ``main``."""
    try:
        code: int = importlib.import_module(module).main()
    except ImportError as error:
        print(f"error: {why_not_imported(error)}", file=sys.stderr)
        return 2
    return code
