"""Places other than apartments: an office floor with a long corridor, a hall, and a yard under a sky."""

from __future__ import annotations

import numpy as np

from ttt3r_ros.synthetic.builder import Builder, Paint, Place
from ttt3r_ros.synthetic.furniture import dining_table, parcels
from ttt3r_ros.synthetic.palette import Palette, color
from ttt3r_ros.synthetic.plan import DOOR_M, DOORWAY_M, WALL_M, Opening, Plan, Room, add_doors, add_windows, spot

#: What is further away than that is the sky: it has no depth [m].
HORIZON_M = 60.0
_DOME_M = 200.0  # from the yard to where the sky is painted, so that its depth exceeds HORIZON_M in the widest image
_SUN_M = 100.0


def draw_corridor(rng: np.random.Generator) -> Plan:
    """Draw a corridor of 16 to 30 m with rooms along one side and closed doors along the other."""
    length, width, height = rng.uniform(16.0, 30.0), rng.uniform(1.9, 2.6), rng.uniform(2.4, 3.2)
    gap, depth = WALL_M / 2, rng.uniform(4.0, 5.5)
    corridor = Room((0.0, length), (0.0, width), {"west", "east", "south"})
    rooms = [corridor]
    count = int(length // rng.uniform(4.0, 6.0))
    borders = np.linspace(0.0, length, count + 1)
    for i in range(count):
        x = (borders[i] + gap * (i > 0), borders[i + 1] - gap * (i + 1 < count))
        outer = {"north"} | ({"west"} if i == 0 else set()) | ({"east"} if i + 1 == count else set())
        room = Room(x, (width + 2 * gap, width + 2 * gap + depth), outer)
        kind = "doorway" if i == 0 or rng.random() < 0.7 else "door"
        along = spot(rng, x, (DOORWAY_M if kind == "doorway" else DOOR_M)[0])
        for side, one in (("south", room), ("north", corridor)):
            one.openings.append(Opening(kind, side, along, (0.0, (DOORWAY_M if kind == "doorway" else DOOR_M)[1])))
        add_windows(rng, room)
        add_doors(rng, room)
        rooms.append(room)
    for start in np.arange(rng.uniform(0.5, 2.0), length - 1.5, rng.uniform(3.0, 6.0)):
        corridor.openings.append(Opening("door", "south", (start, start + DOOR_M[0]), (0.0, DOOR_M[1])))
    return Plan(rooms, height, (length, width + 2 * gap + depth))


def draw_hall(rng: np.random.Generator) -> Plan:
    """Draw one room of 14 to 24 by 10 to 16 m, 3.5 to 7 m high."""
    width, depth, height = rng.uniform(14.0, 24.0), rng.uniform(10.0, 16.0), rng.uniform(3.5, 7.0)
    room = Room((0.0, width), (0.0, depth), {"west", "east", "south", "north"})
    add_windows(rng, room)
    add_doors(rng, room)
    return Plan([room], height, (width, depth))


def furnish_hall(builder: Builder, plan: Plan, palette: Palette) -> None:
    """Put pillars, tables and stacks of boxes on a grid in a hall."""
    rng = builder.rng
    spacing = rng.uniform(3.6, 5.5)
    square, thick = rng.random() < 0.5, rng.uniform(0.15, 0.3)
    for x in np.arange(spacing, plan.size[0] - 2.5, spacing):
        for y in np.arange(spacing, plan.size[1] - 2.5, spacing):
            at = Place(float(x), float(y))
            if square:
                builder.box(at, (-thick, thick), (-thick, thick), (0.0, plan.height), palette.wall)
            else:
                builder.cylinder(at, thick, (0.0, plan.height), palette.wall)
            between = at.at(spacing / 2, 0.0, rng.uniform(0, 2 * np.pi))
            if between.x > plan.size[0] - 2.5:
                continue
            kind = rng.random()
            if kind < 0.3:
                dining_table(builder, between, palette)
            elif kind < 0.5:
                parcels(builder, between, 0.6, 0.5, palette)


def draw_yard(rng: np.random.Generator) -> Plan:
    """Draw a yard of 12 to 20 by 10 to 16 m; its height is that of its fence."""
    width, depth = rng.uniform(12.0, 20.0), rng.uniform(10.0, 16.0)
    return Plan([Room((0.0, width), (0.0, depth), set())], rng.uniform(0.9, 2.2), (width, depth))


def build_yard(builder: Builder, plan: Plan, palette: Palette) -> list[tuple[float, ...]]:
    """Add ground, sky, fences, houses, trees and things that stand about; return the houses, which hide what is behind.

    The sky is painted on a dome of boxes far away, which emits light.
    """
    rng = builder.rng
    (width, depth), origin = plan.size, Place(0.0, 0.0)
    ground = Paint(str(rng.choice(["grass", "gravel", "asphalt", "cobbles"])), anchored=True)
    far_x, far_y = (-_DOME_M, width + _DOME_M), (-_DOME_M, depth + _DOME_M)
    builder.box(origin, far_x, far_y, (-1.0, 0.0), ground)
    above = Paint("sky", glow=0.7)
    high = (-2.0, _DOME_M)
    for x, y, z in (
        ((far_x[0] - 1, far_x[0]), far_y, high), ((far_x[1], far_x[1] + 1), far_y, high),
        (far_x, (far_y[0] - 1, far_y[0]), high), (far_x, (far_y[1], far_y[1] + 1), high),
        ((far_x[0] - 1, far_x[1] + 1), (far_y[0] - 1, far_y[1] + 1), (_DOME_M, _DOME_M + 1)),
    ):  # fmt: skip
        builder.box(origin, x, y, z, above)
    way = Paint(str(rng.choice(["cobbles", "asphalt", "gravel", "floor_tiles"])), anchored=True)
    middle, half = rng.uniform(0.3, 0.7) * depth, rng.uniform(0.6, 1.4)
    builder.box(origin, (-0.5, width + 0.5), (middle - half, middle + half), (-0.5, 0.004), way)

    houses = _enclose(builder, plan, palette)
    for spot_of_tree in _scatter(rng, plan, int(rng.integers(2, 6)), 1.2):
        _tree(builder, Place(*spot_of_tree))
    for spot_of_thing in _scatter(rng, plan, int(rng.integers(3, 8)), 1.0):
        at, kind = Place(*spot_of_thing, rng.uniform(0, 2 * np.pi)), rng.random()
        if kind < 0.35:
            parcels(builder, at, 0.6, 0.5, palette)
        elif kind < 0.65:
            _bench(builder, at, palette)
        elif kind < 0.85:
            low = rng.uniform(0.4, 1.1)
            builder.ellipsoid(at, rng.uniform(0.35, 0.8), (-0.2, low), Paint("foliage", scale=0.7))
        else:
            builder.cylinder(at, 0.05, (0.0, 3.5), Paint("lacquer", (0.1, 0.12, 0.1)))
            builder.ellipsoid(at, 0.18, (3.4, 3.8), Paint("lacquer", (0.9, 0.88, 0.8), glow=0.5))
    return houses


def daylight(builder: Builder, plan: Plan) -> dict[str, float]:
    """Return the light of a yard: the sun, far away in place of a room's lamp, and a bright sky all around."""
    rng = builder.rng
    turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(np.deg2rad(20), np.deg2rad(70))
    warm = rng.uniform(0.0, 0.25)
    power = rng.uniform(0.2, 0.8) * (1 + _SUN_M**2 / 4)  # the renderer's lights fade with the distance
    ambient = rng.uniform(0.5, 0.75)
    x, y = plan.size[0] / 2, plan.size[1] / 2
    return {
        "lamp_x": x + _SUN_M * np.cos(height) * np.cos(turn), "lamp_y": y + _SUN_M * np.cos(height) * np.sin(turn),
        "lamp_z": _SUN_M * np.sin(height),
        "sky_x": x, "sky_y": y, "sky_z": _SUN_M,
        "lamp_red": power, "lamp_green": power * (1 - 0.3 * warm), "lamp_blue": power * (1 - warm),
        "sky_red": 0.0, "sky_green": 0.0, "sky_blue": 0.0,
        "ambient_red": ambient * 0.94, "ambient_green": ambient * 0.97, "ambient_blue": ambient,
    }  # fmt: skip


def _enclose(builder: Builder, plan: Plan, palette: Palette) -> list[tuple[float, ...]]:
    """Put a fence, a hedge, a wall or a house along each side."""
    rng, (width, depth) = builder.rng, plan.size
    houses: list[tuple[float, ...]] = []
    for along_x, at_end in ((True, False), (True, True), (False, False), (False, True)):
        length = width if along_x else depth

        def box(a: tuple[float, float], b: tuple[float, float], z: tuple[float, float], paint: Paint,
                along_x: bool = along_x, at_end: bool = at_end) -> tuple[float, ...]:  # fmt: skip
            """Add a box from a[0] to a[1] along the side, b[0] to b[1] outwards."""
            far = depth if along_x else width
            across = (far + b[0], far + b[1]) if at_end else (-b[1], -b[0])
            x, y = (a, across) if along_x else (across, a)
            builder.box(Place(0.0, 0.0), x, y, z, paint)
            return (x[0], y[0], z[0], x[1], y[1], z[1])

        kind = rng.random()
        if kind < 0.4:  # a house, a bit away from its neighbors
            start, high = rng.uniform(0.0, 0.3) * length, rng.uniform(4.0, 9.0)
            end = start + rng.uniform(0.5, 0.7) * length
            wall = Paint("facade", color(rng, (0.0, 0.3), (0.7, 1.0)))
            houses.append(box((start, end), (0.3, 8.0), (0.0, high), wall))
            box((start - 0.3, end + 0.3), (0.0, 8.3), (high, high + 0.25), Paint("lacquer", (0.25, 0.12, 0.09)))
            door = start + rng.uniform(0.2, 0.6) * (end - start)
            box((door, door + DOOR_M[0]), (0.26, 0.3), (0.0, DOOR_M[1]), palette.door)
        if kind < 0.55:
            box((-0.2, length + 0.2), (0.0, 0.2), (0.0, plan.height), Paint("brick", (0.55, 0.27, 0.18), anchored=True))
        elif kind < 0.8:
            box((-0.4, length + 0.4), (0.0, 0.6), (0.0, plan.height), Paint("foliage"))
        else:
            for post in np.arange(0.0, length + 0.1, length / max(1, round(length / 2.0))):
                box((post - 0.05, post + 0.05), (0.0, 0.1), (0.0, plan.height + 0.05), palette.wood)
            for z in np.arange(0.15, plan.height - 0.1, 0.3):
                box((0.0, length), (0.02, 0.06), (z, z + 0.14), palette.wood)
    return houses


def _tree(builder: Builder, place: Place) -> None:
    rng = builder.rng
    height, trunk = rng.uniform(2.5, 6.0), rng.uniform(0.08, 0.2)
    builder.cylinder(place, trunk, (0.0, height * 0.7), Paint("wood", (0.22, 0.16, 0.1), turned=True, scale=0.5))
    for _ in range(int(rng.integers(2, 5))):
        radius = rng.uniform(0.5, 1.1)
        at = place.at(rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6))
        low = rng.uniform(0.45, 0.8) * height
        builder.ellipsoid(at, radius, (max(low, 1.9), max(low, 1.9) + rng.uniform(0.9, 2.0)), Paint("foliage"))


def _bench(builder: Builder, place: Place, palette: Palette) -> None:
    for y in (-0.2, -0.05, 0.1):
        builder.box(place, (-0.8, 0.8), (y, y + 0.12), (0.42, 0.45), palette.wood)
    for z in (0.55, 0.72):
        builder.box(place, (-0.8, 0.8), (-0.26, -0.23), (z, z + 0.12), palette.wood)
    for x in (-0.7, 0.64):
        builder.box(place, (x, x + 0.06), (-0.25, 0.2), (0.0, 0.42), Paint("lacquer", (0.1, 0.1, 0.11)))


def _scatter(rng: np.random.Generator, plan: Plan, count: int, apart_m: float) -> list[tuple[float, float]]:
    """Return up to ``count`` spots that leave passages at the border and between one another."""
    spots: list[tuple[float, float]] = []
    for _ in range(10 * count):
        x, y = (float(rng.uniform(1.4, size - 1.4)) for size in plan.size)
        if len(spots) < count and all(np.hypot(x - a, y - b) > 1.2 + apart_m for a, b in spots):
            spots.append((x, y))
    return spots
