"""Saves a stream's state to a file, so that a robot that was switched off can continue in its old map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ttt3r_ros.errors import UserError, quoted
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.model.update import rule_by_name
from ttt3r_ros.runtime.tensor_tree import mapped
from ttt3r_ros.serialize import FileFormat
from ttt3r_ros.stream import segments
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import SIZE, SOURCES
from ttt3r_ros.stream.ground import GroundState
from ttt3r_ros.stream.image_check import THUMBNAIL
from ttt3r_ros.stream.scale_filter import ScaleState
from ttt3r_ros.stream.scale_sources import HEIGHT, ODOMETRY, SourcesState
from ttt3r_ros.stream.segments import SegmentState
from ttt3r_ros.stream.settings import StreamSettings
from ttt3r_ros.stream.stream import Stream, StreamState, prepare
from ttt3r_ros.stream.tracks import TracksState

FORMAT = FileFormat(StreamState, "ttt3r_ros_session", 8, "a saved state", "save the state again")
#: Maximum size of a file [bytes]; that of the largest published network has about 20 MB.
MAX_BYTES = 2**28
#: Larger poses, scales and counts are invalid.
MAX_MAGNITUDE = 2.0**40


@dataclass(frozen=True)
class _Owner:
    """What a saved state belongs to: it can only be resumed if all of this is the same.

    Attributes:
        network: the network's configuration, as plain values.
        weights: the weights' fingerprint.
        image_size: side of the network's image [px].
        update_rule: name of the rule.
    """

    network: dict[str, Any]
    weights: str
    image_size: int
    update_rule: str

    @classmethod
    def of(cls, backbone: Backbone, settings: StreamSettings) -> _Owner:
        image_size = backbone.image_size(settings.image_size)
        return cls(backbone.network.config.to_dict(), backbone.fingerprint, image_size, settings.update_rule)


def to_bytes(stream: Stream) -> bytes:
    """Return the content of a file that `from_bytes` reads; the stream does not change.

    Raises:
        UserError: a number in the stream's state is not finite.
    """
    backbone, settings = stream.backbone, stream.settings
    state = prepare(backbone, stream.state, settings)
    running = segments.finished(backbone, state.segments)
    state, owner = replace(state, segments=running), _Owner.of(backbone, settings)
    belongs_to = vars(replace(owner, image_size=running.image_size, update_rule=running.update_rule))
    try:
        return FORMAT.to_bytes(state, belongs_to)
    except ValueError as error:
        raise UserError(f"the stream cannot be saved: {error}") from error


def from_bytes(data: bytes, stream: Stream, name: str) -> StreamState:
    """Return the state in a file, ready for `Stream.resume`.

    Args:
        data: the file's content.
        stream: the stream to resume; it is only read.
        name: of the file, for messages.

    Raises:
        UserError: the file is not a saved state, is damaged, is of another version, or belongs to other settings.
    """
    backbone, settings = stream.backbone, stream.settings
    state, belongs_to = FORMAT.from_bytes(data, name)
    try:
        _check_owner(_Owner(**belongs_to), _Owner.of(backbone, settings), name)
    except (TypeError, AttributeError) as error:
        raise FORMAT.damaged(name) from error
    if impossible := _impossible_part(state, backbone, settings):
        raise FORMAT.damaged(name) from ValueError(f"its {impossible} is impossible")
    return _attached(state, backbone)


@torch.inference_mode()
def _attached(state: StreamState, backbone: Backbone) -> StreamState:
    """Return a copy of a state on the backbone's device and in its precision."""
    running = state.segments
    last, before = mapped((running.last, running.before), lambda tensor: tensor.to(backbone.device, copy=True))
    network = None if running.state is None else backbone.attached(running.state)
    return replace(state, segments=replace(running, state=network, last=last, before=before))


def _impossible_part(state: StreamState, backbone: Backbone, settings: StreamSettings) -> str | None:
    """Return which part of a state is invalid for a stream with this backbone, in a word or two; None if none is."""
    running, odometry, motions, policy = state.segments, state.odometry, state.motions, state.policy
    poses = [
        running.T_world_camera,
        running.T_world_before,
        running.T_world_segment,
        odometry.T_odom_world,
        odometry.T_odom_base,
    ]
    poses += [motions.T_world_camera, policy.last_look, *(view.T_world_camera for view in policy.keyframes)]
    stamps = [odometry.stamp_ns, motions.stamp_ns, state.images.same_since, state.last_stamp_ns]
    counts = [running.segment + 1, running.segment_frames, odometry.frames_since_confidence, policy.frames_since_look]
    focals = [*running.focals, *(view.focal for view in policy.keyframes)]
    rule = rule_by_name(settings.update_rule)
    possible = {
        "state": running.state is None or backbone.is_state(running.state, rule),
        "last frame": _is_last(running, backbone, settings),
        "poses": all(T is None or _is_pose(T) for T in poses),
        "scale": _is_scale(running.scale_state) and running.first_level > 0,
        "focal lengths": all(focal > 0 for focal in focals),
        "stamps": all(stamp is None or abs(stamp) < 2**63 for stamp in stamps),
        "counts": all(0 <= count < MAX_MAGNITUDE for count in [*counts, state.failures]) and running.turns in range(4),
        "sources": _are_sources(state.sources),
        "tracks": _are_tracks(state.tracks),
        "covariance": _has_shape(odometry.covariance, (SIZE, SIZE))
        and odometry.moved.shape == (3,)
        and odometry.error.shape == odometry.tails.shape == (SIZE, SOURCES),
        "gravity": _has_shape(state.gravity.force, (3,))
        and all(0 <= seconds < MAX_MAGNITUDE for seconds in (state.gravity.seconds, state.gravity.silent)),
        "ground": _is_ground(state.ground),
        "depth": state.depth is None or 0 < state.depth < MAX_MAGNITUDE,
        "images": _has_shape(state.images.thumbnail, THUMBNAIL[::-1]),
        "still image": state.still.anchor is None or (state.still.anchor.ndim == 2 and state.still.anchor.size > 0),
        "velocity": _has_shape(motions.velocity, (6,)),
        "keyframes": all(v.points.ndim == 3 and v.points.shape[2] == 3 and v.points.size for v in policy.keyframes),
        "pending frame": state.pending is None and not running.reset_due,
    }
    return next((name for name, so in possible.items() if not so), None)


