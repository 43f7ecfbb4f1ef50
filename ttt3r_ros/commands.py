"""The commands' entry points. Each loads its program when called, so that a missing library ends in one sentence."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from ttt3r_ros.errors import why_not_imported


def _command(program: Callable[[], int]) -> Callable[[], int]:
    """Return a program that reports a library that cannot be imported, with exit code 2."""

    @functools.wraps(program)
    def run() -> int:
        try:
            return program()
        except ImportError as error:
            print(f"error: {why_not_imported(error)}", file=sys.stderr)
            return 2

    return run


def _say_starting(name: str) -> None:
    """Say that a program starts, since its libraries take seconds to load on a busy computer."""
    if not {"-h", "--help", "--version"} & {*sys.argv[1:]}:
        print(f"{name}: starting", flush=True)


@_command
def ttt3r() -> int:
    """Run the node."""
    _say_starting("ttt3r")
    from ttt3r_ros.ros.node import main

    main()


@_command
def play() -> int:
    """Play a recording as a camera."""
    _say_starting("play")
    from ttt3r_ros.ros.tools.play import main

    return main()


@_command
def view() -> int:
    """Show a running node in the browser."""
    _say_starting("view")
    from ttt3r_ros.ros.tools.view import main

    return main()


@_command
def call() -> int:
    """Call a service of the node, or change its state."""
    from ttt3r_ros.ros.tools.call import main

    return main()


@_command
def demo() -> int:
    """Run camera, node and consumer, and write what comes out."""
    from ttt3r_ros.ros.tools.demo import main

    return main()


@_command
def reconstruct() -> int:
    """Process a recording without ROS."""
    from ttt3r_ros.offline.reconstruct import main

    return main()


@_command
def evaluate() -> int:
    """Evaluate on public data sets."""
    from ttt3r_ros.protocols.command import main

    return main()


@_command
def fetch_weights() -> int:
    """Download, convert or check weights."""
    from ttt3r_ros.weights.fetch import main

    return main()
