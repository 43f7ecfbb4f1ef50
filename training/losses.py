"""What training minimises, in the heads' raw space, and how well it does in metres and degrees.

In raw space (`v = X/|X| · log1p(|X|)`) an error means about the same share of the distance near and far, and gradients
do not grow with the distance, which is why learning starts there within minutes and stalls in metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.clips import Clips
from training.config import Stage
from training.motion import apply, quaternion_from_rotation
from training.unroll import RawClip
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.model.heads import expand

#: Weight of the reward for being confident: where the error is e, the best confidence is this over e.
CONFIDENCE_REWARD = 0.3
_SMALL_TURN, _SMALL_SHIFT = 0.05, 0.2  #: below these [rad, raw space] a pose error counts by its square
_EPS = 1e-8


@dataclass(frozen=True)
class Targets:
    """The truth in raw space, laid out like `RawClip`; all float32.

    Attributes:
        camera, world: (B, T, 3, H, W).
        translation: (B, T, 3), raw; quaternion: (B, T, 4), unit, w >= 0.
        depth: (B, T, H, W), metres.
        T_first_camera: (B, T, 4, 4).
    """

    camera: Tensor
    world: Tensor
    translation: Tensor
    quaternion: Tensor
    depth: Tensor
    T_first_camera: Tensor


def compress(vector: Tensor, dim: int = -1) -> Tensor:
    """Map metres to raw space, ``v/|v| · log1p(|v|)``; the inverse of the heads' `expand`."""
    length = vector.square().sum(dim, keepdim=True).sqrt().clamp_min(1e-12)
    return vector * (torch.log1p(length) / length)


def targets(clips: Clips, camera: Intrinsics) -> Targets:
    """Return the truth of clips seen by a camera."""
    depth = clips.depth.float()
    x, y = clips.rays(camera)
    points = torch.stack([depth * x, depth * y, depth], dim=2)  # (B, T, 3, H, W)
    T = clips.T_first_camera
    return Targets(
        camera=compress(points, dim=2),
        world=compress(apply(T, points), dim=2),
        translation=compress(T[..., :3, 3]),
        quaternion=quaternion_from_rotation(T[..., :3, :3]),
        depth=depth,
        T_first_camera=T,
    )


def losses(raw: RawClip, truth: Targets, stage: Stage) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum, and its parts without their weights, detached."""
    camera = of_frames(truth.camera, raw.frames)
    parts = {"camera": _points(raw.camera, camera)}
    parts["edges"] = _neighbors(raw.camera[:, :, 2] - camera[:, :, 2])
    total = stage.camera * parts["camera"] + stage.edges * parts["edges"]
    if raw.world is not None:
        parts["world"] = _points(raw.world, of_frames(truth.world, raw.frames))
        total = total + stage.world * parts["world"]
    if stage.pose:
        rotation, translation = _pose(raw, truth)
        parts["rotation"], parts["translation"] = rotation, translation
        total = total + stage.pose * (rotation + translation)
    return total, {name: value.detach() for name, value in parts.items()}


@torch.no_grad()
def figures(raw: RawClip, truth: Targets) -> dict[str, Tensor]:
    """Return errors a person can judge: of depth, and of the motion since the first frame over the motion itself.

    A network that knows nothing of motion and says there is none has ``rotation_ratio`` and ``translation_ratio`` 1.
    """
    depth = expand(raw.camera[:, :, :3].movedim(2, -1))[..., 2]
    ratio = depth / of_frames(truth.depth, raw.frames)
    result = {
        "abs_rel": (ratio - 1).abs().mean(),
        "delta_125": ((ratio < 1.25) & (ratio > 0.8)).float().mean(),
    }
    if raw.quaternion.shape[1] > 1:
        product = (F.normalize(raw.quaternion[:, 1:], dim=-1) * truth.quaternion[:, 1:]).sum(-1).abs()
        angle = 2 * product.clamp(max=1.0).acos()
        true_angle = 2 * truth.quaternion[:, 1:, 0].clamp(max=1.0).acos()
        miss = (expand(raw.translation[:, 1:]) - truth.T_first_camera[:, 1:, :3, 3]).norm(dim=-1)
        way = truth.T_first_camera[:, 1:, :3, 3].norm(dim=-1)
        result["rotation_deg"] = torch.rad2deg(angle).mean()
        result["rotation_ratio"] = angle.mean() / true_angle.mean().clamp_min(1e-6)
        result["translation_m"] = miss.mean()
        if way.mean() > 0.01:  # there is no share of nothing
            result["translation_ratio"] = miss.mean() / way.mean()
    return result


def of_frames(values: Tensor, frames: Tensor | None) -> Tensor:
    """Return what (B, T, ...) values say of (B, P) frames; of all if these are None."""
    if frames is None:
        return values
    return values[torch.arange(len(values), device=values.device)[:, None], frames]


def _points(raw: Tensor, truth: Tensor) -> Tensor:
    """Confidence-weighted regression: c · error − α · log c, with c = 1 + exp(raw)."""
    error = _length(raw[:, :, :3] - truth, dim=2)
    confidence = 1 + raw[:, :, 3].clamp(max=6.0).exp()
    return (confidence * error - CONFIDENCE_REWARD * confidence.log()).mean()


def _neighbors(error: Tensor) -> Tensor:
    """Return how much an error (..., H, W) differs between neighbours, and between pixels a quarter patch apart."""
    total = error.new_zeros(())
    for step in (1, 4):
        across, down = error[..., step:] - error[..., :-step], error[..., step:, :] - error[..., :-step, :]
        total = total + across.abs().mean() + down.abs().mean()
    return total


def _pose(raw: RawClip, truth: Targets) -> tuple[Tensor, Tensor]:
    """Return the error of the rotation [about rad] and of the translation in raw space, summed over components.

    Per component, not the length of the error: one that is not understood yet would take the others' gradients away.
    And squares of small errors: where a motion is hardly seen its mean is wanted, not its median, which is no motion.
    """
    quaternion = F.normalize(raw.quaternion, dim=-1)
    sign = torch.where((quaternion * truth.quaternion).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    rotation = F.smooth_l1_loss(2 * sign * quaternion, 2 * truth.quaternion, reduction="none", beta=_SMALL_TURN)
    translation = F.smooth_l1_loss(raw.translation, truth.translation, reduction="none", beta=_SMALL_SHIFT)
    return rotation.sum(dim=-1).mean(), translation.sum(dim=-1).mean()


def _length(vector: Tensor, dim: int) -> Tensor:
    """Return the Euclidean length, with a gradient at 0."""
    return (vector.square().sum(dim) + _EPS).sqrt()
