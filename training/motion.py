"""Camera motions for training clips, many at once on the device.

Transforms are (..., 4, 4) float32, ``T_a_b`` as everywhere; camera axes are OpenCV's; lengths in metres.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: How much a random turn goes about the camera's x (pitch), y (yaw) and z (roll) axis.
_AXIS_WEIGHTS = (0.5, 1.0, 0.25)
#: Share of walks that go backwards: cameras mostly do not.
_BACKWARDS = 0.15


def invert(T: Tensor) -> Tensor:
    """Return the inverses of rigid transforms (..., 4, 4)."""
    R, t = T[..., :3, :3], T[..., :3, 3:]
    inverse = torch.zeros_like(T)
    inverse[..., :3, :3] = R.mT
    inverse[..., :3, 3:] = -R.mT @ t
    inverse[..., 3, 3] = 1.0
    return inverse


def rotation_from_vector(vector: Tensor) -> Tensor:
    """Return (..., 3, 3) rotations of rotation vectors (..., 3) [rad]: axis times angle."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(*x.shape, 3, 3)
    rotation: Tensor = torch.linalg.matrix_exp(skew)
    return rotation


def quaternion_from_rotation(R: Tensor) -> Tensor:
    """Return unit quaternions (..., 4), (w, x, y, z) with w >= 0, of rotations (..., 3, 3) by less than half a turn.

    Each component's size comes from the diagonal and its sign from the difference of two elements across it; that
    difference vanishes only at half a turn, further than any clip goes.
    """
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    sizes = squares.clamp_min(0.0).sqrt() / 2
    differences = torch.stack(
        [R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], dim=-1
    )
    w = sizes[..., :1]
    # far from half a turn the imaginary part is the difference over 4w, which loses nothing for small angles
    imaginary = torch.where(w > 0.1, differences / (4 * w.clamp_min(0.1)), sizes[..., 1:] * differences.sign())
    quaternion = torch.cat([w, imaginary], dim=-1)
    return F.normalize(quaternion, dim=-1)


def random_turns(
    count: int, frames: int, rotation_deg: float, translation_m: float, generator: torch.Generator
) -> Tensor:
    """Return (count, frames, 4, 4) ``T_first_camera``: the identity, then random motions away from it.

    Sizes are uniform up to the largest, so small motions are as frequent as large ones; directions of turns prefer yaw.
    """
    device = generator.device
    shape = (count, frames, 3)
    axis = torch.randn(shape, generator=generator, device=device) * torch.tensor(_AXIS_WEIGHTS, device=device)
    angle = torch.rand((count, frames, 1), generator=generator, device=device) * (rotation_deg * torch.pi / 180)
    shift = torch.randn(shape, generator=generator, device=device)
    distance = torch.rand((count, frames, 1), generator=generator, device=device) * translation_m
    T = torch.eye(4, device=device).repeat(count, frames, 1, 1)
    T[..., :3, :3] = rotation_from_vector(axis / axis.norm(dim=-1, keepdim=True) * angle)
    T[..., :3, 3] = shift / shift.norm(dim=-1, keepdim=True) * distance
    T[:, 0] = torch.eye(4, device=device)
    return T


def tilts(count: int, degrees: float, generator: torch.Generator) -> Tensor:
    """Return (count, 1, 4, 4) turns of the whole camera, up to this far, so that none is quite upright."""
    T = random_turns(count, 2, degrees, 0.0, generator)
    return T[:, 1:]


def walks(paths: Tensor, frames: int, stride: int, generator: torch.Generator) -> Tensor:
    """Return (B, frames, 4, 4) pieces of paths, at every 1st to stride-th pose, most of them forwards.

    Args:
        paths: (B, P, 4, 4), one for each clip, P > (frames - 1) * stride.
        frames: of a clip.
        stride: the largest.
        generator: on the paths' device.
    """
    count, poses, device = paths.shape[0], paths.shape[1], paths.device
    steps = torch.randint(1, stride + 1, (count, 1), generator=generator, device=device)
    span = steps * (frames - 1)
    start = (torch.rand((count, 1), generator=generator, device=device) * (poses - span)).long()
    order = torch.arange(frames, device=device)
    backwards = torch.rand((count, 1), generator=generator, device=device) < _BACKWARDS
    index = start + steps * torch.where(backwards, frames - 1 - order, order)
    return paths[torch.arange(count, device=device)[:, None], index]
