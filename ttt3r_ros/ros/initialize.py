"""Initializes ROS; what prevents it is one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.fastdds import make_room_for_images
from ttt3r_ros.ros.home import make_room_for_logs
from ttt3r_ros.ros.parameters import first_sentence

_SECURITY, _KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_KEYSTORE"


def initialize(args: Sequence[str] | None = None, *, signal_handlers: SignalHandlerOptions | None = None) -> None:
    """Call ``rclpy.init``.

    Args:
        args: of the program; None for ``sys.argv``.
        signal_handlers: which of rclpy's to install; None for its default.

    Raises:
        UserError: ROS cannot be initialized.
    """
    make_room_for_logs()
    make_room_for_images()
    given = list(sys.argv if args is None else args)
    try:
        rclpy.init(args=given, signal_handler_options=signal_handlers)
    except Exception as error:  # rclpy raises several classes here, most of them private
        if lack := _missing_keystore():
            raise UserError(lack) from error
        what = "ROS does not accept these arguments" if "--ros-args" in given else "ROS cannot start"
        raise UserError(f"{what}: {first_sentence(error)}") from error


@contextlib.contextmanager
def initialized(args: Sequence[str] = ()) -> Iterator[None]:
    """Initialize ROS for a program that handles signals itself, and shut it down at the end; see `initialize`."""
    initialize(args, signal_handlers=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line, the program's name included, without what follows ``--ros-args``.

    Raises:
        UserError: ROS does not understand its arguments.
    """
    try:
        return list(remove_ros_args(list(arguments)))
    except Exception as error:  # its class is in a private module of rclpy
        raise UserError(f"the arguments after --ros-args cannot be used: {first_sentence(error)}") from error


@contextlib.contextmanager
def creating_node() -> Iterator[None]:
    """Convert what prevents the creation of a node, such as an unknown host in ROS_STATIC_PEERS, into a `UserError`."""
    try:
        yield
    except RuntimeError as error:  # RCLError, which is private to rclpy
        # if security is requested, it is the likeliest cause
        how = f" with the DDS security that {_SECURITY} requests (docs/security.md)" if _wants_security() else ""
        raise UserError(f"ROS could not create the node{how}: {first_sentence(error)}") from error


def _wants_security() -> bool:
    return os.environ.get(_SECURITY) == "true"  # ROS accepts only this spelling


def _missing_keystore() -> str | None:
    """Return a sentence if DDS security is requested but there is no keystore; ROS itself says little."""
    keystore = os.environ.get(_KEYSTORE, "")
    if not _wants_security() or Path(keystore, "enclaves").is_dir():
        return None
    found = f"there is none at {keystore!r}" if keystore else "it is not set"
    must = f"{_KEYSTORE} must name a keystore made by `ros2 security`"
    return f"{_SECURITY} requests DDS security, so {must}, but {found}"
