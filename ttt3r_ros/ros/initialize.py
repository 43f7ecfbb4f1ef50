"""Initializes ROS; what prevents it is one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.fastdds import make_room_for_images
from ttt3r_ros.ros.home import make_room_for_logs
from ttt3r_ros.ros.ros_arguments import first_sentence, without_ros_arguments

_SECURITY, _KEYSTORE = "ROS_SECURITY_ENABLE", "ROS_SECURITY_KEYSTORE"


def initialize(args: Sequence[str] | None = None, *, signal_handlers: SignalHandlerOptions | None = None) -> None:
    """Call ``rclpy.init``.

    Args:
        args: of the program; None for ``sys.argv``.
        signal_handlers: which of rclpy's to install; None for its default.

    Raises:
        UserError: ROS cannot be initialized, or does not accept the arguments.
    """
    given = list(sys.argv if args is None else args)
    without_ros_arguments(given)  # rcl would also log what it does not accept, in words of its own
    make_room_for_logs()
    make_room_for_images()
    try:
        rclpy.init(args=given, signal_handler_options=signal_handlers)
    except Exception as error:  # rclpy raises several classes here, most of them private
        if lack := _missing_keystore():
            raise UserError(lack) from error
        raise UserError(f"ROS cannot start: {first_sentence(error)}") from error


@contextlib.contextmanager
def initialized(args: Sequence[str] = ()) -> Iterator[None]:
    """Initialize ROS for a program that handles signals itself, and shut it down at the end; see `initialize`."""
    initialize(args, signal_handlers=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        rclpy.try_shutdown()


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
