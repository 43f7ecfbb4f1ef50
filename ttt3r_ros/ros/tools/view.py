"""``view``: shows a running node in the browser. It is a node of its own that subscribes like any other."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from cv_bridge import CvBridge
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry, Path
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from tf2_ros import Buffer, TransformException, TransformListener
from visualization_msgs.msg import Marker, MarkerArray

from ttt3r_ros.camera.calibration import Calibration
from ttt3r_ros.cli.arguments import at_least_one, tcp_port
from ttt3r_ros.cli.parser import CommandParser
from ttt3r_ros.errors import UserError, program
from ttt3r_ros.evaluation.run_log import EvenlySpaced
from ttt3r_ros.geometry import FloatArray, Intrinsics, inverse
from ttt3r_ros.mapping.voxel_map import MIN_MAX_POINTS, NO_POINTS, MapPoints, VoxelMap
from ttt3r_ros.ros.conversions import matrix_from_pose, matrix_from_transform, nanoseconds
from ttt3r_ros.ros.diagnostics import status_name
from ttt3r_ros.ros.initialize import creating_node, initialized
from ttt3r_ros.ros.ros_arguments import parse
from ttt3r_ros.ros.tools.messages import moved, points_of
from ttt3r_ros.ros.tools.player import TRUTH_QOS, TRUTH_TOPIC
from ttt3r_ros.ros.topics import (
    DEPTH,
    DEPTH_INFO,
    MAP_PATH,
    MAP_POINTS,
    ODOM,
    PATH,
    POINT_CLOUD,
    POSE_GRAPH,
    RGB,
)
from ttt3r_ros.viewer.live import LivePage, state_html
from ttt3r_ros.viewer.notice import read_notice
from ttt3r_ros.viewer.pieces import thinned

#: Time between two updates of the page [s].
PERIOD_S = 0.2

#: The node's diagnostics come once a second; after this long without any, it is not running [s].
_SILENCE_S = 4.0

#: The node tells where it is in the map with every frame; what is older than this is not true anymore [ns].
_OLD_NS = 10**9

#: The node may answer a player's last images after the player is gone [ns].
_LATE_NS = 10**9

#: A new node's map may be heard before that node is noticed; one that was heard longer ago is the former node's [s].
_FRESH_S = 1.0

#: Longest wait for the answer of a service [s].
_ANSWER_S = 30.0

#: Side of a voxel of the map that the viewer makes itself, at first [m]; they grow when the map is full.
_VOXEL_M = 0.03

#: Points of a frame that are shown and go into the map, at most.
_FRAME_POINTS = 20_000

#: Stamps whose poses are remembered, to place the clouds and the truth.
_POSES = 200

#: Points of the true path that are shown, at most.
_TRUE_POINTS = 2000

DEFAULT_PORT = 8080

#: Buttons of the page and their services.
_BUTTONS = {
    "reset": {"state": "reset", "odometry": "reset_odometry"},
    "save": {"state": "save_state", "map": "save_map"},
}

#: Dense outputs may lose a message; the viewer shows the next one.
_DENSE = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class View(Node):
    """Takes the node's outputs and shows them on a page, five times a second while somebody watches."""

    def __init__(self, host: str, port: int, max_points: int, notice: FilePath | None = None) -> None:
        """Subscribe, and start the page; ``rclpy`` must be initialized.

        Args:
            host: address on which the page listens.
            port: its port; the next free one if it is taken.
            max_points: largest number of points of the map that are shown.
            notice: file that may appear and change meanwhile; see `ttt3r_ros.viewer.notice`.

        Raises:
            UserError: the page cannot be shown.
        """
        with creating_node():
            super().__init__("view", start_parameter_services=False)
        services = [service for row in _BUTTONS.values() for service in row.values()]
        self._callers: dict[str, Any] = {name: self.create_client(Trigger, f"ttt3r/{name}") for name in services}
        buttons = {
            label: {name: partial(self.call, service) for name, service in row.items()}
            for label, row in _BUTTONS.items()
        }
        self.page = LivePage(host, port, buttons)
        self._max_points = max_points
        self._notice = notice
        self._map = VoxelMap(_VOXEL_M, max(max_points, MIN_MAX_POINTS))
        self._bridge = CvBridge()
        self._new: dict[str, Any] = {}  # messages by topic: not yet shown, or the map's latest
        self._clouds: dict[int, PointCloud2] = {}
        self._poses: dict[int, FloatArray] = {}  # T_odom_base
        self._odom_frame = self._base_frame = ""
        self._points_frame = ""  # of the node's map
        self._camera_frame = ""
        self._path_size = 0
        self._sources: set[bytes] = set()  # identities of who publishes the path, also while its node is inactive
        self._intrinsics: Intrinsics | None = None
        self._corrected: Path | None = None  # what is shown
        self._graph: MarkerArray | None = None
        self._truth: EvenlySpaced[FloatArray] = EvenlySpaced(_TRUE_POINTS)
        self._true_poses: dict[int, FloatArray] = {}  # T_world_base
        self._true_span = (0, 0)  # first and last stamp of the truth, and of the poses while its player is there [ns]
        self._players: set[bytes] = set()  # identities of who publishes the truth
        self._is_truth_shown = False
        self._T_odom_world: FloatArray | None = None
        self._state: tuple[str, str, dict[str, str]] = ("warn", "waiting for the node", {})
        self._heard_at = 0.0
        self._node_map = NO_POINTS
        self._map_heard_at = 0.0
        self._node_has_map = False
        self._map_is_new = False  # or has not been shown as a whole
        self._tf = Buffer()
        self._tf_listener = TransformListener(self._tf, self)
        reliable = QoSProfile(depth=10)
        self._name = self.resolve_topic_name("ttt3r").lstrip("/")
        for kind, topic, react, qos in (
            (Odometry, f"ttt3r/{ODOM}", self._on_odometry, reliable),
            (Path, f"ttt3r/{PATH}", self._on_path, reliable),
            (PointCloud2, f"ttt3r/{POINT_CLOUD}", self._on_cloud, _DENSE),
            (Image, f"ttt3r/{RGB}", self._keep(RGB), _DENSE),
            (Image, f"ttt3r/{DEPTH}", self._keep(DEPTH), _DENSE),
            (CameraInfo, f"ttt3r/{DEPTH_INFO}", self._keep(DEPTH_INFO), _DENSE),
            (PointCloud2, f"ttt3r/{MAP_POINTS}", self._keep(MAP_POINTS), _LATCHED),
            (Path, f"ttt3r/{MAP_PATH}", self._keep(MAP_PATH), _LATCHED),
            (MarkerArray, f"ttt3r/{POSE_GRAPH}", self._keep(POSE_GRAPH), _LATCHED),
            (Odometry, TRUTH_TOPIC, self._on_truth, TRUTH_QOS),
            (DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable),
        ):
            self.create_subscription(kind, topic, react, qos)
        # on a steady clock, so that the page lives while a simulation is paused
        self.create_timer(PERIOD_S, self._update, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _keep(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            self._new[topic] = message
            if topic == MAP_POINTS:
                self._map_heard_at = time.monotonic()

        return keep

    def _on_odometry(self, message: Odometry) -> None:
        self._odom_frame, self._base_frame = message.header.frame_id, message.child_frame_id
        self._remember(self._poses, nanoseconds(message.header.stamp), matrix_from_pose(message.pose.pose))

    def _on_path(self, message: Path) -> None:
        if len(message.poses) < self._path_size:  # the node has started again, or its odometry has
            self._forget()
        self._path_size = len(message.poses)
        self._new[PATH] = message

    def _on_cloud(self, message: PointCloud2) -> None:
        self._camera_frame = message.header.frame_id
        self._remember(self._clouds, nanoseconds(message.header.stamp), message, size=4)

    def _on_truth(self, message: Odometry) -> None:
        self._notice_another_player()
        T_world_base, stamp_ns = matrix_from_pose(message.pose.pose), nanoseconds(message.header.stamp)
        first, last = self._true_span if len(self._truth) else (stamp_ns, stamp_ns)
        self._true_span = min(first, stamp_ns), max(last, stamp_ns)
        self._remember(self._true_poses, stamp_ns, T_world_base)
        self._truth.add(T_world_base[:3, 3] if self._truth.wants_next() else None)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == status_name(self._name):
                level = {b"\x00": "ok", b"\x01": "warn"}.get(bytes(status.level), "error")
                self._state = (level, status.message, {item.key: item.value for item in status.values})
                self._heard_at = time.monotonic()

    def _notice_a_restart(self) -> None:
        """Begin again if another node than before publishes the path."""
        if not (sources := self._who_publishes(f"ttt3r/{PATH}")):
            return
        if self._sources and not sources & self._sources:
            self._forget()
        self._sources = sources & self._sources or sources  # an old one may be listed beside the new one for a while

    def _notice_another_player(self) -> None:
        """Forget the truth if another player than before publishes one, or the node's images are of one without."""
        players = self._who_publishes(TRUTH_TOPIC)
        if players:
            is_another = bool(self._players) and not players & self._players
            self._players = players & self._players or players
        else:
            first, last = self._true_span
            is_another = bool(self._poses) and not first <= next(reversed(self._poses)) <= last + _LATE_NS
        if is_another and len(self._truth):
            self._truth = EvenlySpaced(_TRUE_POINTS)
            self._true_poses.clear()
            self._T_odom_world = None
        elif players and self._poses and len(self._truth):  # of some images a recording may have no truth
            first, last = self._true_span
            self._true_span = first, max(last, next(reversed(self._poses)))

    def _who_publishes(self, topic: str) -> set[bytes]:
        """Return the identities of who publishes a topic."""
        return {bytes(info.endpoint_gid) for info in self.get_publishers_info_by_topic(topic)}

    def _forget(self) -> None:
        """Begin again: what was known is in another frame than what is to come."""
        if time.monotonic() - self._map_heard_at > _FRESH_S:
            self._node_has_map = False
            self._new.pop(MAP_POINTS, None)
        self._new.pop(PATH, None)
        self._path_size = 0
        self._map.clear()
        self._map_is_new = True
        self._poses.clear()
        self._clouds.clear()
        self._T_odom_world = None
        self.page.begin_again()

    @staticmethod
    def _remember(known: dict[int, Any], stamp_ns: int, item: Any, *, size: int = _POSES) -> None:
        known.pop(stamp_ns, None)  # the newest is last, also where time jumps back
        known[stamp_ns] = item
        while len(known) > size:
            del known[next(iter(known))]

    def _update(self) -> None:
        """Grow the map, and show what is new to whoever watches."""
        self._notice_a_restart()
        self._notice_another_player()
        T_base_camera = self._mount()
        cloud = self._next_cloud(T_base_camera)
        if cloud is not None and not self._node_has_map:
            self._map.insert(cloud.positions, cloud.colors, cloud.confidences)
            self._map_is_new = True
        if not self.page.is_watched():
            return
        self._show_state()
        if (info := self._new.pop(DEPTH_INFO, None)) is not None:
            self._intrinsics = Calibration.from_message(info).camera(rectified=True).intrinsics
        if (depth := self._new.pop(DEPTH, None)) is not None:
            self.page.show_depth(_meters(self._bridge.imgmsg_to_cv2(depth)))
        if (path := self._new.pop(PATH, None)) is not None:
            self.page.show_path(_positions(path))
        if T_base_camera is not None and self._poses and self._intrinsics is not None:
            image = self._new.pop(RGB, None)
            self.page.show_camera(
                next(reversed(self._poses.values())) @ T_base_camera,
                self._intrinsics,
                None if image is None else self._bridge.imgmsg_to_cv2(image, "rgb8"),
                lost=self._state[2].get("state") == "lost",
            )
        if cloud is not None:
            self.page.show_cloud(cloud)
        self._show_map()
        self._show_corrected()
        self._show_truth()

    def _mount(self) -> FloatArray | None:
        """Return the (4, 4) mount of the camera, None while TF does not know it."""
        if not (self._base_frame and self._camera_frame):
            return None
        try:
            found = self._tf.lookup_transform(self._base_frame, self._camera_frame, Time())
        except TransformException:
            return None
        return matrix_from_transform(found.transform)

    def _next_cloud(self, T_base_camera: FloatArray | None) -> MapPoints | None:
        """Return the newest cloud that has a pose, in the odometry frame, and forget the older ones."""
        stamps = [stamp for stamp in self._clouds if stamp in self._poses]
        if T_base_camera is None or not stamps:
            return None
        newest = stamps[-1]
        points = thinned(points_of(self._clouds[newest]), _FRAME_POINTS)
        for stamp in list(self._clouds):
            del self._clouds[stamp]
            if stamp == newest:
                break
        return moved(points, self._poses[newest] @ T_base_camera)

    def stop(self) -> None:
        """Leave the page with a last word, and stop it."""
        level, message = read_notice(self._notice) or ("ended", "view has ended")
        self.page.stop(self._final_html(level, f"{message}; this page no longer changes"))

    def _show_state(self) -> None:
        if (notice := read_notice(self._notice)) is not None:
            self.page.show_state(self._final_html(*notice))
            return
        level, message, values = self._state
        silent_s = time.monotonic() - self._heard_at
        if self._heard_at and silent_s > _SILENCE_S:
            level, message = "error", f"the node {self._name} has been silent for {silent_s:.0f} s: is it running?"
        self.page.show_state(state_html(level, message, {"map_points": str(len(self._map)), **values}))

    def _final_html(self, level: str, message: str) -> str:
        """Return a sentence as HTML, and the node's figures but for those of the moment."""
        lasting = {key: value for key, value in self._state[2].items() if not key.endswith("_rate_hz")}
        return state_html(level, message, {"map_points": str(len(self._map)), **lasting})

    def _show_map(self) -> None:
        if (message := self._new.pop(MAP_POINTS, None)) is not None and (message.width or self._node_has_map):
            self._node_has_map = bool(message.width)  # an empty one is the last of a map that has been discarded
            self._map.clear()
            self._node_map = thinned(points_of(message), self._max_points)
            self._points_frame = message.header.frame_id
            self._map_is_new = True
        if self._map_is_new or self.page.wants_map():
            self._map_is_new = self.page.show_map(self._node_map if self._node_has_map else self._map.points())

    def _show_corrected(self) -> None:
        """Show what the map has corrected where the odometry is in it now, and nothing while nobody knows where."""
        path: Path | None = self._new.get(MAP_PATH)
        graph: MarkerArray | None = self._new.get(POSE_GRAPH)
        T_odom_map = None if path is None else self._T_odom_map(path.header.frame_id)
        if path is None or T_odom_map is None:
            path = graph = None
        else:
            is_in_map = self._node_has_map and self._points_frame == path.header.frame_id
            self.page.place(T_odom_map, points=is_in_map)
        if path is not self._corrected:
            self._corrected = path
            self.page.show_corrected(np.zeros((0, 3)) if path is None else _positions(path))
        if graph is not self._graph:
            self._graph = graph
            lines = {} if graph is None else {marker.ns: _lines(marker) for marker in graph.markers}
            self.page.show_places(*(lines.get(kind, np.zeros((0, 2, 3))) for kind in ("places", "rejected")))

    def _T_odom_map(self, map_frame: str) -> FloatArray | None:
        """Return the (4, 4) pose of the map's frame in the odometry's; None while it is unknown."""
        if not self._poses:
            return None
        try:
            found = self._tf.lookup_transform(self._odom_frame, map_frame, Time())
        except TransformException:
            return None
        age_ns = next(reversed(self._poses)) - nanoseconds(found.header.stamp)
        return matrix_from_transform(found.transform) if abs(age_ns) <= _OLD_NS else None

    def _show_truth(self) -> None:
        if self._T_odom_world is None:
            for stamp_ns, T_odom_base in self._poses.items():
                if (T_world_base := self._true_poses.get(stamp_ns)) is not None:
                    self._T_odom_world = T_odom_base @ inverse(T_world_base)
                    break
        T = self._T_odom_world
        if T is not None and len(self._truth) > 1:
            self.page.show_truth(np.array(list(self._truth)) @ T[:3, :3].T + T[:3, 3])
            self._is_truth_shown = True
        elif self._is_truth_shown and not len(self._truth):
            self.page.show_truth(np.zeros((0, 3)))
            self._is_truth_shown = False

    def call(self, service: str) -> str:
        """Call a service of the node from another thread than the executor's, and return its sentence.

        Raises:
            UserError: nobody answers, or the node cannot do it.
        """
        client = self._callers[service]
        if not client.service_is_ready():
            raise UserError(f"nobody offers {client.service_name}: is the node running?")
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_ANSWER_S):
            client.remove_pending_request(future)
            raise UserError(f"{client.service_name} has not answered for {_ANSWER_S:.0f} s")
        answer = future.result()
        if answer is None or not answer.success:
            raise UserError(answer.message if answer is not None else f"{client.service_name} has failed")
        self.get_logger().info(f"{client.service_name}: {answer.message}")
        return str(answer.message)


def _positions(path: Path) -> FloatArray:
    """Return the (N, 3) positions of a path."""
    return np.array([(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in path.poses]).reshape(-1, 3)


def _lines(marker: Marker) -> FloatArray:
    """Return the (N, 2, 3) lines of a list of lines."""
    points = [(point.x, point.y, point.z) for point in marker.points]
    return np.array(points[: len(points) // 2 * 2], np.float64).reshape(-1, 2, 3)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 stopped, 2 for a user error."""
    arguments = list(sys.argv if argv is None else argv)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    options = parse(_parser(), arguments[1:])
    with initialized(arguments):
        view = View(options.host, options.port, options.max_points, options.notice)
        try:
            _announce(view.page.url, options)
            _spin(view, stop)
        finally:
            view.stop()
            view.destroy_node()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "view",
        description="Show the node ttt3r in the browser: camera, path, cloud and map, state, and buttons for reset and"
        " save.",
        epilog="The page is on this machine only. From another one: ssh -L 8080:127.0.0.1:8080 ROBOT, then open"
        " http://127.0.0.1:8080 there. Remap names as usual: --ros-args -r __ns:=/robot1",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all networks (default %(default)s)")
    add(
        "--port",
        type=tcp_port,
        default=DEFAULT_PORT,
        help="TCP port; the next free one if it is taken (default %(default)s)",
    )
    add(
        "--max-points",
        type=at_least_one,
        default=500_000,
        metavar="N",
        help="points of the map to show at most; above that it becomes coarser (default %(default)s)",
    )
    add("--notice", type=FilePath, help=argparse.SUPPRESS)  # for who starts it as a part of something, as the demo does
    return parser


def _announce(url: str, options: argparse.Namespace) -> None:
    port = int(url.rpartition(":")[2])
    if options.port not in (0, port):
        print(f"port {options.port} is taken, perhaps by another viewer: this page is on port {port}")
    print(f"open {url}", flush=True)
    if "SSH_CONNECTION" in os.environ and options.host == "127.0.0.1":
        print(f"from your own machine: ssh -L {port}:127.0.0.1:{port} {os.uname().nodename}, then the same address")
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"whoever reaches {options.host} sees the camera and can press the buttons: there is no password")
    sys.stdout.flush()


def _spin(view: View, stop: threading.Event) -> None:
    """Run callbacks until stopped. One that fails is logged and does not stop the viewer."""
    executor = SingleThreadedExecutor()
    executor.add_node(view)
    failed = ""
    while not stop.is_set():
        try:
            executor.spin_once(timeout_sec=0.1)
        except Exception as error:
            sentence = f"an update failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
            if sentence != failed:  # once, since it may fail five times a second
                view.get_logger().error(sentence)
            failed = sentence


def _meters(depth: np.ndarray) -> np.ndarray:
    """Return a depth image in meters, NaN where there is none, from either encoding of REP-118."""
    if depth.dtype == np.uint16:
        return np.where(depth > 0, depth * np.float32(1e-3), np.float32("nan"))
    return depth


if __name__ == "__main__":
    sys.exit(main())
