"""The shell of a room: floor, ceiling, walls with their openings, skirting boards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt3r_ros.synthetic.builder import Builder, Paint, Place
from ttt3r_ros.synthetic.palette import Palette, scaled
from ttt3r_ros.synthetic.plan import OUTER_WALL_M, SIDES, WALL_M, Opening, Plan, Room

Span = tuple[float, float]
_YAW = {"south": 0.0, "east": np.pi / 2, "north": np.pi, "west": -np.pi / 2}  # y of a place points into the room


def against(room: Room, side: str, along: float) -> Place:
    """Return the place at a wall, ``along`` in world coordinates, y into the room."""
    x = {"west": room.x[0], "east": room.x[1]}.get(side, along)
    y = {"south": room.y[0], "north": room.y[1]}.get(side, along)
    return Place(x, y, _YAW[side])


def build_shell(builder: Builder, plan: Plan, index: int, palette: Palette) -> list[tuple[float, ...]]:
    """Add a room's shell; return its occluders, boxes (x0, y0, z0, x1, y1, z1) used for culling."""
    room, builder.room = plan.rooms[index], index
    height = plan.height
    middle_x, middle_y = (_shared(room.x, room, "west", "east"), _shared(room.y, room, "south", "north"))
    origin = Place(0.0, 0.0)
    builder.box(origin, middle_x, middle_y, (-0.2, 0.0), palette.floor)
    builder.box(origin, middle_x, middle_y, (height, height + 0.2), palette.ceiling)
    occluders: list[tuple[float, ...]] = []
    for side in SIDES:
        occluders += _wall(builder, room, side, height, palette)
    for opening in room.openings:
        {"doorway": _doorway, "window": _window, "door": _door}[opening.kind](builder, room, opening, palette)
    return occluders


def _shared(span: Span, room: Room, low: str, high: str) -> Span:
    """Extend a room's span to the middle of shared walls and to the outside of outer walls."""
    return (
        span[0] - (OUTER_WALL_M if low in room.outer else WALL_M / 2),
        span[1] + (OUTER_WALL_M if high in room.outer else WALL_M / 2),
    )


def _wall(builder: Builder, room: Room, side: str, height: float, palette: Palette) -> list[tuple[float, ...]]:
    thickness = OUTER_WALL_M if side in room.outer else WALL_M / 2
    low, high = room.extent(side)
    corner = WALL_M / 2  # walls overlap in the corners, so that there are no gaps
    holes = sorted((o.along, o.z) for o in room.openings if o.side == side and o.kind != "door")
    doors = sorted(o.along for o in room.openings if o.side == side and o.kind != "window")
    _skirting(builder, room, side, (low, high), doors, palette)
    solid, start = [], low - corner
    for along, _ in holes:
        solid.append((start, along[0]))
        start = along[1]
    solid.append((start, high + corner))
    occluders = []
    for span in solid:
        _panel(builder, room, side, span, (0.0, height), thickness, palette)
        occluders.append(_world_box(room, side, span, (0.0, height), thickness))
    for along, z in holes:
        for part in ((0.0, z[0]), (z[1], height)):
            if part[1] - part[0] > 0.01:
                _panel(builder, room, side, along, part, thickness, palette)
                occluders.append(_world_box(room, side, along, part, thickness))
    return occluders


def _panel(builder: Builder, room: Room, side: str, span: Span, z: Span, thickness: float, palette: Palette) -> None:
    """Add a piece of wall, with the palette's dado paint below the dado height if there is one."""
    parts = [(z, palette.wall)]
    if palette.dado is not None and z[0] < palette.dado_m:
        parts = [((z[0], min(z[1], palette.dado_m)), palette.dado)]
        if z[1] > palette.dado_m:
            parts.append(((palette.dado_m, z[1]), palette.wall))
    for extent, paint in parts:
        x0, y0, z0, x1, y1, z1 = _world_box(room, side, span, extent, thickness)
        builder.box(Place(0.0, 0.0), (x0, x1), (y0, y1), (z0, z1), paint)


