"""The map of places in the node: map -> odom, what RViz shows of the map, and its accumulated points.

Everything runs in the pipeline's thread. A frame's transform is looked up before it is published, the frame is taken in
after that, and all else is work for the time until the next image, one piece after the other. Only the graph is solved
elsewhere, in a process of its own (docs/adr/0048).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, inverse
from ttt3r_ros.places.content import MapContent
from ttt3r_ros.places.place_map import PlaceMap
from ttt3r_ros.places.settings import MapSettings as PlaceSettings
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.solver import SolverProcess
from ttt3r_ros.ros.conversions import fill_pose, pose_message, time_message
from ttt3r_ros.ros.map_output import MapOutput
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.topics import LOCALIZATION_POSE, MAP_PATH, POSE_GRAPH
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import CovarianceModel
from ttt3r_ros.stream.estimate import DESCRIPTOR, POINTS, Float32Array
from ttt3r_ros.stream.stream import CameraFrame, StreamResult

TOPICS = {LOCALIZATION_POSE: PoseWithCovarianceStamped, MAP_PATH: Path, POSE_GRAPH: MarkerArray}

SHOW_PERIOD_S = 1.0  #: between two paths or graphs: filling a message with thousands of points takes milliseconds
REDRAW_PERIOD_S = 5.0  #: between two maps of points that are drawn anew from all keyframes
#: A correction is drawn where it moves what a keyframe sees at this distance [m] by more than a voxel.
SEEN_AT_M = 2.0
MIN_HINT_SIGMA_M = 0.5  #: people point at a place no more exactly

#: RGBA of the graph's parts, and the widths of its lines and nodes [m].
_NODES, _ODOMETRY = (0.2, 0.6, 1.0, 1.0), (0.2, 0.6, 1.0, 0.8)
_PLACES, _REJECTED = (0.1, 0.9, 0.2, 1.0), (1.0, 0.2, 0.1, 1.0)
_NODE_M, _LINE_M = 0.06, 0.02


class Localization:
    """Holds the map of places and publishes what it says. Only `facts` may be called from other threads.

    Attributes:
        places: the map itself.
    """

    def __init__(
        self,
        node: Node,
        notices: Notices,
        parameters: Parameters,
        backbone: Backbone,
        covariance: CovarianceModel | None,
        drawn: MapOutput,
        on_work: Callable[[], object],
    ) -> None:
        """Begin with an empty map.

        Args:
            node: to publish with.
            notices: to log with.
            parameters: to begin with.
            backbone: the stream's; used only in `work`.
            covariance: how odometry's errors grow.
            drawn: the accumulated points, which are drawn from the keyframes.
            on_work: called from another thread when there is work that has waited for that thread.

        Raises:
            UserError: GTSAM is not installed, or is too old.
        """
        self._solver, self._helper = SolverProcess(on_work), _Helper(on_work)
        self.places = PlaceMap(
            backbone,
            PlaceSettings.of(parameters),
            covariance=covariance,
            executor=self._solver,
            helper=self._helper,
        )
        self._notices, self._parameters, self._drawn = notices, parameters, drawn
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._publishers: dict[str, Publisher] = {
            name: node.create_publisher(
                kind,
                f"~/{name}",
                QoSProfile(depth=10) if name == LOCALIZATION_POSE else latched,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for name, kind in TOPICS.items()
        }
        #: Poses of the odometry are given to the map in the axes that it had when its track began.
        self._T_track_odom = np.eye(4)
        self._T_odom_base: FloatArray | None = None
        self._mounts: dict[int, FloatArray] = {}  # T_camera_base by the stamps of keyframes
        self._begins = True  # no keyframe has been made of this track
        self._header = Header(frame_id=parameters.map_frame)
        self._shown: dict[str, tuple[object, float]] = {}  # what is published of each topic, and since when
        self._views: dict[int, FloatArray] = {}  # by number, where the keyframes that are drawn look
        self._drawing: tuple[tuple[int, ...], float, int] | None = None  # what is drawn: version, and how
        self._redrawn_at, self._is_moved = -math.inf, False
        self._solved, self._solved_at, self._unsolved = 0, -math.inf, 0
        self._facts: dict[str, str] = {}
        self._note()

    # before and after a frame is published

    def wanted(self) -> set[str]:
        """Return the outputs that the network must compute for the map from the next frame."""
        # without a calibration there are no intrinsics before the first points
        return {DESCRIPTOR, POINTS} if self._begins else {DESCRIPTOR}

    def T_map_odom(self, T_odom_camera: FloatArray) -> FloatArray | None:
        """Return the (4, 4) transform for a frame of the camera at this pose; None while it is unknown."""
        T_map_track = self.places.T_map_odom(self._T_track_odom @ T_odom_camera)
        return None if T_map_track is None else T_map_track @ self._T_track_odom

    def publish_pose(self, T_map_odom: FloatArray, T_odom_base: FloatArray, stamp: object) -> None:
        """Publish where the robot is in the map."""
        header = Header(stamp=stamp, frame_id=self._parameters.map_frame)
        message = PoseWithCovarianceStamped(header=header)
        fill_pose(message.pose.pose, T_map_odom @ T_odom_base)
        position, rotation = self.places.uncertainty
        message.pose.covariance = np.diag(np.repeat([position**2, rotation**2], 3)).ravel().tolist()
        self._publishers[LOCALIZATION_POSE].publish(message)

    def take(
        self,
        frame: CameraFrame,
        result: StreamResult,
        points: Callable[[], tuple[Float32Array, Float32Array] | None],
        parameters: Parameters,
    ) -> None:
        """Take in a frame that has been published; see `PlaceMap.add`."""
        self._parameters = parameters
        if result.motion is None:
            return
        self._header = Header(stamp=time_message(result.stamp_ns), frame_id=parameters.map_frame)
        self._T_odom_base = result.motion.T_odom_base
        motion = replace(result.motion, T_odom_base=self._T_track_odom @ self._T_odom_base)
        if self.places.add(frame, replace(result, motion=motion), points):
            self._mounts[result.stamp_ns] = inverse(frame.T_base_camera)
            self._forget_mounts()
            self._begins = False
        self._note()

    # between frames

    def work(self) -> bool:
        """Do a piece of work, as long as a step of the network at most; return whether there may be more."""
        try:
            is_more = self.places.work()
            self._note()
            return is_more or self._draw() or self._show()
        except Exception as error:
            self._notices.error(f"the map failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})")
            return False

    def start_track(self) -> None:
        """Say that the next frame's pose has nothing to do with the poses before."""
        self.places.start_track()
        self._T_track_odom, self._T_odom_base, self._begins = np.eye(4), None, True

    def rename(self, T_new_old: FloatArray, T_base_camera: FloatArray | None = None) -> None:
        """Say that the odometry's frame is another one from now on, in which the former one has this (4, 4) pose.

        Args:
            T_new_old: the pose.
            T_base_camera: where the camera has been mounted all the time, if that is why. The map was then made with
                axes that are not level, and follows, unless it comes from a file.
        """
        T_map_odom = None if self._T_odom_base is None else self.T_map_odom(self._T_odom_base)
        self._T_track_odom = self._T_track_odom @ inverse(T_new_old)
        if T_base_camera is None:
            return
        self._mounts = dict.fromkeys(self._mounts, inverse(T_base_camera))
        if T_map_odom is not None and not self.places.is_from_file:
            self.places.move_axes(T_map_odom @ T_new_old @ inverse(T_map_odom))

    def load(self, content: MapContent) -> None:
        """Go on with a map from a file; the odometry has no place in it before it has recognized one."""
        self.places.load(content)
        self._drawing, self._views = None, {}
        self._note()

    def content(self) -> MapContent:
        """Return what is to be saved.

        Raises:
            UserError: there is nothing.
        """
        content = self.places.lasting()
        if not content.keyframes:
            raise UserError("there is no map to save: it has no keyframe yet")
        return content

    def take_hint(self, T_map_base: FloatArray, sigma: float) -> None:
        """Look for the robot near this (4, 4) pose with this standard deviation [m].

        Raises:
            UserError: there is no map yet.
        """
        T_base_odom = np.eye(4) if self._T_odom_base is None else inverse(self._T_odom_base)
        T_map_track = T_map_base @ T_base_odom @ inverse(self._T_track_odom)
        self.places.take_hint(T_map_track, max(sigma, MIN_HINT_SIGMA_M))

    def facts(self) -> dict[str, str]:
        """Return the map's entries for the diagnostics."""
        facts = dict(self._facts)
        if self._solved:
            facts["map_solved_ago_s"] = f"{time.monotonic() - self._solved_at:.0f}"
            facts["map_solution_s"] = f"{self._solver.seconds:.2f}"
        return facts

    def stop(self) -> None:
        """End the graph's process and the helper."""
        self._solver.shutdown(wait=False)
        self._helper.shutdown(wait=False, cancel_futures=True)

    def _note(self) -> None:
        """Log what has happened, and note it for the diagnostics."""
        counts, correction = self.places.counts, self.places.correction
        say = self._notices.info if counts.unsolved == self._unsolved else self._notices.warn
        for event in self.places.events():
            say(event)
        if counts.solved != self._solved:
            self._solved, self._solved_at = counts.solved, time.monotonic()
        self._unsolved = counts.unsolved
        self._facts = {
            "map_keyframes": str(self.places.size),
            "map_keyframes_skipped": str(counts.skipped),
            "map_localized": "yes" if self.places.is_localized else "no",
            "map_places_accepted": str(counts.accepted),
            "map_places_rejected": str(self.places.rejected),
            "map_places_refused": "; ".join(f"{count} {why}" for why, count in counts.refused.items()),
        }
        if correction is not None:
            self._facts["map_correction"] = (
                f"{correction.meters:.3f} m, {math.degrees(correction.radians):.2f} deg, scale {correction.scale:.4f}"
            )

    def _forget_mounts(self) -> None:
        """Forget those of keyframes that have been dropped, once they are the most."""
        if len(self._mounts) > 2 * self.places.size:
            kept = {keyframe.stamp_ns for keyframe in self.places.content().keyframes}
            self._mounts = {stamp: mount for stamp, mount in self._mounts.items() if stamp in kept}

    # what is shown

    def _show(self) -> bool:
        """Publish the path or the graph if it is due; return whether that took time."""
        state = (self.places.version, self._header.frame_id)
        for name, message in ((MAP_PATH, self._path_message), (POSE_GRAPH, self._graph_message)):
            shown, since = self._shown.get(name, (None, -math.inf))
            is_due = shown != state and time.monotonic() >= since + SHOW_PERIOD_S
            if is_due and self._publishers[name].get_subscription_count():
                self._publishers[name].publish(message())
                self._shown[name] = state, time.monotonic()
                return True
        return False

    def _path_message(self) -> Path:
        content = self.places.content()
        inside = set(content.connected)
        poses: list[PoseStamped] = []
        for keyframe, pose in zip(content.keyframes, content.poses, strict=True):
            mount = self._mounts.get(keyframe.stamp_ns)
            if keyframe.track == content.keyframes[-1].track and keyframe.number in inside and mount is not None:
                header = Header(stamp=time_message(keyframe.stamp_ns), frame_id=self._header.frame_id)
                poses.append(pose_message(pose.rigid @ mount, header))
        return Path(header=self._header, poses=poses)

    def _graph_message(self) -> MarkerArray:
        content = self.places.content()
        inside = set(content.connected)
        points = {
            keyframe.number: Point(x=x, y=y, z=z)
            for keyframe, pose in zip(content.keyframes, content.poses, strict=True)
            for x, y, z in [pose.t.tolist()]
            if keyframe.number in inside
        }
        lines: dict[str, list[Point]] = {"odometry": [], "places": [], "rejected": []}
        for index, edge in enumerate(content.edges):
            if edge.first not in points or edge.second not in points:
                continue
            kind = "rejected" if index in content.rejected else "places" if edge.is_place else "odometry"
            lines[kind] += [points[edge.first], points[edge.second]]
        colors = {"odometry": _ODOMETRY, "places": _PLACES, "rejected": _REJECTED}
        markers = [self._marker("keyframes", Marker.POINTS, list(points.values()), _NODES, _NODE_M)]
        markers += [self._marker(kind, Marker.LINE_LIST, lines[kind], colors[kind], _LINE_M) for kind in lines]
        return MarkerArray(markers=markers)

    def _marker(
        self, name: str, kind: int, points: list[Point], color: tuple[float, float, float, float], width: float
    ) -> Marker:
        marker = Marker(header=self._header, ns=name, type=kind, points=points)
        marker.action = Marker.ADD if points else Marker.DELETE  # RViz complains of a marker without points
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = width
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = color
        return marker

    def _draw(self) -> bool:
        """Draw new keyframes into the map of points, or all where a correction has moved them; return whether it did.

        The keyframes are drawn in the map's own thread.
        """
        parameters, before = self._parameters, self._drawing
        if not parameters.publish_map:
            if before is not None:
                self._drawn.clear()
                self._drawing, self._views = None, {}
            return False
        wanted = (self.places.version, parameters.map_voxel_size, parameters.map_max_points)
        if wanted == before or (self._is_moved and time.monotonic() < self._redrawn_at + REDRAW_PERIOD_S):
            return False
        content = self.places.content()
        inside = set(content.connected)
        placed = {k.number: (k, S) for k, S in zip(content.keyframes, content.poses, strict=True) if k.number in inside}
        views = {number: _seen_point(S) for number, (_, S) in placed.items()}
        moved = max((float(np.linalg.norm(views[n] - at)) for n, at in self._views.items() if n in views), default=0.0)
        is_anew = before is None or before[1:] != wanted[1:]
        self._is_moved = moved > parameters.map_voxel_size
        if self._is_moved and not is_anew and time.monotonic() < self._redrawn_at + REDRAW_PERIOD_S:
            return True
        if is_anew or self._is_moved:
            self._drawn.draw(list(placed.values()), self._header, parameters, anew=True)
            self._redrawn_at, self._is_moved, self._views = time.monotonic(), False, views
        else:
            new = [item for number, item in placed.items() if number not in self._views]
            self._drawn.draw(new, self._header, parameters, anew=False)
            self._views = {number: self._views.get(number, at) for number, at in views.items()}
        self._drawing = wanted
        return True


class _Helper(ThreadPoolExecutor):
    """A thread for what OpenCV does without the interpreter's lock."""

    def __init__(self, on_done: Callable[[], object]) -> None:
        super().__init__(1, "features")
        self._on_done = on_done

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function with these arguments, and call back when it is done."""
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._on_done())
        return future


def _seen_point(S_map_camera: Similarity) -> FloatArray:
    """Return a point in front of the camera, which moves if the camera turns or its meters change."""
    return S_map_camera.t + S_map_camera.scale * SEEN_AT_M * S_map_camera.R[:, 2]
