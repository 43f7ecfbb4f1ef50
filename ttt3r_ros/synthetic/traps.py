"""Buildings whose places look alike, to test whoever says to have recognized one."""

from __future__ import annotations

import numpy as np

from ttt3r_ros.errors import UserError
from ttt3r_ros.synthetic.builder import Builder
from ttt3r_ros.synthetic.limits import TRAPS, Trap
from ttt3r_ros.synthetic.palette import draw_palette
from ttt3r_ros.synthetic.plan import DOOR_M, DOORWAY_M, WALL_M, Opening, Plan, Room
from ttt3r_ros.synthetic.scene import Scene, assembled, build_room, hang_light, slabs

_WIDTH, _CORRIDOR, _DEPTH, _HEIGHT = 12.0, 2.6, 8.4, 2.5  # [m]
_DOOR_SPACING_M = 1.5
#: High enough that the lintel is no obstacle for who walks through (see `scene.assembled`).
_DOORWAY_HEIGHT_M = 2.25


def build_trap(seed: int, trap: Trap) -> Scene:
    """Build a trap; the seed draws colors and furniture.

    Raises:
        UserError: there is no such trap.
    """
    if trap not in TRAPS:
        raise UserError(f"a trap of the synthetic world is one of {', '.join(TRAPS)}, not {trap!r}")
    builder = Builder(np.random.Generator(np.random.PCG64([seed, 4])))
    return _doors(builder) if trap == "doors" else _twins(builder, mirrored=trap == "mirrored")


def _twins(builder: Builder, *, mirrored: bool) -> Scene:
    corridor = Room((0.0, _WIDTH), (0.0, _CORRIDOR), {"west", "east", "south"})
    middle, gap, south = _WIDTH / 2, WALL_M / 2, _CORRIDOR + WALL_M
    # a thick outer wall on the left would be copied into the left room
    left = Room((0.0, middle - gap), (south, _DEPTH), {"west", "north"} if mirrored else {"north"})
    right = Room((middle + gap, _WIDTH), (south, _DEPTH), {"east", "north"})
    move = _WIDTH if mirrored else middle + gap
    start = middle - gap - DOORWAY_M[0] - 0.8
    for room in (left, right):
        low = start if room is left else move - start - DOORWAY_M[0] if mirrored else move + start
        along = (low, low + DOORWAY_M[0])
        room.openings.append(Opening("doorway", "south", along, (0.0, _DOORWAY_HEIGHT_M)))
        corridor.openings.append(Opening("doorway", "north", along, (0.0, _DOORWAY_HEIGHT_M)))
    left.openings.append(Opening("window", "north", (1.2, 2.8), (0.9, 2.1)))
    plan = Plan([corridor, left, right], _HEIGHT, (_WIDTH, _DEPTH))
    occluders, light = _room(builder, plan, 0, "study")
    first = len(builder)
    walls, left_light = _room(builder, plan, 1, "living")
    builder.copy(first, len(builder), 2, move, mirrored=mirrored)
    right_light = {
        name: (move - value if mirrored else move + value) if name.endswith("_x") else value
        for name, value in left_light.items()
    }
    copies = [_moved(wall, move, mirrored=mirrored) for wall in walls]
    occluders = [*slabs(plan), *occluders, *walls, *copies]
    return assembled(builder, plan, occluders, [light, left_light, right_light], len(builder))


def _room(
    builder: Builder, plan: Plan, index: int, kind: str | None
) -> tuple[list[tuple[float, ...]], dict[str, float]]:
    """Build a room in colors of its own; return its occluders and lights."""
    occluders = build_room(builder, plan, index, kind, draw_palette(builder.rng))
    return occluders, hang_light(builder, plan, index)


def _moved(box: tuple[float, ...], move: float, *, mirrored: bool) -> tuple[float, ...]:
    """Return a box (x0, y0, z0, x1, y1, z1) moved along x, or mirrored."""
    x0, y0, z0, x1, y1, z1 = box
    x = (move - x1, move - x0) if mirrored else (move + x0, move + x1)
    return (x[0], y0, z0, x[1], y1, z1)


def _doors(builder: Builder) -> Scene:
    corridor = Room((0.0, _WIDTH), (0.0, _CORRIDOR), {"west", "east", "south"})
    room = Room((0.0, _WIDTH), (_CORRIDOR + WALL_M, _DEPTH), {"west", "east", "north"})
    for low in (_WIDTH / 2 - 4.6, _WIDTH / 2 + 3.2):
        along = (low, low + DOORWAY_M[0])
        room.openings.append(Opening("doorway", "south", along, (0.0, _DOORWAY_HEIGHT_M)))
        corridor.openings.append(Opening("doorway", "north", along, (0.0, _DOORWAY_HEIGHT_M)))
    for low in np.arange(0.4, _WIDTH - DOOR_M[0] - 0.2, _DOOR_SPACING_M):
        for side in ("south", "north"):
            along = (float(low), float(low) + DOOR_M[0])
            if corridor.free(side, along, 0.2):
                corridor.openings.append(Opening("door", side, along, (0.0, DOOR_M[1])))
    plan = Plan([corridor, room], _HEIGHT, (_WIDTH, _DEPTH))
    occluders, light = _room(builder, plan, 0, None)
    walls, room_light = _room(builder, plan, 1, "living")
    return assembled(builder, plan, [*slabs(plan), *occluders, *walls], [light, room_light], len(builder))
