"""The argument parser that all commands share."""

from __future__ import annotations

import argparse
from typing import Any

from ttt3r_ros import __version__


class CommandParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` with ``--version``, which does not guess abbreviated options."""

    def __init__(self, prog: str, **options: Any) -> None:
        """Set the name of the command, and what else `argparse.ArgumentParser` takes."""
        super().__init__(prog=prog, allow_abbrev=False, **options)
        self.add_argument("--version", action="version", version=f"{prog} of ttt3r_ros {__version__}")
