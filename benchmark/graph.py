"""A ROS graph of the benchmark's own, and a node in it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import rclpy

from ttt3r_ros.ros.domain import free_domain
from ttt3r_ros.ros.fastdds import make_room_for_images
from ttt3r_ros.ros.tools.processes import ChildProcess

#: The node, to be followed by `arguments`.
NODE = (sys.executable, "-m", "ttt3r_ros.ros.node")


@contextlib.contextmanager
def own_graph() -> Iterator[None]:
    """Be in a ROS graph that nobody else is in, unless the environment names a domain, until the block ends.

    Raises:
        UserError: no domain is free.
    """
    keep_to_this_computer()
    rclpy.init(args=[])
    try:
        yield
    finally:
        rclpy.try_shutdown()


def keep_to_this_computer() -> None:
    """Give this process and its children a domain of their own, unless the environment names one.

    To be called before ``rclpy.init``.

    Raises:
        UserError: no domain is free.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if "ROS_DOMAIN_ID" not in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    make_room_for_images()


def arguments(parameters: Mapping[str, str], more: Sequence[str]) -> list[str]:
    """Return a node's arguments that set these parameters, and then more of them, as NAME:=VALUE."""
    settings = [*(f"{name}:={value}" for name, value in parameters.items()), *more]
    return ["--ros-args", *(word for setting in settings for word in ("-p", setting))]


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[ChildProcess]:
    """Run a node in a process of its own until the block ends."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ChildProcess("node", command, Path(folder) / "node.log") as child,
    ):
        yield child
