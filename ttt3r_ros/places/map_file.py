"""Keeps a map of places in a file, and takes one from a file only where it is sound and of the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ttt3r_ros.camera.preprocess import PixelMap
from ttt3r_ros.errors import UserError
from ttt3r_ros.geometry import FloatArray, Intrinsics
from ttt3r_ros.places.content import MapContent
from ttt3r_ros.places.graph import Edge, Sigmas
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.places.verification import PoseSkill
from ttt3r_ros.serialize import FileFormat
from ttt3r_ros.stream.backbone import Backbone

Ints = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)

#: Numbers in a file are smaller than this.
MAX_MAGNITUDE = 1e9
MAX_SIDE = 2**14  #: of an image [px]


@dataclass(frozen=True)
class _Saved:
    """N keyframes and E edges; arrays of several lengths lie one after the other.

    Attributes:
        integers: (N, 6) number, track, segment, stamp_ns, stride, turns.
        poses_odom: (N, 4, 4) T_odom_camera.
        factors: (N,).
        descriptors: (N, D) float32.
        jpegs, jpeg_sizes: the images' bytes, and how many of them each has.
        pixel_maps: (N, 8) see `PixelMap`.
        cameras: (N, 6) see `Intrinsics`.
        depth_shapes: (N, 2).
        depths, confidences: bits of float16.
        poses_map: (N, 13) S_map_camera: scale, R row by row, t.
        pairs: (E, 3) numbers of the keyframes, and 0 for odometry, 1 for a recognized place.
        motions: (E, 13) S_first_second.
        sigmas: (E, 3).
        rejected: (R,) indices of edges.
        connected: (C,) numbers of keyframes.
        skill: see `PoseSkill`.
    """

    integers: Ints
    poses_odom: FloatArray
    factors: FloatArray
    descriptors: npt.NDArray[np.float32]
    jpegs: npt.NDArray[np.uint8]
    jpeg_sizes: Ints
    pixel_maps: Ints
    cameras: FloatArray
    depth_shapes: Ints
    depths: npt.NDArray[np.int16]
    confidences: npt.NDArray[np.int16]
    poses_map: FloatArray
    pairs: Ints
    motions: FloatArray
    sigmas: FloatArray
    rejected: Ints
    connected: Ints
    skill: PoseSkill


FORMAT = FileFormat(_Saved, "ttt3r_ros_places", 4, "a map of places", "make the map anew, or choose another file")


def to_bytes(content: MapContent, backbone: Backbone) -> bytes:
    """Return the content of a file; see `to_parts`."""
    return b"".join(to_parts(content, backbone.fingerprint))


def to_parts(content: MapContent, fingerprint: str) -> list[memoryview]:
    """Return the content of a file with this map, which belongs to weights, one part after the other.

    It reads nothing that changes, so another thread than the map's may call it.
    """
    keyframes, edges = content.keyframes, content.edges
    cameras = [[k.intrinsics.fx, k.intrinsics.fy, k.intrinsics.cx, k.intrinsics.cy, k.intrinsics.width,
                k.intrinsics.height] for k in keyframes]  # fmt: skip
    saved = _Saved(
        integers=np.array(
            [(k.number, k.track, k.segment, k.stamp_ns, k.stride, k.turns) for k in keyframes], np.int64
        ).reshape(-1, 6),
        poses_odom=np.array([k.T_odom_camera for k in keyframes], np.float64).reshape(-1, 4, 4),
        factors=np.array([k.factor for k in keyframes], np.float64),
        descriptors=np.stack([k.descriptor for k in keyframes]) if keyframes else np.zeros((0, 0), np.float32),
        jpegs=_joined([k.jpeg for k in keyframes], np.uint8),
        jpeg_sizes=np.array([len(k.jpeg) for k in keyframes], np.int64),
        pixel_maps=np.array([np.ravel(astuple(k.pixel_map)) for k in keyframes], np.int64).reshape(-1, 8),
        cameras=np.array(cameras, np.float64).reshape(-1, 6),
        depth_shapes=np.array([k.depth.shape for k in keyframes], np.int64).reshape(-1, 2),
        depths=_joined([np.nan_to_num(k.depth, nan=0.0).view(np.int16) for k in keyframes], np.int16),
        confidences=_joined([k.confidence.view(np.int16) for k in keyframes], np.int16),
        poses_map=_packed(content.poses),
        pairs=np.array([(e.first, e.second, e.is_place) for e in edges], np.int64).reshape(-1, 3),
        motions=_packed([e.S_first_second for e in edges]),
        sigmas=np.array([astuple(e.sigmas) for e in edges], np.float64).reshape(-1, 3),
        rejected=np.array(content.rejected, np.int64),
        connected=np.array(content.connected, np.int64),
        skill=content.skill,
    )
    return FORMAT.to_parts(saved, {"weights": fingerprint})


def from_bytes(data: bytes, backbone: Backbone, name: str) -> MapContent:
    """Return the map in the content of a file.

    Args:
        data: the content.
        backbone: whose weights the map must be of.
        name: of the file, for messages.

    Raises:
        UserError: the file is of another kind, version or other weights, or damaged.
    """
    saved, owner = FORMAT.from_bytes(data, name)
    if owner.get("weights") != backbone.fingerprint:
        raise UserError(f"{name} was made with other weights; use those, or make the map anew")
    try:
        _check(saved, backbone)
        return _unpacked(saved)
    except (ValueError, IndexError, OverflowError, cv2.error) as error:
        raise FORMAT.damaged(name) from error


def read(path: Path, backbone: Backbone) -> MapContent:
    """Return the map in a file.

    Raises:
        UserError: as `from_bytes`, or the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {FORMAT.remedy}") from None
    return from_bytes(data, backbone, str(path))


