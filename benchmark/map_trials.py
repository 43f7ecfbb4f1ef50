"""Is a camera found again that was carried away unseen, or starts in a saved map? On walks that a stream has taken."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmark.streamed_walk import StreamedFrame, StreamedWalk
from benchmark.walk import Walk
from ttt3r_ros.geometry import T_BASE_CAMERA, FloatArray, inverse, rotation_vector
from ttt3r_ros.places.place_map import PlaceMap
from ttt3r_ros.stream.backbone import Backbone

#: A camera here, relative to an earlier one, is back at its place [m, rad].
BACK_M, BACK_RAD = 1.0, 0.44
#: A camera is somewhere else than it is said to be if the relative pose is off by more than this [m, rad].
FALSE_M, FALSE_RAD = 2.0, 0.6
#: The map is made of this share of the walk; a camera is carried for so long, and watched for so long [s].
MAPPED, CARRIED_S, WATCHED_S = 0.6, 10.0, 20.0
#: It is put down at least this far from where it was taken up [m].
APART_M = 2.0


@dataclass(frozen=True)
class Trial:
    """One camera put down in a known room.

    Attributes:
        kind: "kidnapped" in the middle of a stream, or "restarted" in a saved map.
        frame: where it was put down.
        found_s: time until its place in the map was known again [s]; None if it was not, in `WATCHED_S`.
        error: by how much its pose relative to the nearest place of the map is off then [m, rad]; None if it was not.
    """

    kind: str
    frame: int
    found_s: float | None
    error: tuple[float, float] | None

    @property
    def is_wrong(self) -> bool:
        """Whether it was found in another place than it is."""
        return self.error is not None and (self.error[0] > FALSE_M or self.error[1] > FALSE_RAD)


def difference(true: FloatArray, found: FloatArray) -> tuple[float, float]:
    """Return by how much two (4, 4) poses differ [m, rad]."""
    turned = float(np.linalg.norm(rotation_vector(found[:3, :3].T @ true[:3, :3])))
    return float(np.linalg.norm(true[:3, 3] - found[:3, 3])), turned


def is_back(walk: Walk, old: int, new: int) -> bool:
    """Return whether a frame shows what an earlier one has shown."""
    meters, radians = difference(walk.T_world_camera[old], walk.T_world_camera[new])
    return meters < BACK_M and radians < BACK_RAD


def feed(place_map: PlaceMap, frame: StreamedFrame) -> None:
    """Give a frame to a map, and let it do all its work."""
    place_map.add(frame.frame, frame.result, frame.dense)
    while place_map.work():
        pass


def trials(streamed: StreamedWalk, backbone: Backbone, count: int) -> list[Trial]:
    """Map the first part of a walk, and put a camera down in it so many times in either way."""
    walk = streamed.walk
    taken_up = round(MAPPED * walk.spec.frames)
    known = PlaceMap(backbone)
    for frame in streamed.frames(0, taken_up):
        feed(known, frame)
    known.finish()
    stamps = {stamp: index for index, stamp in enumerate(walk.stamps_ns)}
    seen = [stamps[k.stamp_ns] for k in known.content().keyframes]
    last = walk.spec.frames - round(WATCHED_S / 2 * walk.spec.fps)
    places = [
        index
        for index in range(taken_up, last, 5)
        if difference(walk.T_world_camera[taken_up - 1], walk.T_world_camera[index])[0] > APART_M
        and any(is_back(walk, old, index) for old in seen)
    ]
    found = []
    for index in (places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)):
        kidnapped = copy.deepcopy(known, {id(backbone): backbone})
        found.append(_trial("kidnapped", streamed, kidnapped, taken_up, index))
        restarted = PlaceMap(backbone)
        restarted.load(known.content())
        restarted.start_track()
        found.append(_trial("restarted", streamed, restarted, taken_up, index))
    return found


def _trial(kind: str, streamed: StreamedWalk, place_map: PlaceMap, taken_up: int, put_down: int) -> Trial:
    walk = streamed.walk
    before = place_map.counts.accepted
    for frame in _put_down(streamed, taken_up, put_down):
        feed(place_map, frame)
        if place_map.counts.accepted > before if kind == "kidnapped" else place_map.is_localized:
            place_map.finish()
            seconds = (frame.index - put_down) / walk.spec.fps
            return Trial(kind, put_down, seconds, error_of(walk, place_map, taken_up, put_down))
    return Trial(kind, put_down, None, None)


def _put_down(streamed: StreamedWalk, taken_up: int, put_down: int) -> Iterator[StreamedFrame]:
    """Return the frames from where the camera is put down; odometry goes on from where it was taken up."""
    walk = streamed.walk
    stop = min(put_down + round(WATCHED_S * walk.spec.fps), walk.spec.frames)
    (old,) = streamed.frames(taken_up - 1, taken_up)
    shift = _shift_ns(walk, taken_up, put_down)
    T_moved: FloatArray | None = None
    old_segment = 0 if old.result.estimate is None else old.result.estimate.segment
    segment, begins = 0, True
    for frame in streamed.frames(put_down, stop):
        estimate, motion = frame.result.estimate, frame.result.motion
        if estimate is None or motion is None:
            continue
        if T_moved is None:
            start = np.eye(4) if old.T_odom_camera is None else old.T_odom_camera
            T_moved = start @ inverse(T_BASE_CAMERA) @ inverse(motion.T_odom_base)
            segment = estimate.segment
        estimate = replace(
            estimate,
            segment=estimate.segment - segment + old_segment + 1,
            segment_frames=1 if begins else max(estimate.segment_frames, 2),
        )
        begins = False
        motion = replace(motion, T_odom_base=T_moved @ motion.T_odom_base)
        stamp = frame.result.stamp_ns + shift
        result = replace(frame.result, stamp_ns=stamp, estimate=estimate, motion=motion)
        yield replace(frame, frame=replace(frame.frame, stamp_ns=stamp), result=result)


def _shift_ns(walk: Walk, taken_up: int, put_down: int) -> int:
    """Return how much later than in the walk the frames from there on are [ns]."""
    return walk.stamps_ns[taken_up - 1] + round(CARRIED_S * 1e9) - walk.stamps_ns[put_down]


def error_of(walk: Walk, place_map: PlaceMap, taken_up: int, put_down: int) -> tuple[float, float]:
    """Return how far the camera is from where the map says, relative to the nearest place of the map [m, rad]."""
    content = place_map.content()
    shift = _shift_ns(walk, taken_up, put_down)
    stamps = {stamp: index for index, stamp in enumerate(walk.stamps_ns)}
    poses = {k.number: pose for k, pose in zip(content.keyframes, content.poses)}
    last = content.keyframes[-1]
    T_last = walk.T_world_camera[stamps[last.stamp_ns - shift]]
    mapped = {
        k.number: walk.T_world_camera[stamps[k.stamp_ns]]
        for k in content.keyframes
        if k.stamp_ns < walk.stamps_ns[taken_up]
    }
    nearest = min(mapped, key=lambda number: float(np.linalg.norm(mapped[number][:3, 3] - T_last[:3, 3])))
    found = poses[nearest].inverse() @ poses[last.number]
    return difference(inverse(mapped[nearest]) @ T_last, found.rigid)
