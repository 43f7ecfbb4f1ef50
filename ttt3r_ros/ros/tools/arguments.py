"""Command lines that may also hold arguments of ROS."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.utilities import remove_ros_args

from ttt3r_ros.errors import UserError


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line, the program's name included, without what follows ``--ros-args``.

    Raises:
        UserError: ROS does not understand its arguments.
    """
    try:
        return list(remove_ros_args(list(arguments)))
    except Exception as error:  # its class is in a private module of rclpy
        raise UserError(f"the arguments after --ros-args cannot be used: {' '.join(str(error).split())}") from error
