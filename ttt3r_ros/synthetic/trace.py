"""Intersects rays with boxes, upright cylinders and ellipsoids.

Rays are grouped in tiles of neighboring pixels; each tile has a short list of primitives (see ``cull``). Rays are not
normalized: their camera z is 1, so the ray parameter t is the depth along the optical axis in meters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ttt3r_ros.synthetic.cull import Views
from ttt3r_ros.synthetic.world import World

_SLOT_BITS = 8  # during the search for the nearest hit, the low bits of t hold the primitive's slot in the tile's list
_SLOTS = 1 << _SLOT_BITS
_MISS = 1e12  # scales a missed overlap to a depth beyond everything
_GRAZING = 1e-4
_TINY = 1e-12  # avoids infinity times zero for rays parallel to a face

Vector = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Hits:
    """The hits of n rays; every tensor is (n,), float32 unless stated otherwise.

    Attributes:
        depth: meters along the optical axis.
        surface: int32, row in the world's surface table.
        p, q: meters, position on the surface in the primitive's own axes (the horizontal one first), from its center.
        normal: unit normal, world frame, toward the camera.
        facing: minus the dot product of normal and ray, > 0.
    """

    depth: Tensor
    surface: Tensor
    p: Tensor
    q: Tensor
    normal: Vector
    facing: Tensor


def local_primitives(world: World, views: Views) -> Tensor:
    """Return (B · N, 14), per camera and primitive.

    Columns: cosine, sine, three half sizes, the camera's position in the primitive's axes, and the lower and upper
    corners of its bounding box relative to the camera, in the world's axes.
    """
    offset = views.position[:, None] - world.center[views.scene]
    cosine, sine, half = world.cosine[views.scene], world.sine[views.scene], world.half[views.scene]
    x = offset[..., 0] * cosine + offset[..., 1] * sine
    y = offset[..., 1] * cosine - offset[..., 0] * sine
    reach_x = cosine.abs() * half[..., 0] + sine.abs() * half[..., 1]
    reach_y = sine.abs() * half[..., 0] + cosine.abs() * half[..., 1]
    reach = torch.stack([reach_x, reach_y, half[..., 2]], dim=-1)
    own = torch.stack([cosine, sine, half[..., 0], half[..., 1], half[..., 2], x, y, offset[..., 2]], dim=-1)
    return torch.cat([own, -offset - reach, reach - offset], dim=-1).flatten(0, 1)


def trace(world: World, views: Views, local: Tensor, direction: Vector, view: Tensor, mask: Tensor) -> Hits:
    """Return the nearest hit of every ray, for T tiles of R rays each.

    Args:
        world: N primitives per scene.
        views: B cameras.
        local: (B · N, 14) from ``local_primitives``.
        direction: three (T, R) float32, world frame, camera z = 1.
        view: (T,) int64, the camera of each tile.
        mask: (T, N) bool, the primitives that may be visible in each tile.

    Raises:
        ValueError: a tile's list exceeds _SLOTS primitives.
    """
    tiles = len(view)
    key = torch.full_like(direction[0], torch.inf).view(torch.int32)
    rows = (view * world.primitives).repeat(_SLOTS, 1)
    flatness = world.flatness[views.scene].view(-1, 1)
    inverse = [(d + _TINY).reciprocal_() for d in direction]
    first_slot = first_primitive = 0
    for kind, part in enumerate(torch.split(mask, list(world.kinds), dim=1)):
        tile, primitive, slot, longest = _pairs(part)
        if first_slot + longest > _SLOTS:
            raise ValueError(f"a tile sees more than {_SLOTS} primitives: the scene has too many of them")
        slot += first_slot
        first_slot += longest
        row = primitive + first_primitive + view.index_select(0, tile) * world.primitives
        first_primitive += part.shape[1]
        rows[slot, tile] = row
        for start in range(0, len(tile), tiles):
            part_row, part_tile = row[start : start + tiles], tile[start : start + tiles]
            x, y, z = (d.index_select(0, part_tile) for d in (direction if kind else inverse))
            primitives = local.index_select(0, part_row)
            if kind == 0:
                t = _aligned_depth(primitives, (x, y, z))
            elif kind == 1:
                t = _turned_depth(primitives, x, y, z)
            else:
                t = _round_depth(primitives, flatness.index_select(0, part_row), x, y, z)
            keys = _with_slot(t, slot[start : start + tiles])
            key.scatter_reduce_(0, part_tile[:, None].expand_as(keys), keys, "amin")
    place = (key & (_SLOTS - 1)).long().mul_(tiles).add_(torch.arange(tiles, device=key.device)[:, None])
    nearest = rows.view(-1).index_select(0, place.view(-1))
    scene_row = ((views.scene - torch.arange(len(views.scene), device=key.device)) * world.primitives).index_select(
        0, view
    )
    primitive = nearest.view(tiles, -1) + scene_row[:, None]
    x, y, z = (d.reshape(-1) for d in direction)
    return _describe(world, local, nearest, primitive.view(-1), (x, y, z))


def _pairs(mask: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Convert a (T, N) mask to pairs of tile and primitive.

    Returns:
        The tile and the primitive of each pair, its slot in the tile's list, and the length of the longest list.
    """
    tile, primitive = mask.nonzero(as_tuple=True)
    counts = torch.bincount(tile, minlength=len(mask))
    first = counts.cumsum(0) - counts
    slot = torch.arange(len(tile), device=mask.device) - first.index_select(0, tile)
    return tile, primitive, slot, int(counts.max())


