"""Culls primitives per tile of an image, down to a short list of those that may be visible.

Culling is conservative: it drops a primitive from a tile only if its projected bounding box does not touch the tile, or
if it lies entirely behind a wall that covers the whole tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_ros.synthetic.world import World

_NEAR_M = 0.02
_FAR = 1e9
_SIGNS = torch.tensor([[1.0 if corner >> axis & 1 else -1.0 for corner in range(8)] for axis in range(3)])
_EDGES = [(a, a | 1 << axis) for axis in range(3) for a in range(8) if not a >> axis & 1]


@dataclass(frozen=True)
class Views:
    """B cameras.

    Attributes:
        rotation: (B, 3, 3) float32, camera to world.
        position: (B, 3) float32, meters, world frame.
        scene: (B,) int64, which scene of the world each camera stands in.
    """

    rotation: Tensor
    position: Tensor
    scene: Tensor

    def slice(self, start: int, stop: int) -> Views:
        return Views(self.rotation[start:stop], self.position[start:stop], self.scene[start:stop])


def visible(world: World, views: Views, tile_x: Tensor, tile_y: Tensor) -> Tensor:
    """Return a mask (B · ny · nx, N) of the primitives that may be visible in each tile.

    Args:
        world: N primitives per scene.
        views: B cameras.
        tile_x: (nx + 1,) float32, borders of the tiles' columns as x/z in the camera frame, ascending.
        tile_y: (ny + 1,) float32, borders of the tiles' rows as y/z, ascending.
    """
    bounds, nearest = _project(world, views)
    margin = 1e-4  # so that rounding drops no primitive that touches the border
    x0, x1, y0, y1 = bounds
    in_column = (x0[:, None] <= tile_x[None, 1:, None] + margin) & (x1[:, None] >= tile_x[None, :-1, None] - margin)
    in_row = (y0[:, None] <= tile_y[None, 1:, None] + margin) & (y1[:, None] >= tile_y[None, :-1, None] - margin)
    hidden_from = _wall_depth(world, views, tile_x, tile_y)
    in_front = nearest[:, None, None] <= hidden_from[..., None] + 1e-3
    return (in_front & in_column[:, None] & in_row[:, :, None]).flatten(0, 2)


def _project(world: World, views: Views) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the bounds (x0, x1, y0, y1) of x/z and y/z of every primitive, and its smallest depth; each (B, N)."""
    cosine, sine = world.cosine[views.scene], world.sine[views.scene]
    half = world.half[views.scene]
    offset = world.center[views.scene] - views.position[:, None]
    signs = _SIGNS.to(world.device)
    corners = []
    for axis in range(3):  # of the camera
        rx, ry, rz = (views.rotation[:, i, axis, None] for i in range(3))
        middle = rx * offset[..., 0] + ry * offset[..., 1] + rz * offset[..., 2]
        along_x = (rx * cosine + ry * sine) * half[..., 0]
        along_y = (ry * cosine - rx * sine) * half[..., 1]
        along_z = rz * half[..., 2]
        corners.append(
            middle[..., None]
            + along_x[..., None] * signs[0]
            + along_y[..., None] * signs[1]
            + along_z[..., None] * signs[2]
        )
    x, y, z = corners
    a, b = (torch.tensor([e[i] for e in _EDGES], device=world.device) for i in range(2))
    za, zb = z[..., a], z[..., b]
    share = (_NEAR_M - za) / (zb - za)  # where the edge crosses the near plane; arbitrary if it does not
    pierces = (za < _NEAR_M) != (zb < _NEAR_M)
    in_front = torch.cat([z >= _NEAR_M, pierces], dim=-1)
    inverse_depth = 1.0 / z
    bounds = []
    for w in (x, y):
        pierced = (w[..., a] + share * (w[..., b] - w[..., a])) / _NEAR_M
        projected = torch.cat([w * inverse_depth, pierced], dim=-1)
        bounds += [
            projected.masked_fill(~in_front, _FAR).amin(dim=-1),
            projected.masked_fill(~in_front, -_FAR).amax(dim=-1),
        ]
    return (bounds[0], bounds[1], bounds[2], bounds[3]), z.amin(dim=-1).clamp_min(_NEAR_M)


def _wall_depth(world: World, views: Views, tile_x: Tensor, tile_y: Tensor) -> Tensor:
    """Return (B, ny, nx), the depth behind which a tile sees nothing because a single wall covers it entirely.

    If the rays through all four corners of a tile hit a box, every ray between them does too (a box is convex), at no
    greater depth than the deepest of the four entry points.
    """
    lower = world.occluders[views.scene, :, :3] - views.position[:, None]
    upper = world.occluders[views.scene, :, 3:] - views.position[:, None]
    ray_x, ray_y = tile_x[None, None, :, None], tile_y[None, :, None, None]
    entry: Tensor | None = None
    exit_: Tensor | None = None
    for axis in range(3):  # of the world; tensors are (B, ny + 1, nx + 1, walls)
        r = views.rotation[:, axis, :, None, None, None]
        inverse = 1.0 / (r[:, 0] * ray_x + r[:, 1] * ray_y + r[:, 2] + 1e-12)
        t0, t1 = lower[:, None, None, :, axis] * inverse, upper[:, None, None, :, axis] * inverse
        first, last = torch.minimum(t0, t1), torch.maximum(t0, t1)
        entry = first if entry is None else torch.maximum(entry, first)
        exit_ = last if exit_ is None else torch.minimum(exit_, last)
    assert entry is not None
    assert exit_ is not None
    depth = entry.masked_fill((entry > exit_) | (entry <= 0.0), _FAR)
    deepest = torch.maximum(torch.maximum(depth[:, :-1, :-1], depth[:, :-1, 1:]),
                            torch.maximum(depth[:, 1:, :-1], depth[:, 1:, 1:]))  # fmt: skip
    return deepest.amin(dim=-1)
