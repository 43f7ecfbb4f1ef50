"""The accumulated map on ~/map_points, built and published in a separate thread, so that no frame waits for it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from ttt3r_ros.geometry import FloatArray, Intrinsics, unproject
from ttt3r_ros.mapping.cloud import POINT_DTYPE, Float32Array, masked_depth
from ttt3r_ros.mapping.voxel_map import NO_POINTS, MapPoints, VoxelMap
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.ros.conversions import cloud_message, nanoseconds
from ttt3r_ros.ros.notices import Notices
from ttt3r_ros.ros.parameters import Parameters
from ttt3r_ros.ros.topics import MAP_POINTS
from ttt3r_ros.stream.estimate import IMAGE, POINTS, Estimate

#: Minimum time between the stamps of two added frames [s], to avoid computing points of nearly the same view.
INSERT_PERIOD = 0.2
LISTEN_PERIOD = 0.2  #: time between two checks for subscribers while the map has not been published [s]


@dataclass(frozen=True)
class _Offer:
    """A frame for the map; `Estimate` describes the first four fields."""

    depth: Float32Array
    confidence: Float32Array
    image: npt.NDArray[np.uint8]
    intrinsics: Intrinsics
    T_odom_camera: FloatArray
    header: Header
    parameters: Parameters


@dataclass(frozen=True)
class _Views:
    """Keyframes to draw, with S_map_camera of each; `anew`: instead of the map so far."""

    views: tuple[tuple[Keyframe, Similarity], ...]
    header: Header
    parameters: Parameters
    anew: bool


class MapOutput:
    """Maintains the map while `publish_map` is true, and publishes it when it has changed and has subscribers.

    It is made of frames in the odometry's frame (`wanted`, `offer`), or drawn from the keyframes of a map of places in
    the map's (`draw`). A frame that arrives while another one waits to be added is skipped, a keyframe is not. All
    methods are thread-safe.
    """

    def __init__(self, node: Node, notices: Notices, parameters: Parameters) -> None:
        self._node, self._notices, self._parameters = node, notices, parameters
        # latched, so that late subscribers get the last map even after the camera has stopped
        self._publisher = node.create_publisher(
            PointCloud2,
            f"~/{MAP_POINTS}",
            QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._changed = threading.Condition()  # guards the following fields; never held for long
        self._offer: _Offer | None = None
        self._views: list[_Views] = []
        self._last_stamp: int | None = None  # of the last frame passed to the thread [ns]
        self._due_stamp: int | None = None  # of the requested frame [ns]
        self._generation = 0  # counts calls of clear
        self._closed = False
        self._map_in_use = threading.Lock()  # guards the following fields; held while a frame is added
        self._map: VoxelMap | None = None
        self._map_generation = 0
        self._settings: tuple[float, int] | None = None
        self._header = Header(frame_id=parameters.map_frame if parameters.publish_map_frame else parameters.odom_frame)
        self._is_published = True
        self._published_at = -np.inf
        self._thread = threading.Thread(target=self._run, name="map", daemon=True)
        self._thread.start()

    def wanted(self, header: Header, parameters: Parameters) -> set[str]:
        """Return the outputs that the network must compute for the map from the frame with this header."""
        self._parameters = parameters
        if not parameters.publish_map:
            if self._last_stamp is not None:
                self.clear()
            return set()
        stamp = nanoseconds(header.stamp)
        with self._changed:
            since = np.inf if self._last_stamp is None else (stamp - self._last_stamp) * 1e-9
            is_due = self._offer is None and not 0 <= since < INSERT_PERIOD  # also if time went back
            self._due_stamp = stamp if is_due else None
        return {POINTS, IMAGE} if is_due else set()

    def offer(self, estimate: Estimate, T_odom_camera: FloatArray, header: Header, parameters: Parameters) -> None:
        """Pass a frame to the map's thread; it is skipped if `wanted` did not request it.

        Args:
            estimate: of the frame; its arrays must not be modified afterward.
            T_odom_camera: (4, 4) pose of the camera.
            header: the frame's stamp and the odometry frame.
            parameters: that apply to the frame.
        """
        depth, confidence, image = estimate.depth, estimate.confidence, estimate.image
        if depth is None or confidence is None or image is None or estimate.intrinsics is None:
            return
        with self._changed:
            if parameters.publish_map and self._due_stamp == nanoseconds(header.stamp):
                self._offer = _Offer(depth, confidence, image, estimate.intrinsics, T_odom_camera, header, parameters)
                self._last_stamp = self._due_stamp
                self._changed.notify()

    def draw(
        self, views: Sequence[tuple[Keyframe, Similarity]], header: Header, parameters: Parameters, *, anew: bool
    ) -> None:
        """Draw keyframes at their poses in the map.

        Args:
            views: keyframes, with S_map_camera of each.
            header: the last frame's stamp and the map's frame.
            parameters: that apply.
            anew: draw them instead of the map so far.
        """
        with self._changed:
            self._parameters = parameters
            if anew:
                self._views.clear()
            self._views.append(_Views(tuple(views), header, parameters, anew))
            self._changed.notify()

    def clear(self) -> None:
        """Discard the map and any waiting frame."""
        with self._changed:
            self._views.clear()
            self._offer, self._last_stamp, self._due_stamp = None, None, None
            self._generation += 1
            self._changed.notify()

    def points(self) -> MapPoints | None:
        """Return a copy of the map; None if there is none."""
        with self._map_in_use:
            return None if self._map is None or self._map_generation != self._generation else self._map.points()

    def facts(self) -> dict[str, str]:
        """Return the map's entries for the diagnostics."""
        kept = self._map
        return {} if kept is None else {"map_points": str(len(kept)), "map_voxel_size": f"{kept.voxel_size:g}"}

    def stop(self, timeout: float = 1.0) -> bool:
        """Stop the thread; wait at most the timeout [s]; return whether it has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                if (
                    self._offer is None
                    and not self._views
                    and not self._closed
                    and self._generation == self._map_generation
                ):
                    self._changed.wait(None if self._is_published else max(LISTEN_PERIOD, self._until_due()))
                if self._closed:
                    return
                offer, self._offer = self._offer, None
                views = self._views.pop(0) if self._views else None
                generation = self._generation
            message = None
            if views is not None and views.anew:
                self._draw_anew(views, generation)
                views = None
            with self._map_in_use:
                try:
                    self._obey(generation)
                    if offer is not None:
                        self._insert(offer)
                    if views is not None and self._map is not None:
                        self._add(self._map, views)
                    message = self._message()
                except Exception as error:  # mostly out of memory
                    self._map = None
                    self._say(error)
            if message is not None:
                try:
                    self._publisher.publish(message)
                except Exception as error:  # for example while the node shuts down
                    self._say(error)

    def _obey(self, generation: int) -> None:
        """Discard the map if it has been cleared."""
        if generation != self._map_generation:
            self._map_generation = generation
            if self._map is not None:
                self._map, self._is_published = None, False

    def _draw_anew(self, views: _Views, generation: int) -> None:
        """Replace the map, without holding up those who want the old one meanwhile."""
        try:
            fresh = VoxelMap(views.parameters.map_voxel_size, views.parameters.map_max_points)
            for view in views.views:
                if self._closed or generation != self._generation or any(other.anew for other in list(self._views)):
                    return
                self._add(fresh, replace(views, views=(view,)))
        except Exception as error:  # mostly out of memory
            self._say(error)
            return
        with self._map_in_use:
            self._map, self._map_generation, self._is_published = fresh, generation, False
            self._header = views.header

    def _add(self, voxel_map: VoxelMap, views: _Views) -> None:
        parameters = views.parameters
        for keyframe, S_map_camera in views.views:
            points, colors, confidences = keyframe.colored_points(
                min_confidence=parameters.min_confidence, max_depth=parameters.max_depth
            )
            voxel_map.insert(S_map_camera.apply(points.astype(np.float64)).astype(np.float32), colors, confidences)
        self._header, self._is_published = views.header, False

    def _insert(self, offer: _Offer) -> None:
        parameters = offer.parameters
        settings = (parameters.map_voxel_size, parameters.map_max_points)
        if self._map is None or self._settings != settings:
            self._map, self._settings = VoxelMap(*settings), settings
        depth = masked_depth(
            offer.depth, offer.confidence, min_confidence=parameters.min_confidence, max_depth=parameters.max_depth
        )
        seen, before = np.isfinite(depth), self._map.voxel_size
        R, t = offer.T_odom_camera[:3, :3].astype(np.float32), offer.T_odom_camera[:3, 3].astype(np.float32)
        points_camera = unproject(depth, offer.intrinsics)[seen]
        self._map.insert(points_camera @ R.T + t, offer.image[seen], offer.confidence[seen])
        self._header, self._is_published = offer.header, False
        if self._map.voxel_size != before:
            self._notices.info(
                f"the map is full with {parameters.map_max_points} points (map_max_points): its voxel size is now "
                f"{self._map.voxel_size:g} m"
            )

    def _message(self) -> PointCloud2 | None:
        """Return the map as a message if one is due, else None."""
        if self._is_published or self._until_due() > 0 or not self._publisher.get_subscription_count():
            return None
        self._is_published, self._published_at = True, time.monotonic()
        return map_message(NO_POINTS if self._map is None else self._map.points(), self._header)

    def _until_due(self) -> float:
        """Return the time until the map may be published again [s]."""
        return max(0.0, self._published_at + self._parameters.map_period - time.monotonic())

    def _say(self, error: Exception) -> None:
        if self._node.context.ok():
            self._notices.error(f"the map failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})")
            self._node.get_logger().debug(traceback.format_exc())


def map_message(points: MapPoints, header: Header) -> PointCloud2:
    """Return a map as an unorganized cloud with the same fields as ~/points."""
    cloud = np.empty((1, len(points.positions)), dtype=POINT_DTYPE)
    cloud["x"], cloud["y"], cloud["z"] = points.positions.T[:, None]
    red, green, blue = points.colors.T.astype(np.uint32)
    cloud["rgb"] = red << 16 | green << 8 | blue
    cloud["confidence"] = points.confidences
    message = cloud_message(cloud, header)
    message.is_dense = True
    return message