def _with_slot(t: Tensor, slot: Tensor) -> Tensor:
    """Return positive depths (n, R) as int32 in the same order, the low bits of each row replaced by its slot."""
    return t.view(torch.int32).bitwise_and_(-_SLOTS).bitwise_or_(slot.to(torch.int32)[:, None])


def _aligned_depth(primitive: Tensor, inverse: Vector) -> Tensor:
    """Return the depth at which the rays of each row enter one axis-aligned box; a huge number if they miss it.

    The slab method: a ray is inside a box between its last entry into and its first exit from the three slabs.

    Args:
        primitive: (n, 14) from ``local_primitives``.
        inverse: three (n, R), reciprocals of the directions.
    """
    corners = primitive[:, 8:].unsqueeze(2).unbind(1)
    first: Tensor | None = None
    last: Tensor | None = None
    for lower, upper, i in zip(corners[:3], corners[3:], inverse, strict=True):
        t0, t1 = i * lower, i * upper
        entry = torch.minimum(t0, t1)
        leave = torch.maximum(t0, t1, out=t1)
        first = entry if first is None else torch.maximum(first, entry, out=first)
        last = leave if last is None else torch.minimum(last, leave, out=last)
    assert first is not None
    assert last is not None
    return _only_hits(first, last)


def _turned_depth(primitive: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the depth at which the (n, R) rays enter one box of any yaw per row; a huge number if they miss it."""
    cosine, sine, hx, hy, hz, ox, oy, oz = primitive[:, :8].unsqueeze(2).unbind(1)
    local_x, local_y = _rotate(cosine, sine, (x, y, z))
    first, last = _slab(local_x, ox, hx)
    t0, t1 = _slab(local_y, oy, hy)
    torch.maximum(first, t0, out=first)
    torch.minimum(last, t1, out=last)
    t0, t1 = _slab(z, oz, hz)
    torch.maximum(first, t0, out=first)
    torch.minimum(last, t1, out=last)
    return _only_hits(first, last)


def _slab(direction: Tensor, origin: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (direction + _TINY).reciprocal_()
    middle = inverse * -origin
    width = inverse.abs_().mul_(half)
    return middle - width, width.add_(middle)


def _only_hits(first: Tensor, last: Tensor) -> Tensor:
    """Return ``first`` where 0 < first <= last, else a huge number (`torch.where` would take ten times as long)."""
    missing = last.sub_(first).mul_(-_MISS)
    torch.maximum(missing, first * -_MISS, out=missing)
    return torch.maximum(first, missing, out=first)


def _round_depth(primitive: Tensor, flatness: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the depth at which the (n, R) rays enter one cylinder or ellipsoid of yaw 0 per row; huge if they miss."""
    _, _, hx, _, hz, ox, oy, oz = primitive[:, :8].unsqueeze(2).unbind(1)
    first, last = _quadric(flatness, hx, ox, oy, oz, x, y, z)
    t0, t1 = _slab(z, oz, hz)
    return _only_hits(torch.maximum(first, t0), torch.minimum(last, t1))


def _quadric(
    flatness: Tensor, radius: Tensor, ox: Tensor, oy: Tensor, oz: Tensor, x: Tensor, y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Return entry and exit depths for x² + y² + flatness·z² = radius²; entry exceeds exit if a ray misses."""
    a = x * x + y * y + flatness * (z * z) + _TINY
    b = x * ox + y * oy + z * (flatness * oz)
    c = ox * ox + oy * oy + flatness * (oz * oz) - radius * radius
    discriminant = b * b - a * c
    root = discriminant.clamp_min(0.0).sqrt_()
    miss = discriminant.clamp_max(0.0).mul_(-_MISS)
    inverse = a.reciprocal_()
    return (miss - b - root) * inverse, (root - b) * inverse


def _describe(world: World, local: Tensor, row: Tensor, primitive: Tensor, direction: Vector) -> Hits:
    """Intersect every ray exactly with the one primitive it hits, and find the face and the position on it.

    Args:
        world: N primitives per scene.
        local: (B · N, 14) from ``local_primitives``.
        row: (n,) rows of ``local``.
        primitive: (n,) the same primitives as rows of the world's tables.
        direction: three (n,).
    """
    columns = local[:, :8].t().contiguous()
    cosine, sine, hx, hy, hz, ox, oy, oz = (column.index_select(0, row) for column in columns)
    dx, dy = _rotate(cosine, sine, direction)
    dz = direction[2]
    tx, ty, tz = _slab(dx, ox, hx)[0], _slab(dy, oy, hy)[0], _slab(dz, oz, hz)[0]
    t_side = torch.maximum(tx, ty)
    t = torch.maximum(t_side, tz)
    # the face is perpendicular to the axis of the last slab entered
    across_z = (tz >= t_side).float()
    across_x = (tx >= ty).float().mul_(1.0 - across_z)
    across_y = 1.0 - across_z - across_x
    px, py, pz = torch.addcmul(ox, t, dx), torch.addcmul(oy, t, dy), torch.addcmul(oz, t, dz)
    along = across_x * dx
    along.addcmul_(across_y, dy).addcmul_(across_z, dz)
    toward = (along < 0.0).float()
    sign = toward * 2.0 - 1.0
    nx, ny = sign * across_x, sign * across_y
    hits = Hits(
        depth=t,
        surface=torch.addcmul(toward, across_y, across_y, value=2.0)
        .add_(across_z, alpha=4.0)
        .int()
        .add_(primitive.int(), alpha=6),
        p=torch.lerp(px, py, across_x),
        q=torch.lerp(pz, py, across_z),
        normal=(nx * cosine - ny * sine, ny * cosine + nx * sine, sign.mul_(across_z)),
        facing=along.abs_().clamp_min_(_GRAZING),
    )
    _describe_round(world, columns, row, primitive, direction, hits)
    return hits


def _describe_round(
    world: World, columns: Tensor, row: Tensor, primitive: Tensor, direction: Vector, hits: Hits
) -> None:
    """Correct the hits on round primitives."""
    ray = world.roundness.view(-1).index_select(0, primitive).nonzero().view(-1)
    if not len(ray):
        return
    row, primitive = row[ray], primitive[ray]
    radius, _, hz, ox, oy, oz = (column[row] for column in columns[2:])
    flatness = world.flatness.view(-1)[primitive]
    dx, dy, dz = (d[ray] for d in direction)
    t_side, t_cap = _quadric(flatness, radius, ox, oy, oz, dx, dy, dz)[0], _slab(dz, oz, hz)[0]
    t = torch.maximum(t_side, t_cap)
    px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
    on_cap = (t_cap >= t_side).float()
    inverse = (1.0 - on_cap) / (px * px + py * py + (flatness * pz).square() + _TINY).sqrt()
    nx, ny, nz = px * inverse, py * inverse, flatness * pz * inverse - on_cap * dz.sign()
    # texture it like its bounding box, by the axis closest to the normal
    across_x = (px.abs() >= py.abs()).float() * (1.0 - on_cap)
    across_y = 1.0 - on_cap - across_x
    toward = (across_x * px + across_y * py - on_cap * dz) > 0.0
    hits.depth[ray] = t
    hits.surface[ray] = (primitive * 6 + (across_y * 2.0 + on_cap * 4.0 + toward).long()).int()
    hits.p[ray] = px + across_x * (py - px)
    hits.q[ray] = pz + on_cap * (py - pz)
    for of_all, of_round in zip(hits.normal, (nx, ny, nz), strict=True):
        of_all[ray] = of_round
    hits.facing[ray] = -(nx * dx + ny * dy + nz * dz).clamp_max(-_GRAZING)


def _rotate(cosine: Tensor, sine: Tensor, direction: Vector) -> tuple[Tensor, Tensor]:
    """Return x and y of the directions in the axes of primitives with this yaw."""
    x, y, _ = direction
    return torch.mul(x, cosine).add_(y * sine), torch.mul(y, cosine).sub_(x * sine)
