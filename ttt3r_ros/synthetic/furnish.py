"""Places furniture in rooms where it fits and leaves the passages free."""

from __future__ import annotations

import numpy as np

from ttt3r_ros.synthetic.builder import Builder, Paint, Place
from ttt3r_ros.synthetic.furniture import ROOMS, Piece, coffee_table, dining_table
from ttt3r_ros.synthetic.palette import Palette
from ttt3r_ros.synthetic.plan import SIDES, Plan, Room
from ttt3r_ros.synthetic.shell import against

Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1
_PASSAGE_M = 1.25  # free space in front of a doorway, and between furniture at opposite walls
_TRIES = 25


def furnish(builder: Builder, plan: Plan, index: int, kind: str, palette: Palette) -> None:
    """Furnish one room of a plan as a living room, bedroom, kitchen or study."""
    room, builder.room = plan.rooms[index], index
    taken = [_passage(room, o.side, o.along) for o in room.openings if o.kind == "doorway"]
    for piece in ROOMS[kind]:
        _stand_at_wall(builder, room, piece, palette, taken)
    _middle(builder, room, kind, palette, taken)
    _hang_paintings(builder, room, kind, palette, taken)


def _passage(room: Room, side: str, along: tuple[float, float]) -> Rectangle:
    return _footprint(room, side, along, _PASSAGE_M)


def _footprint(room: Room, side: str, along: tuple[float, float], depth: float) -> Rectangle:
    if side == "west":
        return (room.x[0], along[0], room.x[0] + depth, along[1])
    if side == "east":
        return (room.x[1] - depth, along[0], room.x[1], along[1])
    if side == "south":
        return (along[0], room.y[0], along[1], room.y[0] + depth)
    return (along[0], room.y[1] - depth, along[1], room.y[1])


def _overlap(a: Rectangle, b: Rectangle, gap: float = 0.0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def _stand_at_wall(builder: Builder, room: Room, piece: Piece, palette: Palette, taken: list[Rectangle]) -> None:
    rng = builder.rng
    width, depth = rng.uniform(*piece.width), rng.uniform(*piece.depth)
    across = {s: (room.y if s in ("south", "north") else room.x) for s in SIDES}
    for _ in range(_TRIES):
        side = SIDES[int(rng.integers(4))]
        low, high = room.extent(side)
        if high - low < width + 0.2 or across[side][1] - across[side][0] < depth + 2 * _PASSAGE_M:
            continue
        start = rng.uniform(low + 0.03, high - 0.03 - width)
        if rng.random() < 0.35:  # people like corners
            start = low + 0.03 if rng.random() < 0.5 else high - 0.03 - width
        along = (start, start + width)
        blocked = [
            o for o in room.openings
            if o.side == side and (o.kind != "window" or piece.tall)
            and along[0] < o.along[1] + 0.1 and o.along[0] < along[1] + 0.1
        ]  # fmt: skip
        rectangle = _footprint(room, side, along, depth)
        if blocked or any(_overlap(rectangle, t, 0.04) for t in taken):
            continue
        taken.append(rectangle)
        place = against(room, side, start + width / 2)
        gap = 0.12 if any(o.side == side and o.kind == "window" for o in room.openings) else 0.02  # for radiators
        piece.build(builder, place.at(0.0, gap), width, depth - gap, palette)
        return


def _middle(builder: Builder, room: Room, kind: str, palette: Palette, taken: list[Rectangle]) -> None:
    """Put a table in the middle if there is room to walk around it, and often a rug."""
    rng = builder.rng
    x, y = (sum(room.x) / 2 + rng.uniform(-0.2, 0.2), sum(room.y) / 2 + rng.uniform(-0.2, 0.2))
    turned = room.y[1] - room.y[0] > room.x[1] - room.x[0]
    place = Place(x, y, np.pi / 2 if turned else 0.0)

    def fits(half_x: float, half_y: float, way: float) -> bool:
        hx, hy = (half_y, half_x) if turned else (half_x, half_y)
        spot = (x - hx, y - hy, x + hx, y + hy)
        roomy = (
            x - hx - room.x[0] > way
            and room.x[1] - x - hx > way
            and y - hy - room.y[0] > way
            and room.y[1] - y - hy > way
        )
        return roomy and not any(_overlap(spot, t, way) for t in taken)

    if kind in ("kitchen", "living") and rng.random() < 0.8 and fits(1.0, 0.95, _PASSAGE_M):
        dining_table(builder, place, palette)
    elif kind in ("living", "study") and fits(0.5, 0.45, _PASSAGE_M):
        coffee_table(builder, place, palette)
    if rng.random() < 0.7:
        half_x, half_y = rng.uniform(0.9, 1.5), rng.uniform(0.7, 1.0)
        rug = Paint("rugs", cell=int(rng.integers(0, 4)))
        at = Place(x, y, place.yaw + rng.uniform(-0.08, 0.08))
        builder.box(at, (-half_x, half_x), (-half_y, half_y), (-0.05, 0.012), rug)


def _hang_paintings(builder: Builder, room: Room, kind: str, palette: Palette, taken: list[Rectangle]) -> None:
    rng = builder.rng
    for side in SIDES:
        low, high = room.extent(side)
        for start in np.arange(low + 0.4, high - 1.2, 1.1 if kind != "corridor" else 5.0):
            half = rng.uniform(0.2, 0.42)
            middle = start + rng.uniform(0.4, 0.7)
            along, z = (middle - half - 0.1, middle + half + 0.1), rng.uniform(1.35, 1.6)
            behind = _footprint(room, side, along, 0.1)
            if rng.random() < 0.3 or not room.free(side, along, 0.05) or any(_overlap(behind, t) for t in taken):
                continue
            place, upright = against(room, side, middle), rng.uniform(0.75, 1.3) * half
            builder.box(
                place, (-half - 0.03, half + 0.03), (0.0, 0.03), (z - upright - 0.03, z + upright + 0.03), palette.wood
            )
            painting = Paint("paintings", cell=int(rng.integers(0, 16)))
            builder.box(place, (-half, half), (0.0, 0.033), (z - upright, z + upright), painting)