def _world_box(room: Room, side: str, span: Span, z: Span, thickness: float) -> tuple[float, ...]:
    if side in ("west", "east"):
        x = (room.x[0] - thickness, room.x[0]) if side == "west" else (room.x[1], room.x[1] + thickness)
        return (x[0], span[0], z[0], x[1], span[1], z[1])
    y = (room.y[0] - thickness, room.y[0]) if side == "south" else (room.y[1], room.y[1] + thickness)
    return (span[0], y[0], z[0], span[1], y[1], z[1])


def _skirting(builder: Builder, room: Room, side: str, span: Span, doors: list[Span], palette: Palette) -> None:
    start = span[0]
    for door in [*doors, (span[1], span[1])]:
        if door[0] - start > 0.1:
            place = against(room, side, (start + door[0]) / 2)
            half = (door[0] - start) / 2
            builder.box(place, (-half, half), (0.0, 0.015), (0.0, 0.09), palette.trim)
        start = door[1]


def _at(room: Room, opening: Opening) -> tuple[Place, float]:
    return against(room, opening.side, sum(opening.along) / 2), (opening.along[1] - opening.along[0]) / 2


def _doorway(builder: Builder, room: Room, opening: Opening, palette: Palette) -> None:
    place, half = _at(room, opening)
    top, depth = opening.z[1], (-WALL_M / 2, 0.02)
    for x in ((-half - 0.07, -half + 0.02), (half - 0.02, half + 0.07)):
        builder.box(place, x, depth, (0.0, top + 0.07), palette.trim)
    builder.box(place, (-half, half), depth, (top - 0.02, top + 0.07), palette.trim)


def _door(builder: Builder, room: Room, opening: Opening, palette: Palette) -> None:
    place, half = _at(room, opening)
    top = opening.z[1]
    builder.box(place, (-half, half), (0.0, 0.025), (0.0, top), palette.trim, front=palette.door)
    for x in ((-half - 0.08, -half), (half, half + 0.08)):
        builder.box(place, x, (0.0, 0.045), (0.0, top + 0.08), palette.trim)
    builder.box(place, (-half, half), (0.0, 0.045), (top, top + 0.08), palette.trim)


def lay_sunlight(builder: Builder, plan: Plan, index: int, palette: Palette) -> None:
    """Add sunlight: one patch of brighter floor per pane, paper-thin so that the depth stays the floor's."""
    room, rng = plan.rooms[index], builder.rng
    bright = replace(palette.floor, tint=scaled(palette.floor.tint, 2.2, limit=2.0))
    windows = [o for o in room.openings if o.kind == "window"]
    for opening in [o for o in windows if o.side == windows[0].side]:
        place, half = _at(room, opening)
        near, shift = rng.uniform(0.6, 1.3), rng.uniform(-0.25, 0.25)
        for x in ((-half + 0.1, -0.06), (0.06, half - 0.1)):
            builder.box(place, (x[0] + shift, x[1] + shift), (near, near + 1.1), (-0.05, 0.001), bright)


def _window(builder: Builder, room: Room, opening: Opening, palette: Palette) -> None:
    place, half = _at(room, opening)
    (low, high), frame = opening.z, (-0.2, -0.13)
    view = Paint("views", cell=int(builder.rng.integers(0, 4)), glow=1.0)
    builder.box(place, (-half, half), (-0.24, -0.17), (low, high), view)
    for x in ((-half, -half + 0.06), (half - 0.06, half), (-0.035, 0.035)):
        builder.box(place, x, frame, (low, high), palette.window_frame)
    for z in ((low, low + 0.06), (high - 0.06, high)):
        builder.box(place, (-half, half), frame, z, palette.window_frame)
    builder.box(place, (-half - 0.06, half + 0.06), (-0.13, 0.1), (low - 0.03, low), palette.sill)
    if palette.curtain is not None:
        reach = 0.12
        for x in ((-half - reach, -half + 0.2), (half - 0.2, half + reach)):
            builder.box(place, x, (0.11, 0.16), (low - 0.12, high + 0.1), palette.curtain)
        builder.box(place, (-half - 0.2, half + 0.2), (0.12, 0.14), (high + 0.1, high + 0.12), palette.trim)
    if builder.rng.random() < 0.6:
        ribs = Paint("radiator", palette.window_frame.tint)
        builder.box(place, (-half * 0.8, half * 0.8), (0.03, 0.11), (0.12, low - 0.15), ribs)
