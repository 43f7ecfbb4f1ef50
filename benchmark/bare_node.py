"""As little as a Python node can do: for every ``image`` empty messages with its stamp, and nothing else.

    python -m benchmark.bare_node WIDTH HEIGHT odom [depth/image ...]

What `benchmark/node.py` measures of this one is the price of rclpy and DDS, which no Python node can beat: images are
taken as bytes, past the executor, as ours are. Images and clouds have this size [px], and are made only once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ttt3r_ros.ros.conversions import lasting_cloud, lasting_image
from ttt3r_ros.ros.fastdds import make_room_for_images
from ttt3r_ros.ros.receiver import Receiver, ServedElsewhere
from ttt3r_ros.ros.topics import POINT_CLOUD, RGB, TOPICS


def main() -> None:
    """Answer until killed."""
    make_room_for_images()
    rclpy.init()
    node = Node("ttt3r")
    answers = [(node.create_publisher(type(message), f"~/{name}", 10), message) for name, message in _messages()]

    def answer(image: bytes) -> None:
        header = deserialize_message(image, Header)  # which an image begins with
        for publisher, message in answers:
            message.header = header
            publisher.publish(message)

    images = node.create_subscription(
        Image,
        "image",
        answer,
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        callback_group=ServedElsewhere(),
        raw=True,
    )
    Receiver(node.context, answer, print).listen_to(images)
    threading.Event().wait()


def _messages() -> Iterator[tuple[str, Any]]:
    width, height = map(int, sys.argv[1:3])
    for name in sys.argv[3:]:
        if name == POINT_CLOUD:
            yield name, lasting_cloud(height, width)[0]
        elif name == RGB:
            yield name, lasting_image((height, width, 3), np.uint8, "rgb8")[0]
        elif TOPICS[name][0] is Image:
            yield name, lasting_image((height, width), np.float32, "32FC1")[0]
        else:
            yield name, TOPICS[name][0]()


if __name__ == "__main__":
    main()
