"""The network's own eye: two fresh segments of two frames each, which the live stream does not notice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ttt3r_ros.camera.preprocess import normalize
from ttt3r_ros.camera.upright import turned, turned_axes
from ttt3r_ros.geometry import FloatArray, T_from_pose, inverse
from ttt3r_ros.model.network import POINTS_CAMERA, Prediction, State
from ttt3r_ros.model.update import Ttt3r
from ttt3r_ros.places.keyframe import Keyframe
from ttt3r_ros.places.pieces import Pieces
from ttt3r_ros.places.similarity import Similarity
from ttt3r_ros.runtime.transfer import download
from ttt3r_ros.stream.backbone import Backbone

#: A ratio of depths needs this share of a keyframe's pixels.
MIN_SHARE = 0.1


@dataclass(frozen=True)
class TwoFrames:
    """What the network says of two keyframes, seen one after the other.

    Attributes:
        S_old_new: from the new keyframe's camera to the old one's, each in its own meters.
        spread: standard deviation of the logarithm of the ratio between what a keyframe holds and the depth that the
            network sees now, of the two keyframes the larger one: small where they are of one shape.
    """

    S_old_new: Similarity
    spread: float


def both_ways(backbone: Backbone, old: Keyframe, new: Keyframe) -> Pieces[tuple[TwoFrames, TwoFrames] | None]:
    """Look at two keyframes in both orders; return None where the network's answer is of no use.

    Yields after each step of the network, so that whoever runs it can do something more urgent in between.
    """
    forward = yield from _in_order(backbone, old, new)
    if forward is None:
        return None
    yield
    backward = yield from _in_order(backbone, new, old)
    if backward is None:
        return None
    return forward, TwoFrames(backward.S_old_new.inverse(), backward.spread)


def _in_order(backbone: Backbone, first: Keyframe, second: Keyframe) -> Pieces[TwoFrames | None]:
    pose_1, factor_1, spread_1, state = _step(backbone, first, None)
    yield
    pose_2, factor_2, spread_2, _ = _step(backbone, second, state)
    T = inverse(pose_1) @ pose_2
    if not (np.isfinite(T).all() and factor_1 and factor_2):
        return None
    T[:3, 3] *= factor_1
    return TwoFrames(Similarity.of(T, factor_1 / factor_2), max(spread_1, spread_2))


@torch.inference_mode()
def _step(backbone: Backbone, keyframe: Keyframe, state: State | None) -> tuple[FloatArray, float | None, float, State]:
    """Return the pose (4, 4), the keyframe's meters per meter of the network, their spread, and the state."""
    planes = backbone.planes(keyframe.image, keyframe.pixel_map)
    planes = turned(planes, keyframe.turns)
    prediction, after = backbone.step(normalize(planes), state, rule=Ttt3r(), outputs={POINTS_CAMERA})
    seen = download(_Seen.of(prediction))
    T = T_from_pose(seen.pose[:3].numpy(), seen.pose[3:].numpy())
    T[:3, :3] @= turned_axes(keyframe.turns)
    first, stride = keyframe.stride // 2, keyframe.stride
    depth = np.rot90(seen.depth.numpy(), -keyframe.turns)[first::stride, first::stride]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.log(keyframe.depth.astype(np.float32)) - np.log(depth)
    ratios = ratios[np.isfinite(ratios)]
    if len(ratios) < MIN_SHARE * depth.size:
        return T, None, np.inf, after
    middle = float(np.median(ratios))
    return T, float(np.exp(middle)), float(1.4826 * np.median(np.abs(ratios - middle))), after


@dataclass(frozen=True)
class _Seen:
    pose: torch.Tensor
    depth: torch.Tensor

    @classmethod
    def of(cls, prediction: Prediction) -> _Seen:
        assert prediction.points_camera is not None
        pose = torch.cat([prediction.translation[0], prediction.quaternion[0]])
        return cls(pose, prediction.points_camera[0, ..., 2].float())
