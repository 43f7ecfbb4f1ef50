"""Camera motions for training clips, many at once on the device.

Transforms are (..., 4, 4) float32, ``T_a_b`` as everywhere; camera axes are OpenCV's; lengths in metres. Nothing here
is a matrix product to torch: on a GPU those may round to 10 bits (TF32), which are millimetres of the true pose.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: How much a random turn goes about the camera's x (pitch), y (yaw) and z (roll) axis.
_AXIS_WEIGHTS = (0.5, 1.0, 0.25)
#: Share of walks that go backwards: cameras mostly do not.
_BACKWARDS = 0.15
#: What roaming cameras do, and how often: the rest walks ahead.
_ROAMS = {"backwards": 0.15, "there and back": 0.15, "on the spot": 0.22, "still": 0.08}
#: On the spot: from frame to frame, which takes the longest clips once around, and of the camera from the axis.
_MAX_TURN_DEG, _MAX_ARM_M = 12.0, 0.25
_HEIGHT_M = (0.15, 1.9)
_CLIMBING, _MAX_RISE_M = 0.15, 0.06  # share of clips whose camera is lifted or lowered, and how far from frame to frame
#: Shares of clips whose camera is mounted upside down, rolled by up to a quarter turn, pitched, or looks away.
_INVERTED, _ROLLED, _STEEP, _ASIDE = 0.1, 0.1, 0.25, 0.25


def compose(A: Tensor, B: Tensor) -> Tensor:
    """Return the matrix product of (..., n, m) and (..., m, k) in full float32."""
    product: Tensor = (A[..., :, :, None] * B[..., None, :, :]).sum(dim=-2)
    return product


def apply(T: Tensor, points: Tensor) -> Tensor:
    """Return points (B, T, 3, ...) mapped by transforms (B, T, 4, 4), in full float32."""
    T = T.view(*T.shape, *[1] * (points.ndim - 3))
    x, y, z = points.unbind(dim=2)
    return torch.stack([T[:, :, i, 0] * x + T[:, :, i, 1] * y + T[:, :, i, 2] * z + T[:, :, i, 3] for i in range(3)], 2)


def invert(T: Tensor) -> Tensor:
    """Return the inverses of rigid transforms (..., 4, 4)."""
    R, t = T[..., :3, :3], T[..., :3, 3:]
    inverse = torch.zeros_like(T)
    inverse[..., :3, :3] = R.mT
    inverse[..., :3, 3:] = -compose(R.mT, t)
    inverse[..., 3, 3] = 1.0
    return inverse


def rotation_from_vector(vector: Tensor) -> Tensor:
    """Return (..., 3, 3) rotations of rotation vectors (..., 3) [rad]: axis times angle (Rodrigues' formula)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(*x.shape, 3, 3)
    angle = vector.norm(dim=-1)[..., None, None]
    outer = vector[..., :, None] * vector[..., None, :]
    turn = torch.sinc(angle / torch.pi) * cross + 0.5 * torch.sinc(angle / (2 * torch.pi)).square() * outer
    rotation: Tensor = turn + angle.cos() * torch.eye(3, device=vector.device)
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
    axis = torch.randn(shape, generator=generator, device=device)
    for i, weight in enumerate(_AXIS_WEIGHTS):
        axis[..., i] *= weight
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


def roams(paths: Tensor, frames: int, stride: int, generator: torch.Generator) -> Tensor:
    """Return (B, frames, 4, 4): all that a robot's camera does, mounted in all ways that it can be.

    It walks ahead or backwards, there and back again, turns on the spot, which takes it once around in the longest
    clips, or stands still; half of the time at a height of its own, and sometimes lifted or lowered; some look aside or
    back, up or down, lie on their side, or hang.

    Args:
        paths: (B, P, 4, 4), one for each clip, P > (frames - 1) * stride.
        frames: of a clip.
        stride: a clip takes every n-th pose of its path, n from 1 to this; the logarithm of n is uniform.
        generator: on the paths' device.
    """
    count, poses, device = paths.shape[0], paths.shape[1], paths.device

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand((count, 1), generator=generator, device=device)

    def often(share: float, then: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(uniform(0, 1) < share, then, otherwise)

    kind, start_of = uniform(0, 1), 0.0
    does = {}
    for name, share in _ROAMS.items():
        does[name] = (kind >= start_of) & (kind < start_of + share)
        start_of += share
    steps = ((stride + 1) ** uniform(0, 1)).long().clamp(1, stride)  # as often 1 to 2 poses as 10 to 20
    start = (uniform(0, 1) * (poses - steps * (frames - 1))).long()
    order = torch.arange(frames, device=device).expand(count, -1)
    turning_point = (uniform(0.3, 0.7) * frames).long()
    there_and_back = torch.where(order <= turning_point, order, (2 * turning_point - order).clamp_min(0))
    index = torch.where(does["backwards"], frames - 1 - order, order)
    index = torch.where(does["there and back"], there_and_back, index)
    index = torch.where(does["on the spot"] | does["still"], torch.zeros_like(index), index)
    T = paths[torch.arange(count, device=device)[:, None], start + steps * index].clone()

    rate = torch.deg2rad(often(0.5, uniform(-_MAX_TURN_DEG, -0.5), uniform(0.5, _MAX_TURN_DEG)))
    vertical = torch.zeros((count, frames, 3), device=device)
    vertical[..., 2] = torch.where(does["on the spot"], rate * order, torch.zeros_like(rate))
    R = rotation_from_vector(vertical)
    arm = uniform(0.0, _MAX_ARM_M)[..., None, None] * T[..., :3, 2:3]
    arm[..., 2, :] = 0.0
    T[..., :3, 3:] += compose(R, arm) - arm
    T[..., :3, :3] = compose(R, T[..., :3, :3])

    nothing = torch.zeros((count, 1), device=device)
    T[..., 2, 3] += often(0.5, uniform(*_HEIGHT_M) - T[:, :1, 2, 3], nothing)
    T[..., 2, 3] = (T[..., 2, 3] + often(_CLIMBING, uniform(-_MAX_RISE_M, _MAX_RISE_M), nothing) * order).clamp(
        *_HEIGHT_M
    )
    pitch = often(_STEEP, uniform(-45, 45), uniform(-12, 12))
    yaw = often(_ASIDE, uniform(-180, 180), uniform(-10, 10))
    roll = often(_INVERTED, uniform(170, 190), often(_ROLLED, uniform(-90, 90), uniform(-8, 8)))
    mount = torch.eye(4, device=device).repeat(count, 1, 1, 1)
    for axis, angle in ((1, yaw), (0, pitch), (2, roll)):
        vector = torch.zeros((count, 1, 3), device=device)
        vector[..., axis] = torch.deg2rad(angle)
        mount[..., :3, :3] = compose(mount[..., :3, :3], rotation_from_vector(vector))
    return compose(T, mount)
