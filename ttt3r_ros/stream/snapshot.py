"""Snapshots of a stream apart from the network they came from: moved between devices, judged, taken up later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.camera.preprocess import pixel_map
from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.model.update import Filt3r
from ttt3r_ros.stream.image_health import THUMBNAIL
from ttt3r_ros.stream.memory import LastFrame, Memory
from ttt3r_ros.stream.reconstructor import Reconstructor
from ttt3r_ros.stream.stream import StreamSnapshot

#: Poses, scales and counts beyond it are none.
LARGEST = 2.0**40


@torch.inference_mode()
def detached(snapshot: StreamSnapshot) -> StreamSnapshot:
    """Return a snapshot as float32 tensors on the CPU that nothing else uses."""
    return replace(snapshot, reconstructor=_moved(snapshot.reconstructor, torch.device("cpu"), torch.float32))


@torch.inference_mode()
def attached(snapshot: StreamSnapshot, reconstructor: Reconstructor) -> StreamSnapshot:
    """Return a detached snapshot as copies on this reconstructor's device and in its precision."""
    dtype = reconstructor.network.pose_memory.slots.dtype
    return replace(snapshot, reconstructor=_moved(snapshot.reconstructor, reconstructor.device, dtype))


def why_impossible(snapshot: StreamSnapshot, reconstructor: Reconstructor) -> str | None:
    """Return which part this reconstructor's stream cannot have carried, in a word; None where it can have all."""
    memory, odometry, motions, policy = snapshot.reconstructor, snapshot.odometry, snapshot.motions, snapshot.policy
    poses = [memory.T_world_camera, memory.T_world_segment, odometry.T_odom_world, odometry.T_odom_base]
    poses += [motions.T_world_camera, policy.last_look, *(view.T_world_camera for view in policy.keyframes)]
    stamps = [odometry.stamp, motions.stamp, snapshot.images.same_since, snapshot.last_stamp]
    counts = [memory.segment + 1, memory.segment_frames, odometry.frames_since_confidence, policy.frames_since_look]
    focals = [*memory.focals, *(view.focal for view in policy.keyframes)]
    possible = {
        "state": _is_state(memory, reconstructor),
        "last frame": _is_last(memory, reconstructor),
        "poses": all(T is None or _is_pose(T) for T in poses),
        "scale": 1 / LARGEST < memory.scale < LARGEST and memory.first_level > 0,
        "focal lengths": all(focal > 0 for focal in focals),
        "stamps": all(stamp is None or 0 <= stamp < 2**63 for stamp in stamps),
        "counts": all(0 <= count < LARGEST for count in counts),
        "covariance": _has_shape(odometry.covariance, (7, 7)),
        "images": _has_shape(snapshot.images.thumbnail, THUMBNAIL[::-1]),
        "velocity": _has_shape(motions.velocity, (6,)),
        "keyframes": all(v.points.ndim == 3 and v.points.shape[2] == 3 and v.points.size for v in policy.keyframes),
    }
    return next((name for name, so in possible.items() if not so), None)


def _is_state(memory: Memory, reconstructor: Reconstructor) -> bool:
    state, config = memory.state, reconstructor.network.config
    if state is None:
        return True
    tokens, slots = (1, config.state_size, config.dec_embed_dim), (1, config.local_mem_size, 2 * config.dec_embed_dim)
    parts: list[Tensor] = [state.tokens, state.memory]
    shapes: list[tuple[int, ...]] = [tokens, slots]
    if isinstance(reconstructor.rule, Filt3r) != (state.filter is not None):
        return False
    if state.filter is not None:
        parts += [state.filter.variance, state.filter.proposal]
        shapes += [tokens[:2], tokens]
        if state.filter.mean_change is not None:
            parts, shapes = [*parts, state.filter.mean_change], [*shapes, (1,)]
    return _shapes(parts) == shapes and all(bool(torch.isfinite(part).all()) for part in parts)


def _is_last(memory: Memory, reconstructor: Reconstructor) -> bool:
    last, size = memory.last, memory.input_size
    if size is not None and not all(0 < side < 2**16 for side in size):
        return False
    if last is None or size is None:
        return last is None and memory.state is None
    mapping = pixel_map(*size, image_size=reconstructor.image_size, square=reconstructor.network.config.square_input)
    width, height = mapping.size
    if memory.state is None or last.points is None or last.confidence is None or last.trace is not None:
        return False
    shapes = [(1, 3, height, width), (1, height, width, 3), (1, height, width)]
    return _shapes([last.image, last.points, last.confidence]) == shapes


def _is_pose(T: FloatArray) -> bool:
    if T.shape != (4, 4) or not np.array_equal(T[3], [0.0, 0.0, 0.0, 1.0]):
        return False
    R = T[:3, :3]
    return bool(np.allclose(R @ R.T, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0 and np.abs(T).max() < LARGEST)


def _has_shape(array: np.ndarray[tuple[int, ...], np.dtype[np.floating]] | None, shape: tuple[int, ...]) -> bool:
    return array is None or array.shape == shape


def _shapes(parts: Iterable[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in parts]


def _moved(memory: Memory, device: torch.device, dtype: torch.dtype) -> Memory:
    """Return a memory with copies of its tensors there, the pose memory in this number format."""
    state, last = memory.state, memory.last
    if state is not None:
        carried = state.filter
        if carried is not None:
            mean = None if carried.mean_change is None else _copy(carried.mean_change, device)
            variance, proposal = _copy(carried.variance, device), _copy(carried.proposal, device)
            carried = replace(carried, variance=variance, mean_change=mean, proposal=proposal)
        tokens, slots = _copy(state.tokens, device), _copy(state.memory, device, dtype)
        state = replace(state, tokens=tokens, memory=slots, filter=carried)
    if last is not None:
        assert last.points is not None
        assert last.confidence is not None
        last = LastFrame(_copy(last.image, device), _copy(last.points, device), _copy(last.confidence, device))
    return replace(memory, state=state, last=last)


def _copy(tensor: Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    return tensor.to(device, dtype, copy=True)
