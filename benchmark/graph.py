"""A ROS graph of the benchmark's own."""

from __future__ import annotations

import os

from ttt3r_ros.ros.domain import free_domain
from ttt3r_ros.ros.fastdds import make_room_for_images


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
