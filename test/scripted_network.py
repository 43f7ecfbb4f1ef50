"""A network that knows where each picture was taken: streams without weights, to be broken at will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from rule_weights import TINY

from ttt3r_ros.geometry import inverse, quaternion_from_rotation
from ttt3r_ros.model.network import POINTS_CAMERA, Network, Prediction, State

WIDTH, HEIGHT = 80, 60
PATCH = 16  #: pixels of the corner whose grey level is the picture's number

Script = Callable[[Prediction, State], tuple[Prediction, State]]


@lru_cache
def _scene() -> np.ndarray:
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (6, 40, 3), dtype=np.uint8), (WIDTH + 255, HEIGHT))
    return cv2.addWeighted(scene, 0.6, rng.integers(0, 256, scene.shape, dtype=np.uint8), 0.4, 0.0)


def view(number: int) -> np.ndarray:
    """Return the picture of this number, 0 to 255; neighbours look alike, as those of a moving camera do."""
    picture = _scene()[:, number : number + WIDTH].copy()
    picture[:PATCH, :PATCH] = number
    return picture


def along(metres_per_picture: float, count: int = 256) -> list[np.ndarray]:
    """Return camera poses that go forward (optical z)."""
    poses = [np.eye(4) for _ in range(count)]
    for number, T in enumerate(poses):
        T[2, 3] = metres_per_picture * number
    return poses


@lru_cache
def _unused() -> Network:
    """Return a network whose weights all scripted ones share, since drawing them takes longer than all they do."""
    return Network(TINY)


class ScriptedNetwork(Network):
    """Says of picture number n that it was taken at ``poses[n]``, relative to the first picture of its segment.

    It sees a wall 2 m ahead. `scales` are those of its segments in turn, the last one for all further ones; `script`
    may change what it says.
    """

    def __init__(self, poses: Sequence[np.ndarray], scales: Sequence[float] = (1.0,)) -> None:
        self.__dict__.update(_unused().__dict__)
        self.poses, self.scales = poses, scales
        self.script: Script | None = None
        self.confidence, self.beta = 3.0, 0.3
        self.depth = 2.0
        self.segments = self.steps = self.dense = 0

    def step(self, image, state, *, rule=None, outputs=frozenset({POINTS_CAMERA})):
        self.steps += 1
        number = round(float((image[0, 0, 4, 4] + 1) * 127.5))
        if state is None:
            self.segments += 1
            state = State(torch.ones(1, TINY.state_size, 4), torch.tensor([[[float(number), float(self.segments)]]]))
        first, segment = (int(value) for value in state.pose_memory[0, 0])
        T = inverse(self.poses[first]) @ self.poses[number]
        scale = self.scales[min(segment, len(self.scales)) - 1]
        height, width = image.shape[2:]
        v, u = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
        points = torch.stack([u / width, v / width, torch.ones(height, width)], dim=-1)[None] * self.depth * scale
        confidence = torch.full((1, height, width), self.confidence)
        wanted = POINTS_CAMERA in outputs
        prediction = Prediction(
            translation=torch.tensor(T[:3, 3] * scale, dtype=torch.float32)[None],
            quaternion=torch.tensor(quaternion_from_rotation(T[:3, :3]), dtype=torch.float32)[None],
            learning_rate=torch.full((1, TINY.state_size), self.beta),
            trace=SimpleNamespace(decoded=(points, confidence)),
            points_camera=points if wanted else None,
            confidence=confidence if wanted else None,
        )
        return (prediction, state) if self.script is None else self.script(prediction, state)

    def camera_points(self, decoded):
        self.dense += 1
        return decoded
