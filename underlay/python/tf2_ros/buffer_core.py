"""The tree of frames: transforms in, transforms between any two frames out."""

from __future__ import annotations

import math
import threading

from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.history import LATEST, MovingHistory, Sample, StaticHistory
from tf2_ros.rigid import Rigid, normalized

MAX_DEPTH = 1000  # of the tree; a deeper one counts as a loop


class BufferCore:
    """Keeps the transforms of every frame for ``cache_time`` (10 s). Thread-safe."""

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._cache_time = (cache_time or Duration(seconds=10)).nanoseconds
        self._histories: dict[str, MovingHistory | StaticHistory] = {}
        self._frames: set[str] = set()
        self._lock = threading.RLock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform; rejects an invalid one with an error in the log."""
        self._insert(transform, authority, MovingHistory(self._cache_time))

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Adds a transform that is valid at all times."""
        self._insert(transform, authority, StaticHistory())

    def clear(self) -> None:
        """Removes all transforms that are not static."""
        with self._lock:
            for history in self._histories.values():
                history.clear()

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Time) -> TransformStamped:
        """Returns ``T_target_source`` at ``time``; a time of zero means the latest at which it is known.

        Raises:
            InvalidArgumentException, LookupException, ConnectivityException, ExtrapolationException
        """
        with self._lock:
            for argument, frame in (("target_frame", target_frame), ("source_frame", source_frame)):
                self._check_frame(argument, frame)
            stamp = time.nanoseconds
            if stamp == LATEST:
                stamp = self._latest_common_stamp(target_frame, source_frame)
            source_path, target_path = self._connect(target_frame, source_frame, stamp)
        return _to_message(target_frame, source_frame, stamp, _along(target_path).inverse() @ _along(source_path))

    def can_transform_core(self, target_frame: str, source_frame: str, time: Time) -> tuple[bool, str]:
        """Returns whether ``lookup_transform_core`` would succeed, and if not, why."""
        try:
            self.lookup_transform_core(target_frame, source_frame, time)
        except TransformException as error:
            return False, str(error)
        return True, ""

    def _insert(self, message: TransformStamped, authority: str, new_history: MovingHistory | StaticHistory) -> None:
        parent, child = message.header.frame_id.removeprefix("/"), message.child_frame_id.removeprefix("/")
        t, q = message.transform.translation, message.transform.rotation
        transform = Rigid((t.x, t.y, t.z), normalized((q.x, q.y, q.z, q.w)))
        fault = _fault(parent, child, transform)
        if not fault:
            stamp = Time.from_msg(message.header.stamp).nanoseconds
            with self._lock:
                self._frames |= {parent, child}
                if not self._histories.setdefault(child, new_history).insert(Sample(stamp, parent, transform)):
                    fault = f"TF_OLD_DATA ignoring data from the past for frame {child} at time {stamp / 1e9:.6f}"
        if fault:
            get_logger("tf2_buffer").error(f"{fault} (authority {authority})")

    def _check_frame(self, argument: str, frame: str) -> None:
        passed = f'"{frame}" passed to lookupTransform argument {argument}'
        if not frame:
            raise InvalidArgumentException(f"{passed} is invalid: frame_ids cannot be empty")
        if frame.startswith("/"):
            raise InvalidArgumentException(f"{passed} is invalid: tf2 frame_ids cannot start with a '/'")
        if frame not in self._frames:
            raise LookupException(f"{passed} does not exist. ")

    def _connect(self, target: str, source: str, stamp: int) -> tuple[list[Sample], list[Sample]]:
        """Returns the samples from ``source`` and from ``target`` up to their first common frame."""
        source_path, source_top, source_error = self._climb(source, stamp)
        target_path, target_top, target_error = self._climb(target, stamp)
        source_frames = [source, *(sample.parent for sample in source_path)]
        target_frames = [target, *(sample.parent for sample in target_path)]
        common = next((frame for frame in source_frames if frame in set(target_frames)), None)
        if common is None:
            error = source_error or target_error
            if error:
                raise ExtrapolationException(
                    f"{error}, when looking up transform from frame [{source}] to frame [{target}]"
                )
            raise ConnectivityException(
                f"Could not find a connection between '{target}' and '{source}' because they are not part of the "
                f"same tree. Tf has two or more unconnected trees (their tops are '{target_top}' and '{source_top}')."
            )
        return source_path[: source_frames.index(common)], target_path[: target_frames.index(common)]

    def _climb(self, frame: str, stamp: int) -> tuple[list[Sample], str, ExtrapolationException | None]:
        """Returns the samples from ``frame`` to the top, the top frame, and the error that ended the climb, if any."""
        path: list[Sample] = []
        while history := self._histories.get(frame):
            try:
                sample = history.at(stamp)
            except ExtrapolationException as error:
                return path, frame, error
            if sample is None:
                break
            path.append(sample)
            frame = sample.parent
            if len(path) > MAX_DEPTH:
                raise LookupException(f"The tf tree is invalid because it contains a loop: '{frame}' is above itself")
        return path, frame, None

    def _latest_common_stamp(self, target: str, source: str) -> int:
        """Returns the newest stamp at which every moving link between two frames is known; 0 if none moves."""
        if target == source:
            history = self._histories.get(source)
            return (history.latest_stamp() if history else None) or 0
        paths = self._connect(target, source, LATEST)
        frames = [
            child
            for frame, path in zip((source, target), paths)
            for child in [frame, *(sample.parent for sample in path)][: len(path)]
        ]
        stamps = [stamp for frame in frames if (stamp := self._histories[frame].latest_stamp()) is not None]
        return min(stamps, default=0)


def _fault(parent: str, child: str, transform: Rigid) -> str:
    """Returns why a transform is invalid, or an empty string."""
    if not child:
        return "TF_NO_CHILD_FRAME_ID: Ignoring transform because child_frame_id not set"
    if not parent:
        return f'TF_NO_FRAME_ID: Ignoring transform with child_frame_id "{child}" because frame_id not set'
    if parent == child:
        return f'TF_SELF_TRANSFORM: Ignoring transform with frame_id and child_frame_id "{child}"'
    if not all(map(math.isfinite, (*transform.translation, *transform.rotation))):
        return f'TF_NAN_INPUT: Ignoring transform for child_frame_id "{child}" because of a value that is no number'
    return ""


def _along(path: list[Sample]) -> Rigid:
    """Returns ``T_top_bottom`` of a path given bottom first."""
    result = Rigid()
    for sample in path:
        result = sample.transform @ result
    return result


def _to_message(parent: str, child: str, stamp: int, transform: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    message.header.frame_id, message.child_frame_id = parent, child
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = transform.translation
    q.x, q.y, q.z, q.w = transform.rotation
    return message
