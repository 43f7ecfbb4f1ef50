"""A camera and a consumer on another host than the node: sends JPEG images, notes what comes back.

Writes lines of JSON: ``["odom", when, stamp]`` and ``["diagnostics", when, state, segment]``, `when` in seconds of the
monotonic clock, which all processes of a computer share, and the image's stamp in nanoseconds. Ends with stdin.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from harness import Bench, header, picture
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

RATE = 10.0


def main() -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    bench = Bench("remote")

    def say(*fields: object) -> None:
        print(json.dumps(fields), flush=True)

    def on_odometry(message: Odometry) -> None:
        stamp = message.header.stamp
        say("odom", time.monotonic(), stamp.sec * 1_000_000_000 + stamp.nanosec)

    def on_diagnostics(message: DiagnosticArray) -> None:
        values = {item.key: item.value for item in message.status[0].values}
        say("diagnostics", time.monotonic(), values["state"], int(values["segment"]))

    bench.node.create_subscription(Odometry, "/ttt3r/odom", on_odometry, 10)
    bench.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = bench.node.create_publisher(CompressedImage, "/image/compressed", qos)
    jpeg = cv2.imencode(".jpg", cv2.GaussianBlur(picture(1, 160, 120), (0, 0), 2.0))[1].tobytes()
    while not ended.wait(1 / RATE):
        camera.publish(CompressedImage(header=header(time.time_ns(), "camera"), format="jpeg", data=jpeg))
    bench.close()


if __name__ == "__main__":
    main()
