"""The executable `ttt3r`. It handles signals from the start; everything else is in `run`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError, why_not_imported


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until a signal stops it, then end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))  # nothing exists yet that needs an orderly shutdown
    try:
        _refuse_unknown(sys.argv[1:] if args is None else args)
        from ttt3r_ros.ros.run import run

        status = run(args)
    except ImportError as error:
        print(f"error: {why_not_imported(error)}", file=sys.stderr)
        status = 2
    _leave(status)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    """End the process if an argument is neither one of ROS nor asks for help or the version."""
    from ttt3r_ros.ros.ros_arguments import parse

    with contextlib.suppress(UserError):  # which `run` says
        parse(_parser(), arguments)


def _parser() -> CommandParser:
    return CommandParser(
        "ttt3r",
        usage="ttt3r [-h] [--version] [--ros-args ...]",
        description="The node: one camera in; odometry, TF, depth and a point cloud out.",
        epilog="ROS arguments follow --ros-args: -r image:=/camera/image_raw remaps a topic, -p device:=cpu sets a "
        "parameter, --params-file FILE sets many (config/ttt3r.yaml of this package lists them).",
    )


def _leave(status: int) -> NoReturn:
    """End the process immediately, since everything is closed.

    The interpreter's own shutdown takes a second with torch, and crashes if a thread is still working on a frame.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
