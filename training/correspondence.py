"""Where a frame's points lie in the clip's first frame: the truth about motion, place by place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.clips import Clips
from training.losses import compress
from training.motion import apply
from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.model.config import PATCH

#: Places along a patch's side where the displacement is given.
CELLS = 2
_NEAREST_M = 0.2  # a point nearer than that to the first camera, or behind it, has no place in its image
_FURTHEST = 4.0  # patches; what moved further is not asked for


@dataclass(frozen=True)
class Correspondence:
    """For every patch of frames 1 to T - 1 of B clips; M patches in row-major order.

    Attributes:
        displacement: (B, T-1, M, CELLS², 2) float32, from a place (x, y) in the frame to where its point is in the
            first frame, in patches.
        known: (B, T-1, M, CELLS²) bool, the displacement is defined.
        shift: (B, T-1, M, CELLS², 3) float32, from the point in the camera's frame to the same in the first camera's,
            in raw space.
        moments: (B, T-1, M, 6) float32, what a patch's displacement says about the camera's motion, see `_moments`.
        weights: (B, T-1, M, M) float32, bilinear weights of the first frame's patches at the patch's new place; their
            sum is 1 where `inside`.
        inside: (B, T-1, M) bool, the whole patch is known and its new place lies between the first frame's patches.
    """

    displacement: Tensor
    known: Tensor
    shift: Tensor
    moments: Tensor
    weights: Tensor
    inside: Tensor


def correspondence(clips: Clips, camera: Intrinsics) -> Correspondence:
    """Return the correspondence of all later frames with the first, from depth and motion.

    Points that the first camera cannot see, outside its image or behind something, are given a displacement too: it
    says as much about the motion.
    """
    count, frames, height, width = clips.depth.shape
    step = PATCH // CELLS
    depth = clips.depth[:, 1:, step // 2 :: step, step // 2 :: step].float()
    device = depth.device
    x, y = clips.rays(camera)
    x, y = x[..., step // 2 :: step], y[..., step // 2 :: step, :]
    zoom = clips.zoom[:, None, None, None]
    points = torch.stack([depth * x, depth * y, depth], dim=2)
    seen, points = (p.movedim(2, -1) for p in (apply(clips.T_first_camera[:, 1:], points), points))
    z = seen[..., 2].clamp_min(_NEAREST_M)
    moved = torch.stack(
        [(seen[..., 0] / z - x) * (camera.fx * zoom), (seen[..., 1] / z - y) * (camera.fy * zoom)], dim=-1
    ).div_(PATCH)
    known = (seen[..., 2] > _NEAREST_M) & (moved.abs().amax(dim=-1) < _FURTHEST)

    rows, columns = height // PATCH, width // PATCH

    def by_patch(cells: Tensor) -> Tensor:
        split = cells.view(count, frames - 1, rows, CELLS, columns, CELLS, *cells.shape[4:])
        return split.transpose(3, 4).reshape(count, frames - 1, rows * columns, CELLS**2, *cells.shape[4:])

    displacement, known = by_patch(moved), by_patch(known)
    shift = by_patch(compress(seen) - compress(points))
    moments = (by_patch(_moments(moved, x, y, depth)) * known[..., None]).mean(dim=3)
    own = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)).flip(-1)
    place = own + displacement.mean(dim=3)  # (x, y) in patches
    between = (place > 0).all(dim=-1) & (place[..., 0] < columns - 1) & (place[..., 1] < rows - 1)
    inside = known.all(dim=3) & between
    across = (1 - (place[..., :1] - torch.arange(columns, device=device)).abs()).clamp_min(0.0)
    down = (1 - (place[..., 1:] - torch.arange(rows, device=device)).abs()).clamp_min(0.0)
    weights = (down[..., :, None] * across[..., None, :]).flatten(-2)
    return Correspondence(displacement, known, shift, moments, weights, inside)


def _moments(moved: Tensor, x: Tensor, y: Tensor, depth: Tensor) -> Tensor:
    """Return Jᵀ·f (..., 6) of displacements f (..., 2) at places x/z, y/z with a depth.

    J is how a place moves with small rotations about and small translations along x, y and z. Summed over the image
    this is the right side of the normal equations for the motion, whose left side depends on the depths alone: where
    every patch knows its moments, their average is nearly the motion.
    """
    u, v = moved.unbind(dim=-1)
    rotation = [-x * y * u - (1 + y * y) * v, (1 + x * x) * u + x * y * v, x * v - y * u]
    translation = [u / depth, v / depth, -(x * u + y * v) / depth]
    return torch.stack([*rotation, *translation], dim=-1)