def _is_scale(state: ScaleState) -> bool:
    P = state.covariance
    if not all(abs(log) < math.log(MAX_MAGNITUDE) for log in vars(state).values() if isinstance(log, float)):
        return False
    return bool(P.shape == (3, 3) and P[0, 0] > 0 and np.allclose(P, P.T) and np.linalg.eigvalsh(P)[0] > -1e-9)


def _is_ground(state: GroundState) -> bool:
    return (
        _has_shape(state.first, (3,))
        and _has_shape(state.foot, (3,))
        and abs(state.climb) < MAX_MAGNITUDE
        and min(state.tilt, state.at_first) >= 0.0
    )


def _are_sources(state: SourcesState) -> bool:
    samples, poses = state.wheels.samples, [state.T_ground_camera]
    possible = [samples.ndim == 2 and samples.shape[1] == 8 and bool((np.diff(samples[:, 0]) > 0).all())]
    possible += [0.0 <= state.measured.gain <= 1.0, state.measured.noise >= 0.0]
    possible += [state.outvoted in ("", HEIGHT, ODOMETRY), state.view is None]
    if state.start is not None:
        poses.append(state.start.T_world_base)
        possible.append(state.start.depth > 0)
    poses += [stretch.T_start_stop for stretch in state.stretches]
    return all(possible) and all(T is None or _is_pose(T) for T in poses)


def _are_tracks(state: TracksState) -> bool:
    count = 0 if state.key is None else len(state.key.corners.pixels)
    if state.pixels.shape != (count, 2) or state.seen.shape != (count,) or not _is_pose(state.T_last_key):
        return False
    if state.key is None:
        return state.view is None
    image, corners = state.key.image, state.key.corners
    return bool(
        state.view is None
        and image.ndim == 2
        and image.size > 0
        and count > 0
        and corners.points.shape == (count, 3)
        and (corners.points[:, 2] > 0).all()
        and ((corners.pixels >= 0) & (corners.pixels < image.shape[::-1])).all()
    )


def _is_last(state: SegmentState, backbone: Backbone, settings: StreamSettings) -> bool:
    last, size = state.last, state.input_size
    if size is not None and not all(0 < side < 2**16 for side in size):
        return False
    if last is None or size is None:
        return last is None and state.before is None and state.state is None
    width, height = backbone.pixel_map(*size, settings.image_size).size
    if state.state is None or last.points is None or last.confidence is None or last.trace is not None:
        return False
    if state.turns % 2:
        width, height = height, width
    shapes = [(1, 3, height, width), (1, height, width, 3), (1, height, width)]
    if state.before is not None and state.before.shape != last.image.shape:
        return False
    return [tuple(part.shape) for part in (last.image, last.points, last.confidence)] == shapes


def _is_pose(T: FloatArray) -> bool:
    if T.shape != (4, 4) or not np.array_equal(T[3], [0.0, 0.0, 0.0, 1.0]):
        return False
    R = T[:3, :3]
    is_rotation = np.allclose(R @ R.T, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0
    return bool(is_rotation and np.abs(T).max() < MAX_MAGNITUDE)


def _has_shape(array: np.ndarray[tuple[int, ...], np.dtype[np.floating]] | None, shape: tuple[int, ...]) -> bool:
    return array is None or array.shape == shape


def _check_owner(saved: _Owner, ours: _Owner, name: str) -> None:
    if saved.network != ours.network:
        differing = sorted(key for key in ours.network if saved.network.get(key) != ours.network[key])
        shown = ", ".join(
            f"{key} {quoted(str(saved.network.get(key)), 20)} instead of {ours.network[key]!r}" for key in differing[:3]
        )
        raise UserError(f"{name} was saved with a different network ({shown or 'other settings'}); use its weights")
    if saved.weights != ours.weights:
        raise UserError(f"{name} was saved with different weights of the same size; use those")
    if saved.image_size != ours.image_size:
        raise UserError(
            f"{name} was saved with image_size {saved.image_size}, not {ours.image_size}; set the parameter to that"
        )
    if saved.update_rule != ours.update_rule:
        raise UserError(
            f"{name} was saved with update_rule {quoted(saved.update_rule, 20)}, not {ours.update_rule}; set the "
            "parameter to that"
        )
