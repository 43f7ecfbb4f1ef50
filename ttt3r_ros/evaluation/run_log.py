"""What a subscriber received from the node during one run, without ROS."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ttt3r_ros.errors import UserError
from ttt3r_ros.evaluation.metrics import Trajectory, TrajectoryError, compare_trajectories
from ttt3r_ros.geometry import FloatArray, Intrinsics, inverse, unproject

T = TypeVar("T")


class EvenlySpaced(Generic[T]):
    """Keeps a bounded number of items from an endless sequence, evenly spaced over all items so far.

    When it is full, it drops every second item and from then on takes half as many.
    """

    def __init__(self, capacity: int) -> None:
        """Keep at most ``capacity`` (>= 2) items."""
        self._capacity = capacity
        self._items: list[T] = []
        self._seen = 0
        self._stride = 1

    @classmethod
    def resumed(cls, capacity: int, items: Iterable[T], seen: int) -> EvenlySpaced[T]:
        """Return one that holds these items out of ``seen``, to continue where another stopped."""
        kept = cls(capacity)
        kept._items, kept._seen = list(items), seen
        while -(-seen // kept._stride) > capacity:
            kept._stride *= 2
        return kept

    @property
    def seen(self) -> int:
        """Number of items so far, kept or not."""
        return self._seen

    def wants_next(self) -> bool:
        """Return whether the next item will be kept; if not, the caller need not prepare it."""
        full = len(self._items) == self._capacity
        return self._seen % (2 * self._stride if full else self._stride) == 0

    def add(self, item: T | None) -> None:
        """Add the next item; it may be None if `wants_next` is false."""
        wanted = self.wants_next()
        if self._seen % self._stride == 0 and len(self._items) == self._capacity:
            self._items = self._items[::2]
            self._stride *= 2
        if wanted:
            assert item is not None
            self._items.append(item)
        self._seen += 1

    def __iter__(self) -> Iterator[T]:
        """Yield the kept items in order."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of kept items."""
        return len(self._items)


@dataclass(frozen=True)
class Moment:
    """All outputs of one frame.

    Attributes:
        stamp_ns: of the frame.
        rgb: (H, W, 3) uint8, the network's input.
        depth: (H, W) float32, meters, NaN where invalid.
        confidence: (H, W) float32, >= 1.
        true_depth: (H, W) float32 at the same pixels, None if unknown.
        points_odom: (N, 3) float32, meters, odometry frame, finite.
        colors: (N, 3) uint8, RGB.
        point_confidence: (N,) float32, >= 1.
        intrinsics: of all these images.
        T_odom_camera: (4, 4) pose of the camera, in its optical frame.
    """

    stamp_ns: int
    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    true_depth: npt.NDArray[np.float32] | None
    points_odom: npt.NDArray[np.float32]
    colors: npt.NDArray[np.uint8]
    point_confidence: npt.NDArray[np.float32]
    intrinsics: Intrinsics
    T_odom_camera: FloatArray

    def confident(self, share: float) -> npt.NDArray[np.intp]:
        """Return the indices of this share of the points, the most confident."""
        if not len(self.points_odom):
            return np.empty(0, np.intp)
        return np.flatnonzero(self.point_confidence >= np.quantile(self.point_confidence, 1.0 - share))


@dataclass
class Paths:
    """The estimated path of a run, and the true one.

    Attributes:
        poses: ``T_odom_base`` by stamp [ns].
        true_poses: ``T_world_base`` by stamp [ns]; empty without ground truth.
    """

    poses: dict[int, FloatArray] = field(default_factory=dict)
    true_poses: dict[int, FloatArray] = field(default_factory=dict)

    def trajectory(self) -> Trajectory:
        """Return the estimated trajectory of the base frame in the odometry frame."""
        return Trajectory.from_transforms(list(self.poses), list(self.poses.values()))

    def ground_truth(self) -> Trajectory:
        """Return the true trajectory of the base frame in the world."""
        return Trajectory.from_transforms(list(self.true_poses), list(self.true_poses.values()))

    def error(self, estimate: Trajectory | None = None) -> TrajectoryError | None:
        """Return the error of an estimate, by default `trajectory`; None without truth, or too little to compare."""
        if not self.true_poses:
            return None
        try:
            return compare_trajectories(self.trajectory() if estimate is None else estimate, self.ground_truth())
        except UserError:
            return None

    def length(self, error: TrajectoryError | None) -> float:
        """Return the length of the true path, or, where there is no error, of the estimate; NaN without a pose [m]."""
        return error.path_length_m if error else self.trajectory().path_length() if self.poses else math.nan


@dataclass
class RunLog(Paths):
    """One run: every pose, a bounded number of complete moments, the latest diagnostics.

    Attributes:
        latencies_ms: from the image's stamp to the odometry's arrival, per frame.
        depth_errors: mean relative depth error (AbsRel) per frame with true depth.
        moments: complete frames, spread over the run.
        diagnostics: the latest keys and values from the node.
    """

    latencies_ms: list[float] = field(default_factory=list)
    depth_errors: list[float] = field(default_factory=list)
    moments: EvenlySpaced[Moment] = field(default_factory=lambda: EvenlySpaced(48))
    diagnostics: dict[str, str] = field(default_factory=dict)

    def T_odom_world(self) -> FloatArray | None:
        """Return the (4, 4) transform that puts the ground truth into the odometry frame: there, both start together.

        None without a true pose at the stamp of an estimated one.
        """
        for stamp_ns in sorted(self.poses.keys() & self.true_poses.keys()):
            return self.poses[stamp_ns] @ inverse(self.true_poses[stamp_ns])
        return None

    def true_points(self, moment: Moment) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]] | None:
        """Return what a camera with exact depth and poses would have seen.

        Args:
            moment: of this recording.

        Returns:
            (N, 3) float32 points in the odometry frame [m] and their (N, 3) uint8 RGB colors; None if unknown.
        """
        T_odom_world, T_world_base = self.T_odom_world(), self.true_poses.get(moment.stamp_ns)
        if T_odom_world is None or T_world_base is None or moment.true_depth is None:
            return None
        T_base_camera = inverse(self.poses[moment.stamp_ns]) @ moment.T_odom_camera
        T = (T_odom_world @ T_world_base @ T_base_camera).astype(np.float32)
        seen = np.isfinite(moment.true_depth)
        points = unproject(moment.true_depth, moment.intrinsics)[seen]
        return points @ T[:3, :3].T + T[:3, 3], moment.rgb[seen]
