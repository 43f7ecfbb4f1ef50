"""As little as a Python node can do: for every ``image`` an odometry with its stamp, and nothing else.

What `benchmark/node.py` measures of this one is the price of rclpy and DDS, which no Python node can beat.
"""

from __future__ import annotations

import sys
from pathlib import Path

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ttt3r_ros.ros.fastdds import make_room_for_images


def main() -> None:
    """Answer until killed."""
    make_room_for_images()
    rclpy.init()
    node = Node("ttt3r")
    odometry = node.create_publisher(Odometry, "~/odom", 10)
    node.create_subscription(
        Image,
        "image",
        lambda image: odometry.publish(Odometry(header=image.header)),
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin()


if __name__ == "__main__":
    main()
