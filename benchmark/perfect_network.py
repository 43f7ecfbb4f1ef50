"""A network that is never wrong, and an odometry that drifts as one is told to: what is left is the map's own error."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttt3r_ros.geometry import FloatArray, inverse, quaternion_from_rotation, unproject
from ttt3r_ros.model.network import POINTS_CAMERA, Network, Prediction, State
from ttt3r_ros.model.update import UpdateRule
from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.covariance import Covariances
from ttt3r_ros.stream.estimate import Estimate, Float32Array, Timings
from ttt3r_ros.stream.odometry import Motion
from ttt3r_ros.stream.stream import CameraFrame, StreamResult
from ttt3r_ros.synthetic import Sequence

#: What each motion is said to add to the path's standard deviations [m, rad].
_ADDED = 0.02, 0.04

#: Of every point.
_CONFIDENCE = 5.0

_THUMBNAIL = (32, 24)


class PerfectBackbone(Backbone):
    """Knows pose and depth of every frame of a sequence, and recognizes a frame by its image.

    Descriptors are those of a real network's encoder.
    """

    def __init__(self, network: Network, sequence: Sequence) -> None:
        """Render the sequence."""
        super().__init__(network)
        frames = sequence.render(0, len(sequence))
        self.images: npt.NDArray[np.uint8] = frames.image.cpu().numpy()
        self.poses: FloatArray = frames.T_world_camera.cpu().double().numpy()
        self.camera = sequence.intrinsics
        self.mapping = self.pixel_map(self.camera.width, self.camera.height)
        self.seen = self.mapping.intrinsics(self.camera)
        x, y = np.meshgrid(np.arange(self.seen.width), np.arange(self.seen.height))
        pixels = self.mapping.to_input(np.stack([x, y], axis=-1)).astype(np.float32)
        self.depths: list[Float32Array] = [
            np.asarray(cv2.remap(depth, pixels[..., 0], pixels[..., 1], cv2.INTER_NEAREST), np.float32)
            for depth in frames.depth.cpu().numpy()
        ]
        self._planes = [self.planes(image, self.mapping) for image in self.images]
        self._descriptors: dict[int, Float32Array] = {}
        self._thumbnails = np.stack([self._thumbnail(planes) for planes in self._planes])
        self._said: dict[tuple[int, UpdateRule, Set[str]], tuple[Prediction, State]] = {}

    def step(
        self, image: Tensor, state: State | None, *, rule: UpdateRule, outputs: Set[str]
    ) -> tuple[Prediction, State]:
        """Return the truth about the frame that looks like the image."""
        planes = ((image[0] + 1) * 127.5).round().to(torch.uint8)
        index = int(np.abs(self._thumbnails - self._thumbnail(planes)).mean(axis=(1, 2, 3)).argmin())
        first = index if state is None else int(state.tokens[0, 0, 0]) - 1  # no state is zero
        T = inverse(self.poses[first]) @ self.poses[index]
        key = index, rule, frozenset(outputs - {POINTS_CAMERA})
        if key not in self._said:
            self._said[key] = self.network.step(image, None, rule=rule, outputs=key[2])
        prediction, after = self._said[key]
        points = torch.from_numpy(unproject(self.depths[index], self.seen))[None]
        return (
            replace(
                prediction,
                translation=torch.from_numpy(T[None, :3, 3]).float(),
                quaternion=torch.from_numpy(quaternion_from_rotation(T[:3, :3])[None]).float(),
                points_camera=points,
                confidence=torch.full(points.shape[:3], _CONFIDENCE),
            ),
            replace(after, tokens=torch.full_like(after.tokens, first + 1)),
        )

    def describe(self, index: int) -> Float32Array:
        """Return a frame's descriptor."""
        if index not in self._descriptors:
            self._descriptors[index] = self._describe(index)
        return self._descriptors[index]

    def _describe(self, index: int) -> Float32Array:
        with torch.inference_mode():
            tokens = self.network.encode(self._planes[index][None].float() / 127.5 - 1)[0].float()
        return torch.cat([tokens.mean(dim=0), tokens.std(dim=0, correction=0)]).numpy()

    @staticmethod
    def _thumbnail(planes: Tensor) -> npt.NDArray[np.float32]:
        image = planes.permute(1, 2, 0).numpy().astype(np.float32)
        return np.asarray(cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA))


def drifting(
    poses: FloatArray, *, scale_per_meter: float = 0.02, radians_per_meter: float = 0.02
) -> tuple[list[FloatArray], list[float]]:
    """Return the poses (4, 4) that an odometry that drifts along the path makes of true ones, and its scale at each."""
    T, scale = np.array(poses[0]), 1.0
    result, scales = [T], [scale]
    for before, after in pairwise(poses):
        moved = inverse(before) @ after
        meters = float(np.linalg.norm(moved[:3, 3]))
        yaw = radians_per_meter * meters
        c, s = np.cos(yaw), np.sin(yaw)
        moved[:3, 3] *= scale
        moved[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ moved[:3, :3]
        T = T @ moved
        scale *= float(np.exp(scale_per_meter * meters))
        result.append(T)
        scales.append(scale)
    return result, scales


def result_of(
    backbone: PerfectBackbone,
    index: int,
    stamp_ns: int,
    T_odom_camera: FloatArray,
    scale: float,
    *,
    begins: bool = False,
) -> tuple[CameraFrame, StreamResult, Callable[[], tuple[Float32Array, Float32Array]]]:
    """Return what a stream would say of a frame: the frame, its result, and its points."""
    depth = backbone.depths[index] * np.float32(scale)
    confidence = np.full(depth.shape, _CONFIDENCE, np.float32)
    points = unproject(depth, backbone.seen)
    estimate = Estimate(
        T_world_camera=T_odom_camera,
        fault=None,
        learning_rate=np.ones(1, np.float32),
        state_level=1.0,
        segment=0,
        segment_frames=1 if begins else 2,
        pixel_map=backbone.mapping,
        scale=1.0,
        timings=Timings(0.0, 0.0, 0.0),
        points=points,
        depth=depth,
        confidence=confidence,
        descriptor=backbone.describe(index),
        intrinsics=backbone.seen,
    )
    unknown = Covariances(np.zeros(6), np.zeros(6))
    motion = Motion(T_odom_camera, (np.zeros(3), np.zeros(3)), unknown, added=_ADDED)
    frame = CameraFrame(backbone.images[index], stamp_ns, np.eye(4), backbone.camera)
    return frame, StreamResult(stamp_ns, estimate, motion), lambda: (points, confidence)
