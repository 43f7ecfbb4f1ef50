"""Initializes ROS; what prevents it is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.signals import SignalHandlerOptions

from ttt3r_ros.errors import UserError
from ttt3r_ros.ros.home import make_room_for_logs
from ttt3r_ros.ros.parameters import first_sentence
from ttt3r_ros.ros.security import missing_keystore, under_security


def initialize(args: Sequence[str] | None = None, *, signal_handlers: SignalHandlerOptions | None = None) -> None:
    """Call ``rclpy.init``.

    Args:
        args: of the program; None for ``sys.argv``.
        signal_handlers: which of rclpy's to install; None for its default.

    Raises:
        UserError: ROS cannot be initialized.
    """
    make_room_for_logs()
    given = list(sys.argv if args is None else args)
    try:
        rclpy.init(args=given, signal_handler_options=signal_handlers)
    except Exception as error:  # rclpy raises several classes here, most of them private
        if lack := missing_keystore():
            raise UserError(lack) from error
        what = "ROS does not accept these arguments" if "--ros-args" in given else "ROS cannot start"
        raise UserError(f"{what}: {first_sentence(error)}") from error


@contextmanager
def creating_node() -> Iterator[None]:
    """Convert what prevents the creation of a node, such as an unknown host in ROS_STATIC_PEERS, into a `UserError`."""
    try:
        yield
    except RuntimeError as error:  # RCLError, which is private to rclpy
        raise UserError(f"ROS could not create the node{under_security()}: {first_sentence(error)}") from error
