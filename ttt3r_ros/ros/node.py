"""The executable `ttt3r`. It handles signals from the start; everything else is in `run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ttt3r_ros.errors import why_not_imported


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until a signal stops it, then end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))  # nothing exists yet that needs an orderly shutdown
    try:
        from ttt3r_ros.ros.run import run  # takes seconds, because it imports torch
    except ImportError as error:
        print(f"error: {why_not_imported(error)}", file=sys.stderr)
        _leave(2)
    _leave(run(args))


def _leave(status: int) -> NoReturn:
    """End the process immediately, since everything is closed.

    The interpreter's own shutdown takes a second with torch, and crashes if a thread is still working on a frame.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
