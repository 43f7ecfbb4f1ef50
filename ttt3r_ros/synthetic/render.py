"""Renders images in tiles, as many at a time as the device handles efficiently."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ttt3r_ros.geometry import Intrinsics
from ttt3r_ros.synthetic.atlas import Atlas
from ttt3r_ros.synthetic.cull import Views, visible
from ttt3r_ros.synthetic.shade import shade
from ttt3r_ros.synthetic.trace import Vector, local_primitives, trace
from ttt3r_ros.synthetic.unsplit import run_unsplit
from ttt3r_ros.synthetic.world import World

# Rays traced, and views culled, at a time. On a CPU this roughly fits the cache of the one core it uses; to use several
# cores, render in several processes.
_CPU_RAYS, _CPU_VIEWS = 1 << 16, 8
_GPU_RAYS, _GPU_VIEWS = 1 << 21, 256
_GRIDS = (8, 9, 10)  # tiles along a side of an image: few enough to cull fast, enough to keep their lists short
_LANES = 32  # rays per tile are a multiple of this, so that vectorized loops have no remainder that rounds differently


def render(
    world: World, atlas: Atlas, views: Views, intrinsics: Intrinsics, samples_per_axis: int = 1
) -> tuple[Tensor, Tensor]:
    """Return images (B, H, W, 3) uint8 and depths (B, H, W) float32 of B cameras.

    Args:
        world: the scenes.
        atlas: their textures, on the same device.
        views: the cameras, on the same device.
        intrinsics: of all cameras.
        samples_per_axis: n > 1 averages n x n rays per pixel of the image; depth is always that of the pixel's center.
    """
    if world.device.type == "cpu":
        return run_unsplit(partial(_render, world, atlas, views, intrinsics, samples_per_axis))
    return _render(world, atlas, views, intrinsics, samples_per_axis)


def _render(
    world: World, atlas: Atlas, views: Views, intrinsics: Intrinsics, samples_per_axis: int
) -> tuple[Tensor, Tensor]:
    image, depth = _render_centers(world, atlas, views, intrinsics)
    if samples_per_axis > 1:
        n = samples_per_axis
        fine = Intrinsics(
            intrinsics.fx * n, intrinsics.fy * n, (intrinsics.cx + 0.5) * n - 0.5, (intrinsics.cy + 0.5) * n - 0.5,
            intrinsics.width * n, intrinsics.height * n,
        )  # fmt: skip
        many, _ = _render_centers(world, atlas, views, fine)
        parts = many.view(-1, intrinsics.height, n, intrinsics.width, n, 3)
        image = ((parts.sum(dim=(2, 4), dtype=torch.int32) + n * n // 2) // (n * n)).to(torch.uint8)
    return image, depth


def _render_centers(world: World, atlas: Atlas, views: Views, intrinsics: Intrinsics) -> tuple[Tensor, Tensor]:
    count, device = len(views.scene), world.device
    on_cpu = device.type == "cpu"
    tiles = _Tiles(intrinsics, device)
    image = torch.empty((count * tiles.count, tiles.padded, 3), dtype=torch.uint8, device=device)
    depth = torch.empty((count * tiles.count, tiles.padded), dtype=torch.float32, device=device)
    group = _CPU_VIEWS if on_cpu else _GPU_VIEWS
    step = max(1, (_CPU_RAYS if on_cpu else _GPU_RAYS) // tiles.padded)
    for first in range(0, count, group):
        part = views.slice(first, first + group)
        mask = visible(world, part, *tiles.borders)
        local = local_primitives(world, part)
        for start in range(0, len(mask), step):
            stop = min(start + step, len(mask))
            color, z = _render_tiles(world, atlas, part, local, tiles, slice(start, stop), mask[start:stop])
            target = slice(first * tiles.count + start, first * tiles.count + stop)
            torch.stack(color, dim=-1, out=image[target].view(-1, 3))
            depth[target] = z.view(stop - start, -1)
    return tiles.assemble(image), tiles.assemble(depth)


class _Tiles:
    """An image cut into a grid of equal tiles; the last row and column may extend beyond the image."""

    def __init__(self, intrinsics: Intrinsics, device: torch.device) -> None:
        self.intrinsics = intrinsics
        sizes = [
            (-(-intrinsics.width // columns), -(-intrinsics.height // rows)) for columns in _GRIDS for rows in _GRIDS
        ]
        self.width, self.height = min(sizes, key=self._rays_for)
        self.columns, self.rows = -(-intrinsics.width // self.width), -(-intrinsics.height // self.height)
        self.count = self.columns * self.rows
        self.pixels = self.width * self.height
        self.padded = -(-self.pixels // _LANES) * _LANES
        self.borders = self._borders(device)
        self.rays = self._rays(device)

    def _rays_for(self, size: tuple[int, int]) -> int:
        """Return the number of rays, in units of _LANES, for an image in tiles of this size, including padding."""
        tiles = -(-self.intrinsics.width // size[0]) * -(-self.intrinsics.height // size[1])
        return tiles * -(-size[0] * size[1] // _LANES)

    def _borders(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the borders of columns and rows as x/z and y/z in the camera frame."""
        k = self.intrinsics
        x = torch.arange(self.columns + 1, dtype=torch.float64) * self.width
        y = torch.arange(self.rows + 1, dtype=torch.float64) * self.height
        return ((x - 0.5 - k.cx) / k.fx).float().to(device), ((y - 0.5 - k.cy) / k.fy).float().to(device)

    def _rays(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return x/z and y/z of all rays, each (count, padded) float32, camera frame."""
        k = self.intrinsics
        in_tile = torch.arange(self.padded).clamp_max(self.pixels - 1)
        tile = torch.arange(self.count)[:, None]
        column = (tile % self.columns) * self.width + in_tile % self.width
        row = (tile // self.columns) * self.height + in_tile // self.width
        # rays beyond the border repeat the last pixel, because culling covers only the image
        column, row = column.clamp_max(k.width - 1), row.clamp_max(k.height - 1)
        x, y = (column.double() - k.cx) / k.fx, (row.double() - k.cy) / k.fy
        return x.float().to(device), y.float().to(device)

    def assemble(self, tiles: Tensor) -> Tensor:
        """Turn (B · count, padded, ...) into (B, H, W, ...)."""
        batch, rest = len(tiles) // self.count, tiles.shape[2:]
        grid = tiles[:, : self.pixels].reshape(batch, self.rows, self.columns, self.height, self.width, *rest)
        full = grid.transpose(2, 3).reshape(batch, self.rows * self.height, self.columns * self.width, *rest)
        return full[:, : self.intrinsics.height, : self.intrinsics.width].contiguous()


def _render_tiles(
    world: World, atlas: Atlas, views: Views, local: Tensor, tiles: _Tiles, part: slice, mask: Tensor
) -> tuple[Vector, Tensor]:
    """Return red, green and blue (uint8) and depth of all rays of the tiles ``part``, numbered across all views."""
    tile = torch.arange(part.start, part.stop, device=world.device)
    view, place = tile // tiles.count, tile % tiles.count
    x, y = (rays.index_select(0, place) for rays in tiles.rays)
    r = views.rotation.index_select(0, view)[..., None]
    rx, ry, rz = (x * r[:, i, 0] + y * r[:, i, 1] + r[:, i, 2] for i in range(3))
    hits = trace(world, views, local, (rx, ry, rz), view, mask)
    position = views.position.index_select(0, view)
    ox, oy, oz = (position[:, i, None].expand_as(x).reshape(-1) for i in range(3))
    k = tiles.intrinsics
    pixel_size = ((x * x + y * y + 1.0).sqrt_() * (1.0 / (k.fx * k.fy))).view(-1)
    color = shade(world, atlas, hits, (ox, oy, oz), (rx.view(-1), ry.view(-1), rz.view(-1)), pixel_size)
    return color, hits.depth
