"""The exception for errors that the user can fix, and helpers for its messages."""

from __future__ import annotations

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec

Parameters = ParamSpec("Parameters")

#: Python modules of which a package's name in ROS follows; other missing ones come from pip.
_OF_ROS = re.compile(
    r"rclpy|tf2_ros|cv_bridge|ament_index_python|rcl_interfaces|builtin_interfaces|\w+_(msgs|srvs|msgs_py)"
)


class UserError(Exception):
    """Some input from the user is invalid; the message is one sentence that says what is wrong and what to do."""


def program(main: Callable[Parameters, int]) -> Callable[Parameters, int]:
    """Let a command's `main` end with the sentence of a `UserError` and the exit status 2 where one is raised."""

    @functools.wraps(main)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return run


def quoted(text: str, longest: int = 60) -> str:
    """Return untrusted text quoted and on one line, truncated to a maximum number of characters, for log messages."""
    return repr(text if len(text) <= longest else text[: longest - 3] + "...")


def what_was_meant(name: str, known: Iterable[str]) -> str | None:
    """Return a question with the known name that is most like an unknown one; None if none is like it."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else None


def command(name: str) -> str:
    """Return what the user types to run a command of this package: a script of the pip environment, else `ros2 run`."""
    script = Path(sys.prefix, "bin", name)
    if not script.exists():
        return f"ros2 run ttt3r_ros {name}"
    try:
        return str(script.relative_to(Path.cwd()))
    except (ValueError, OSError):  # it is elsewhere, or the working directory is gone
        return str(script)


def kind_of(text: str) -> str:
    """Return a message with its numbers replaced by '#', so that faults that differ only in numbers compare equal.

    Numbers within quotes are part of a name and are kept.
    """
    return re.sub(r"'[^']*'|\d+(\.\d+)?", lambda found: found[0] if found[0].startswith("'") else "#", text)


def why_not_imported(error: ImportError) -> str:
    """Return a sentence about a library that cannot be imported: what it is and how to get it."""
    name = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name:
        return f"the Python module {name or 'of a library'} cannot be imported: {' '.join(str(error).split())[:300]}"
    if _OF_ROS.fullmatch(name):
        package = f"ros-{os.environ.get('ROS_DISTRO', 'DISTRO')}-{name.replace('_', '-')}"
        return (
            f"the Python module {name!r} is missing: source your ROS workspace; if it is not there, install {package}"
        )
    return (
        f"the Python module {name!r} is missing: install it with python3 -m pip install {name}, or all that this "
        "package needs as README says"
    )
