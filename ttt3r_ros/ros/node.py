"""The executable `ttt3r`. It hears signals from its first moment on; everything else is in `run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the node until it is told to stop, and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))  # nothing has been made yet that would need an orderly end
    from ttt3r_ros.ros.run import run  # takes seconds, for torch

    _leave(run(args))


def _leave(status: int) -> NoReturn:
    """End the process at once, since all is put away: the interpreter's own end would take torch a second.

    It would not survive a thread that is still at work on a frame either.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
