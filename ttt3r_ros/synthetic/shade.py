"""Shades hits: texture, light, and the tone curve from light to 8 bits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.synthetic.atlas import Atlas
from ttt3r_ros.synthetic.clearance import MAP_CELL_M, MAP_ORIGIN_M
from ttt3r_ros.synthetic.trace import Hits, Vector
from ttt3r_ros.synthetic.world import World

_TONES = 8192
_TONE_MAX = 2.0  # linear light at which the curve saturates


def shade(world: World, atlas: Atlas, hits: Hits, origin: Vector, direction: Vector, pixel_size: Tensor) -> Vector:
    """Return red, green and blue, each (n,) uint8.

    Args:
        world: the scenes.
        atlas: their textures.
        hits: hits of n rays.
        origin: three (n,) or broadcastable, meters, world frame.
        direction: three (n,), world frame, camera z = 1.
        pixel_size: (n,) squared length of a ray over the squared focal length [px]: a pixel's area at depth 1.
    """
    column = _columns(world.surfaces, hits.surface)
    albedo = _albedo(atlas, column, hits, pixel_size)
    x, y, z = (torch.addcmul(o, hits.depth, d) for o, d in zip(origin, direction, strict=True))
    light = _light(world, column["room"], (x, y, z), hits.normal, column["glow"])
    tone = _tone_curve(str(world.device))
    scale = _TONES / _TONE_MAX
    red, green, blue = (
        tone.index_select(0, a.mul_(lit).mul_(scale).clamp_(0, _TONES - 1).int())
        for a, lit in zip(albedo, light, strict=True)
    )
    return red, green, blue


def _columns(table: dict[str, Tensor], row: Tensor) -> dict[str, Tensor]:
    return {name: column.index_select(0, row) for name, column in table.items()}


def _albedo(atlas: Atlas, column: dict[str, Tensor], hits: Hits, pixel_size: Tensor) -> Vector:
    u = torch.addcmul(column["u_0"], hits.p, column["u_p"]).addcmul_(hits.q, column["u_q"])
    v = torch.addcmul(column["v_0"], hits.p, column["v_p"]).addcmul_(hits.q, column["v_q"])
    # A pixel's footprint on an inclined surface is stretched by 1/cos in one direction. The mip level uses the
    # geometric mean of both lengths, between blur and flicker. cos = facing / |ray|, and pixel_size includes |ray|.
    footprint = hits.depth.square() * pixel_size / hits.facing
    level = 0.5 * _log2(footprint) + column["detail"]
    r, g, b = atlas.sample(column["first_texel"], u, v, level)
    return r * column["red"], g * column["green"], b * column["blue"]


def _log2(x: Tensor) -> Tensor:
    """Return log2 of positive numbers to within 0.09 from their bits, with arithmetic that is exact on any device."""
    return x.view(torch.int32).float().mul_(2.0**-23).sub_(127.0)


def _light(world: World, room: Tensor, place: Vector, normal: Vector, glow: Tensor) -> Vector:
    at = _columns(world.rooms, room)
    lamp = _from_point((at["lamp_x"], at["lamp_y"], at["lamp_z"]), place, normal)
    sky = _from_point((at["sky_x"], at["sky_y"], at["sky_z"]), place, normal)
    open_ = _openness(world, at["first_cell"], place, normal)
    # indirect light: more on faces that look down, and different amounts on adjacent walls, so that corners show
    ambient = torch.addcmul(-0.06 * normal[2], normal[0], normal[0], value=0.08).add_(0.92)
    lit, shining = open_.mul_(1.0 - glow), glow * 1.4
    red, green, blue = (
        (ambient * at[f"ambient_{c}"])
        .addcmul_(lamp, at[f"lamp_{c}"])
        .addcmul_(sky, at[f"sky_{c}"])
        .mul_(lit)
        .add_(shining)
        for c in ("red", "green", "blue")
    )
    return red, green, blue


def _from_point(source: Vector, place: Vector, normal: Vector) -> Tensor:
    """Return the light of an area source: 1 nearby, a quarter at 3.5 m, wrapped around edges like soft light."""
    x, y, z = (s - p for s, p in zip(source, place, strict=True))
    squared = (x * x).addcmul_(y, y).addcmul_(z, z).add_(0.04)
    cosine = x.mul_(normal[0]).addcmul_(y, normal[1]).addcmul_(z, normal[2]).div_(squared.sqrt())
    return cosine.mul_(0.7).add_(0.3).clamp_min_(0.05).div_(squared.mul_(0.25).add_(1.0))


def _openness(world: World, first_cell: Tensor, place: Vector, normal: Vector) -> Tensor:
    """Return the ambient light at a point, in [0, 1]: less beside, between and under objects."""
    x = torch.add(place[0], normal[0], alpha=0.14).sub_(MAP_ORIGIN_M).mul_(1.0 / MAP_CELL_M)
    y = torch.add(place[1], normal[1], alpha=0.14).sub_(MAP_ORIGIN_M).mul_(1.0 / MAP_CELL_M)
    column = x.clamp_(0, world.map_columns - 1.001).int()
    row = y.clamp_(0, world.map_rows - 1.001).int()
    fx, fy = x.sub_(column).mul_(128.0), y.sub_(row)
    cell = row.mul_(world.map_columns).add_(column).add_(first_cell)
    # the weights are integers that sum to 128, so the two halves of one integer can accumulate both heights
    right = fx.int()
    left = 128 - right
    sums = []
    for step in (0, world.map_columns):
        both = world.openness.index_select(0, cell + step if step else cell).mul_(left)
        sums.append(both.add_(world.openness.index_select(0, cell + (step + 1)).mul_(right)))
    low, high = (torch.lerp((u & 0xFFFF).float(), (v & 0xFFFF).float(), fy) for u, v in (sums, [s >> 16 for s in sums]))
    height = (place[2] * 1.2).clamp_(0.0, 1.0)
    open_ = torch.lerp(low, high, height).mul_(1.0 / (128 * 255))
    at_floor = (place[2].square().mul_(60.0).add_(1.0)).reciprocal_().mul_(0.3)  # walls darken toward the floor
    return open_.mul_(at_floor.mul_(normal[2].square().sub_(1.0)).add_(1.0))


@lru_cache(maxsize=4)
def _tone_curve(device: str) -> Tensor:
    """Return (_TONES,) uint8: the sRGB curve after a shoulder that softens the clipping of highlights."""
    linear = (np.arange(_TONES) + 0.5) / _TONES * _TONE_MAX
    knee = 0.6
    over = np.maximum(linear - knee, 0.0)
    rolled = np.minimum(linear, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))
    encoded = np.where(rolled <= 0.0031308, 12.92 * rolled, 1.055 * rolled ** (1 / 2.4) - 0.055)
    return torch.from_numpy(np.round(encoded * 255).astype(np.uint8)).to(device)