def _check(saved: _Saved, backbone: Backbone) -> None:
    """Raise a ValueError if no map can be like this."""
    count, edges = len(saved.integers), len(saved.pairs)
    shapes = {
        "integers": (count, 6), "poses_odom": (count, 4, 4), "factors": (count,), "jpeg_sizes": (count,),
        "descriptors": (count, 2 * backbone.network.config.enc_embed_dim if count else saved.descriptors.shape[-1]),
        "pixel_maps": (count, 8), "cameras": (count, 6), "depth_shapes": (count, 2), "poses_map": (count, 13),
        "pairs": (edges, 3), "motions": (edges, 13), "sigmas": (edges, 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        if getattr(saved, name).shape != shape:
            raise ValueError(f"{name} has another shape")
    for name in ("poses_odom", "factors", "cameras", "poses_map", "motions", "sigmas", "descriptors"):
        array = getattr(saved, name)
        if array.size and not np.abs(array).max() < MAX_MAGNITUDE:
            raise ValueError(f"{name} has numbers that are too large")
    numbers, tracks, _, stamps, strides, turns = saved.integers.T
    sides = np.concatenate([saved.pixel_maps[:, [0, 1, 2, 3, 6, 7]].ravel(), saved.depth_shapes.ravel()])
    pixels = saved.depth_shapes.prod(axis=1) if count else np.zeros(0, np.int64)
    sound = {
        "numbers": bool((np.diff(numbers) > 0).all() and (numbers >= 0).all() and (saved.integers < 2**62).all()),
        "tracks": bool((np.diff(tracks) >= 0).all() and (tracks >= 0).all() and (stamps >= 0).all()),
        "strides": bool(((strides > 0) & (strides < MAX_SIDE)).all()),
        "turns": bool(np.isin(turns, range(4)).all()),
        "sides": bool(((sides > 1) & (sides < MAX_SIDE)).all()),
        "offsets": bool((np.abs(saved.pixel_maps[:, 4:6]) < MAX_SIDE).all()),
        "depths": saved.depths.shape == saved.confidences.shape == (pixels.sum(),),
        "images": bool((saved.jpeg_sizes > 0).all()) and saved.jpegs.shape == (saved.jpeg_sizes.sum(),),
        "cameras": bool((saved.cameras[:, [0, 1, 4, 5]] > 0).all()),
        "factors": bool((saved.factors > 1 / MAX_MAGNITUDE).all()),
        "poses": all(_is_rotation(T[:3, :3]) and np.array_equal(T[3], [0, 0, 0, 1]) for T in saved.poses_odom),
        "map": all(_is_similarity(row) for row in saved.poses_map),
        "motions": all(_is_similarity(row) for row in saved.motions),
        "sigmas": bool((saved.sigmas > 1 / MAX_MAGNITUDE).all()),
        "pairs": bool((saved.pairs[:, 0] < saved.pairs[:, 1]).all() and np.isin(saved.pairs[:, 2], [0, 1]).all()),
        "ends": bool(np.isin(saved.pairs[:, :2], numbers).all()),
        "doubles": len({tuple(pair) for pair in saved.pairs.tolist()}) == edges,
        "rejected": saved.rejected.ndim == 1 and bool(((saved.rejected >= 0) & (saved.rejected < edges)).all()),
        "skill": len(saved.skill.errors) <= PoseSkill.WANTED and all(e >= 0 for e in saved.skill.errors),
        "connected": saved.connected.ndim == 1 and bool(np.isin(saved.connected, numbers).all()),
    }
    if wrong := next((name for name, so in sound.items() if not so), None):
        raise ValueError(f"its {wrong} are impossible")


def _unpacked(saved: _Saved) -> MapContent:
    pixels = saved.depth_shapes.prod(axis=1) if len(saved.integers) else np.zeros(0, np.int64)
    depths, confidences = (np.split(bits, pixels.cumsum()[:-1]) for bits in (saved.depths, saved.confidences))
    jpegs = np.split(saved.jpegs, saved.jpeg_sizes.cumsum()[:-1])
    keyframes = []
    for index, (number, track, segment, stamp_ns, stride, turns) in enumerate(saved.integers.tolist()):
        shape = tuple(saved.depth_shapes[index])
        depth = depths[index].view(np.float16).reshape(shape).copy()
        with np.errstate(invalid="ignore"):
            depth[~((depth > 0) & np.isfinite(depth))] = np.nan
        confidence = confidences[index].view(np.float16).reshape(shape)
        if not np.isfinite(confidence).all() or not np.isfinite(depth).any():
            raise ValueError("a keyframe has no depth, or no confidence")
        sides = saved.pixel_maps[index].tolist()
        fx, fy, cx, cy, width, height = saved.cameras[index].tolist()
        keyframe = Keyframe(
            number=number,
            track=track,
            segment=segment,
            stamp_ns=stamp_ns,
            T_odom_camera=saved.poses_odom[index].copy(),
            factor=float(saved.factors[index]),
            descriptor=saved.descriptors[index].copy(),
            jpeg=jpegs[index].copy(),
            pixel_map=PixelMap(*((sides[i], sides[i + 1]) for i in (0, 2, 4, 6))),
            intrinsics=Intrinsics(fx, fy, cx, cy, int(width), int(height)),
            depth=depth,
            confidence=confidence.copy(),
            stride=stride,
            turns=turns,
        )
        _check_image(keyframe)
        keyframes.append(keyframe)
    edges = tuple(
        Edge(first, second, _similarity(motion), Sigmas(*sigmas), kind > 0)
        for (first, second, kind), motion, sigmas in zip(
            saved.pairs.tolist(), saved.motions, saved.sigmas.tolist(), strict=True
        )
    )
    return MapContent(
        keyframes=tuple(keyframes),
        poses=tuple(map(_similarity, saved.poses_map)),
        edges=edges,
        rejected=tuple(saved.rejected.tolist()),
        connected=tuple(sorted(saved.connected.tolist())),
        skill=saved.skill,
    )


def _check_image(keyframe: Keyframe) -> None:
    """Raise a ValueError if a keyframe's image cannot be what its other fields say; only its header is read."""
    mapping, (height, width) = keyframe.pixel_map, keyframe.depth.shape
    if _jpeg_size(keyframe.jpeg) != mapping.input_size:
        raise ValueError("an image has another size")
    if (keyframe.intrinsics.width, keyframe.intrinsics.height) != mapping.size:
        raise ValueError("a camera is not that of its image")
    first, stride = keyframe.stride // 2, keyframe.stride
    if (len(range(first, mapping.size[1], stride)), len(range(first, mapping.size[0], stride))) != (height, width):
        raise ValueError("a depth image has another size")


def _jpeg_size(data: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return width and height in the header of a JPEG; None where it is none."""
    raw, at = data[:4096].tobytes(), 2
    if raw[:2] != b"\xff\xd8":
        return None
    while at + 9 < len(raw) and raw[at] == 0xFF:
        kind, size = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4], "big")
        if 0xC0 <= kind <= 0xC2:
            return int.from_bytes(raw[at + 7 : at + 9], "big"), int.from_bytes(raw[at + 5 : at + 7], "big")
        at += 2 + size
    return None


def _joined(parts: Sequence[npt.NDArray[Scalar]], kind: type[Scalar]) -> npt.NDArray[Scalar]:
    return np.concatenate([part.ravel() for part in parts]) if parts else np.empty(0, kind)


def _packed(poses: Sequence[Similarity]) -> FloatArray:
    return np.array([[S.scale, *S.R.ravel(), *S.t] for S in poses], np.float64).reshape(-1, 13)


def _similarity(row: FloatArray) -> Similarity:
    return Similarity(float(row[0]), row[1:10].reshape(3, 3).copy(), row[10:].copy())


def _is_similarity(row: FloatArray) -> bool:
    return bool(row[0] > 1 / MAX_MAGNITUDE) and _is_rotation(row[1:10].reshape(3, 3))


def _is_rotation(R: FloatArray) -> bool:
    return bool(np.allclose(R @ R.T, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0)
