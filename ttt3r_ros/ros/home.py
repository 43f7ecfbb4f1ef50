"""The folders that ROS keeps for the user, also where the user has no home folder, as in many containers."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def ros_home() -> Path | None:
    """Return the folder for files of ROS programs, ``ROS_HOME`` or ``~/.ros``; None if the user has no home folder."""
    try:
        return Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
    except RuntimeError:
        return None


def make_room_for_logs() -> None:
    """Let ROS log to a temporary folder if it cannot use its own, without which it does not start.

    Call it before ``rclpy.init``.
    """
    folder = _log_folder()
    if folder is not None and _is_writable(folder):
        return
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros_log_")
    reason = f"{folder} cannot be written" if folder else "neither ROS_HOME nor HOME is set"
    print(f"note: {reason}; ROS logs to {os.environ['ROS_LOG_DIR']}", file=sys.stderr)


def _log_folder() -> Path | None:
    """Return where ROS would log; unlike `ros_home` it does not look for the home folder in the list of users."""
    home = os.environ.get("HOME")
    for name, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log")):
        if given := os.environ.get(name):
            return None if given.startswith("~") and not home else Path(given).expanduser() / below
    return Path(home) / ".ros" / "log" if home else None


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
