"""Sets the robot's pose from topics: in odom, as robot_localization does, and as a hint in the map, from RViz."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.ros.conversions import checked_pose
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.pipeline import Pipeline

#: Largest coordinate [m], and largest standard deviation [m, rad].
MAX_POSITION, MAX_SIGMA = 1e6, 1e4
#: A covariance's eigenvalues may be below zero by this share of the largest one, since senders round.
ROUNDING = 1e-6


class PoseInput:
    """Listens to ~/set_pose. The pose counts from the last processed image on, whatever the message's stamp."""

    def __init__(self, node: Node, pipeline: Pipeline, notices: Notices, odom_frame: str) -> None:
        self._pipeline, self._notices, self._odom_frame = pipeline, notices, odom_frame
        node.create_subscription(PoseWithCovarianceStamped, "~/set_pose", self._on_pose, QoSProfile(depth=1))

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        try:
            T_odom_base, covariance = read_pose(message, self._odom_frame)
        except UserError as error:
            self._notices.warn(f"~/set_pose: {error}")
            return
        self._pipeline.set_pose(T_odom_base, covariance)
        x, y, z = T_odom_base[:3, 3]
        anew = "path and map start anew" if self._pipeline.localization is None else "the path starts anew"
        self._notices.info(f"pose set to ({x:.3f}, {y:.3f}, {z:.3f}) m; {anew}", kind="pose set by ~/set_pose")


class HintInput:
    """Listens to initialpose, RViz's "2D Pose Estimate". The pose counts at the last image, whatever its stamp."""

    def __init__(self, node: Node, pipeline: Pipeline, notices: Notices, map_frame: str) -> None:
        self._node, self._pipeline, self._notices, self._map_frame = node, pipeline, notices, map_frame
        node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_pose, QoSProfile(depth=1))

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        try:
            T_map_base, covariance = read_pose(message, self._map_frame, "map_frame")
        except UserError as error:
            self._notices.warn(f"initialpose: {error}")
            return
        sigma = float(np.sqrt(max(np.linalg.eigvalsh(covariance[:3, :3])[-1], 0.0)))
        x, y, _ = T_map_base[:3, 3]

        def answer(done: Future[None]) -> None:
            if done.exception() is None:
                self._node.get_logger().info(f"looking for the robot near ({x:.2f}, {y:.2f}) m in the map")
            else:
                self._notices.warn(f"initialpose: {done.exception()}")

        self._pipeline.take_hint(T_map_base, sigma).add_done_callback(answer)


def read_pose(
    message: PoseWithCovarianceStamped, expected: str, name: str = "odom_frame"
) -> tuple[FloatArray, FloatArray]:
    """Return a message's pose (4, 4) and its covariance (6, 6).

    Args:
        message: the message.
        expected: frame in which it must be.
        name: of the parameter that names that frame.

    Raises:
        UserError: it is in another frame, or one of its numbers is impossible.
    """
    frame = message.header.frame_id.removeprefix("/")  # as tf2 does
    if frame not in ("", expected):
        raise UserError(f"a pose in the frame {quoted(frame)} is ignored; send it in {name}, which is {expected!r}")
    try:
        T = checked_pose(message.pose.pose, MAX_POSITION)
    except UserError as error:
        raise UserError(f"a pose is ignored because {error}") from None
    covariance = np.asarray(message.pose.covariance, dtype=np.float64).reshape(6, 6)
    if not (np.abs(covariance) < MAX_SIGMA**2).all() or not _is_covariance(covariance):
        raise UserError(
            "a pose is ignored because its covariance is not one: the matrix must be finite, symmetric and without "
            "negative eigenvalues"
        )
    return T, covariance


def _is_covariance(matrix: FloatArray) -> bool:
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    slack = ROUNDING * max(float(values[-1]), 0.0)
    return bool(values[0] >= -slack and np.abs(matrix - matrix.T).max() <= max(slack, 0.0))
