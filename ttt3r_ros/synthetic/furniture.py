"""Furniture of realistic sizes. Each piece is built in a place: x along the wall, y into the room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ttt3r_ros.synthetic.builder import Builder, Color, Paint, Place
from ttt3r_ros.synthetic.palette import Palette, color

DARK: Color = (0.03, 0.03, 0.035)
METAL: Color = (0.4, 0.4, 0.42)


@dataclass(frozen=True)
class Piece:
    """A kind of furniture that stands at a wall.

    Attributes:
        width, depth: ranges to draw from, along the wall and into the room, meters.
        tall: whether it must not stand in front of a window.
        build: adds it to the builder, in a place at the wall, with the drawn size.
    """

    width: tuple[float, float]
    depth: tuple[float, float]
    tall: bool
    build: Callable[[Builder, Place, float, float, Palette], None]


def _legs(
    builder: Builder, place: Place, x: float, y0: float, y1: float, height: float, paint: Paint, size: float = 0.05
) -> None:
    for left in (-x, x - size):
        for back in (y0, y1 - size):
            builder.box(place, (left, left + size), (back, back + size), (0.0, height), paint)


def shelf(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A bookcase, full of books and other things."""
    rng, wood, half = builder.rng, palette.wood, width / 2
    height, board = rng.uniform(1.6, 2.1), 0.025
    for x in ((-half, -half + board), (half - board, half)):
        builder.box(place, x, (0.0, depth), (0.0, height), wood)
    builder.box(place, (-half, half), (0.0, 0.02), (0.0, height), wood)
    levels = int(rng.integers(4, 6))
    step = height / levels
    for i in range(levels + 1):
        z = min(i * step, height - board)
        builder.box(place, (-half, half), (0.02, depth), (z, z + board), wood)
        if i < levels and rng.random() < 0.85:
            end = half - board - (rng.uniform(0.0, 0.4) * width if rng.random() < 0.4 else 0.0)
            books = Paint("books", cell=int(rng.integers(0, 4)))
            builder.box(place, (-half + board, end), (0.03, depth - 0.06), (z + board, z + step * 0.86), books)


def wardrobe(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A wardrobe with paneled doors."""
    height = builder.rng.uniform(1.85, 2.15)
    front = Paint("cupboard", palette.wood_tint)
    builder.box(place, (-width / 2, width / 2), (0.0, depth), (0.0, height), palette.wood, front=front)
    if builder.rng.random() < 0.5:
        box = Paint("cardboard")
        builder.box(place.at(builder.rng.uniform(-0.2, 0.2), depth / 2, builder.rng.uniform(-0.2, 0.2)),
                    (-0.22, 0.22), (-0.15, 0.15), (height, height + 0.25), box)  # fmt: skip


def chest(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A chest of drawers with things on it."""
    height = builder.rng.uniform(0.75, 0.95)
    front = Paint("drawers", palette.wood_tint)
    builder.box(place, (-width / 2, width / 2), (0.0, depth), (0.05, height), palette.wood, front=front)
    builder.box(
        place, (-width / 2 - 0.02, width / 2 + 0.02), (0.0, depth + 0.02), (height, height + 0.03), palette.wood
    )
    builder.box(place, (-width / 2 + 0.03, width / 2 - 0.03), (0.02, depth - 0.05), (0.0, 0.05), palette.wood)
    _clutter(builder, place, width, depth, height + 0.03, palette)


def sideboard(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A low board with a television on it."""
    front = Paint("cupboard", palette.wood_tint)
    builder.box(place, (-width / 2, width / 2), (0.0, depth), (0.1, 0.5), palette.wood, front=front)
    _legs(builder, place, width / 2 - 0.05, 0.05, depth - 0.05, 0.1, palette.wood)
    half = min(width / 2 - 0.1, 0.6)
    black = Paint("lacquer", DARK)
    builder.box(place, (-half, half), (depth / 2, depth / 2 + 0.05), (0.56, 0.56 + half * 1.15), black)
    builder.box(place, (-0.2, 0.2), (depth / 2 - 0.1, depth / 2 + 0.12), (0.5, 0.56), black)


def sofa(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A sofa or, when narrow, an armchair: base, back, arms, cushions."""
    rng, half, arm = builder.rng, width / 2, 0.16
    cloth = palette.cloth[int(rng.integers(2))]
    builder.box(place, (-half, half), (0.04, depth), (0.06, 0.3), cloth)
    builder.box(place, (-half, half), (0.02, 0.24), (0.06, rng.uniform(0.75, 0.88)), cloth)
    for x in ((-half, -half + arm), (half - arm, half)):
        builder.box(place, x, (0.04, depth), (0.06, 0.58), cloth)
    seats = max(1, round((width - 2 * arm) / 0.65))
    seat = (width - 2 * arm) / seats
    for i in range(seats):
        left = -half + arm + i * seat
        builder.box(place, (left + 0.01, left + seat - 0.01), (0.24, depth + 0.02), (0.3, 0.45), cloth)
        if rng.random() < 0.5:
            cushion = replace(palette.cloth[2], tint=palette.accent[int(rng.integers(4))], scale=0.5)
            middle = place.at(left + seat / 2, 0.34, rng.uniform(-0.25, 0.25))
            builder.box(middle, (-0.2, 0.2), (-0.07, 0.07), (0.45, 0.82), cushion)
    _legs(builder, place, half - 0.03, 0.06, depth - 0.02, 0.06, palette.wood)


def bed(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A bed, its head at the wall."""
    half = width / 2
    builder.box(place, (-half - 0.04, half + 0.04), (0.0, 0.05), (0.0, 1.0), palette.wood)
    builder.box(place, (-half, half), (0.05, depth), (0.08, 0.3), palette.wood)
    builder.box(
        place, (-half + 0.02, half - 0.02), (0.06, depth - 0.02), (0.3, 0.48), Paint("fabric", (0.85, 0.84, 0.8))
    )
    blanket = palette.cloth[2 + int(builder.rng.integers(2))]
    builder.box(place, (-half - 0.02, half + 0.02), (0.7, depth + 0.01), (0.25, 0.54), blanket)
    pillow = Paint("fabric", (0.88, 0.87, 0.84), scale=0.5)
    for x in (-0.5, 0.5) if width > 1.2 else (0.0,):
        middle = place.at(x * half, 0.35, builder.rng.uniform(-0.15, 0.15))
        builder.box(middle, (-0.32, 0.32), (-0.22, 0.22), (0.48, 0.6), pillow)
    _legs(builder, place, half, 0.05, depth, 0.08, palette.wood, 0.08)


def kitchen(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A row of kitchen cupboards under and over a worktop, with tiles between."""
    half, unit = width / 2, width / max(1, round(width / 0.6))
    fronts = Paint("cupboard", palette.accent[0] if builder.rng.random() < 0.5 else (0.95, 0.95, 0.93))
    drawers = replace(fronts, name="drawers")
    body = Paint("lacquer", (0.8, 0.8, 0.78))
    builder.box(place, (-half, half), (0.0, depth - 0.06), (0.0, 0.1), Paint("lacquer", DARK))
    count = round(width / unit)
    for i in range(count):
        x = (-half + i * unit, -half + (i + 1) * unit - 0.004)
        builder.box(place, x, (0.0, depth), (0.1, 0.86), body, front=drawers if i % 3 == 1 else fronts)
        if i != count // 2:
            builder.box(place, x, (0.0, 0.34), (1.45, 2.1), body, front=fronts)
    builder.box(place, (-half, half), (0.0, depth + 0.03), (0.86, 0.9), Paint("marble", (0.55, 0.52, 0.5)))
    builder.box(place, (-half, half), (0.0, 0.01), (0.9, 1.45), Paint("metro_tiles", palette.accent[1], anchored=False))
    hood = -half + (count // 2) * unit
    builder.box(place, (hood, hood + unit), (0.0, 0.4), (1.6, 1.7), Paint("lacquer", METAL))
    builder.box(place, (hood + 0.15, hood + unit - 0.15), (0.0, 0.25), (1.7, 2.35), Paint("lacquer", METAL))
    builder.box(place, (hood + 0.02, hood + unit - 0.02), (0.06, depth - 0.03), (0.9, 0.91), Paint("lacquer", DARK))
    _clutter(builder, place, width, depth, 0.9, palette)


def desk(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A desk with a screen, a drawer unit and a chair in front."""
    rng, half = builder.rng, width / 2
    table = depth - 0.5
    builder.box(place, (-half, half), (0.02, table), (0.71, 0.74), palette.wood)
    _legs(builder, place, half - 0.02, 0.04, table - 0.04, 0.71, Paint("lacquer", METAL), 0.045)
    builder.box(place, (half - 0.5, half - 0.08), (0.06, table - 0.05), (0.1, 0.65), palette.wood,
                front=Paint("drawers", palette.wood_tint))  # fmt: skip
    black = Paint("lacquer", DARK)
    builder.box(
        place,
        (-0.35, 0.25),
        (0.16, 0.2),
        (0.86, 1.22),
        black,
        front=Paint("paintings", cell=int(rng.integers(16)), glow=0.4),
    )
    builder.box(place, (-0.08, -0.02), (0.12, 0.16), (0.74, 1.0), black)
    builder.box(place, (-0.2, 0.1), (0.08, 0.28), (0.74, 0.755), black)
    builder.box(
        place.at(-0.05, table - 0.2, rng.uniform(-0.1, 0.1)),
        (-0.22, 0.22),
        (-0.07, 0.07),
        (0.74, 0.76),
        Paint("books", (0.5, 0.5, 0.5)),
    )
    chair(builder, place.at(rng.uniform(-0.2, 0.1), table + 0.12, np.pi + rng.uniform(-0.4, 0.4)), palette)


def chair(builder: Builder, place: Place, palette: Palette) -> None:
    """A chair centerd on a place, its back at -y."""
    half = 0.21
    builder.box(place, (-half, half), (-half, half), (0.42, 0.46), palette.wood, top=palette.cloth[1])
    _legs(builder, place, half, -half, half, 0.42, palette.wood, 0.04)
    for x in (-half, half - 0.04):
        builder.box(place, (x, x + 0.04), (-half, -half + 0.04), (0.46, 0.92), palette.wood)
    builder.box(place, (-half + 0.04, half - 0.04), (-half + 0.005, -half + 0.03), (0.68, 0.9), palette.wood)


def dining_table(builder: Builder, place: Place, palette: Palette) -> None:
    """A table of 1.6 x 0.9 m with four chairs, around the center of a place; 2.0 x 1.9 m in all."""
    rng = builder.rng
    builder.box(place, (-0.8, 0.8), (-0.45, 0.45), (0.71, 0.75), palette.wood)
    _legs(builder, place, 0.76, -0.41, 0.41, 0.71, palette.wood, 0.07)
    for x in (-0.4, 0.4):
        for side in (-1, 1):
            turn = 0.0 if side < 0 else np.pi
            chair(builder, place.at(x, side * rng.uniform(0.5, 0.68), turn + rng.uniform(-0.3, 0.3)), palette)
    _clutter(builder, place.at(0.0, -0.35), 1.4, 0.8, 0.75, palette)


def coffee_table(builder: Builder, place: Place, palette: Palette) -> None:
    """A low table on a rug."""
    if builder.rng.random() < 0.5:
        builder.cylinder(place, 0.4, (0.38, 0.42), palette.wood)
        builder.cylinder(place, 0.05, (0.02, 0.38), palette.wood)
        builder.cylinder(place, 0.24, (0.0, 0.03), palette.wood)
    else:
        builder.box(place, (-0.5, 0.5), (-0.3, 0.3), (0.38, 0.42), palette.wood)
        _legs(builder, place, 0.48, -0.28, 0.28, 0.38, palette.wood, 0.05)
    builder.box(
        place.at(0.1, 0.0, builder.rng.uniform(-1, 1)), (-0.13, 0.13), (-0.1, 0.1), (0.42, 0.46), Paint("books")
    )
    _vase(builder, place.at(-0.2, 0.05), 0.42, palette)


def plant(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A plant in a pot."""
    rng, middle = builder.rng, place.at(0.0, depth / 2)
    pot, height = rng.uniform(0.13, 0.18), rng.uniform(0.7, 1.3)
    builder.cylinder(middle, pot, (0.0, 0.3), Paint("plaster", palette.accent[2]))
    builder.cylinder(middle, 0.02, (0.3, height), Paint("wood", (0.2, 0.13, 0.06)))
    for _ in range(3):
        radius = rng.uniform(0.13, 0.2)
        at = middle.at(rng.uniform(-0.08, 0.08), rng.uniform(-0.05, 0.08))
        low = rng.uniform(0.4, height - 0.1)
        builder.ellipsoid(at, radius, (low, low + rng.uniform(0.3, 0.5)), Paint("foliage", scale=0.5))


def floor_lamp(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A standing lamp with a cloth shade."""
    middle, metal = place.at(0.0, depth / 2), Paint("lacquer", METAL)
    builder.cylinder(middle, 0.15, (0.0, 0.03), metal)
    builder.cylinder(middle, 0.015, (0.03, 1.4), metal)
    builder.cylinder(middle, 0.19, (1.35, 1.65), Paint("fabric", (0.8, 0.68, 0.48), glow=0.6))


def parcels(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A stack of cardboard boxes."""
    rng, z = builder.rng, 0.0
    for i in range(int(rng.integers(1, 4))):
        half_x, half_y, height = rng.uniform(0.16, 0.24), rng.uniform(0.13, 0.19), rng.uniform(0.2, 0.34)
        at = place.at(
            rng.uniform(-0.05, 0.05), depth / 2, rng.uniform(-0.3, 0.3) + (0.0 if i else rng.uniform(-0.1, 0.1))
        )
        builder.box(at, (-half_x, half_x), (-half_y, half_y), (z, z + height), Paint("cardboard"))
        z += height


def stool(builder: Builder, place: Place, width: float, depth: float, palette: Palette) -> None:
    """A round upholstered stool, or a ball."""
    middle = place.at(0.0, depth / 2)
    if builder.rng.random() < 0.7:
        builder.cylinder(middle, 0.2, (0.03, 0.42), replace(palette.cloth[3], scale=0.5))
    else:
        builder.ellipsoid(middle, 0.22, (0.0, 0.44), replace(palette.cloth[2], tint=palette.accent[3], scale=0.7))


def _clutter(builder: Builder, place: Place, width: float, depth: float, z: float, palette: Palette) -> None:
    for x in np.arange(-width / 2 + 0.2, width / 2 - 0.15, 0.35):
        kind, at = builder.rng.random(), place.at(float(x), depth * 0.4, builder.rng.uniform(-0.6, 0.6))
        if kind < 0.25:
            _vase(builder, at, z, palette)
        elif kind < 0.45:
            builder.box(at, (-0.11, 0.11), (-0.08, 0.08), (z, z + builder.rng.uniform(0.03, 0.14)),
                        Paint("books", cell=int(builder.rng.integers(4))))  # fmt: skip
        elif kind < 0.6:
            builder.box(
                at,
                (-0.1, 0.1),
                (-0.1, 0.1),
                (z, z + 0.22),
                Paint("lacquer", color(builder.rng, (0.2, 0.8), (0.2, 0.9))),
            )


def _vase(builder: Builder, place: Place, z: float, palette: Palette) -> None:
    tint = palette.accent[int(builder.rng.integers(4))]
    if builder.rng.random() < 0.5:
        builder.cylinder(place, 0.05, (z, z + builder.rng.uniform(0.12, 0.28)), Paint("plaster", tint))
    else:
        builder.ellipsoid(place, 0.11, (z, z + 0.14), Paint("marble", tint, scale=0.3))


SHELF = Piece((0.8, 1.4), (0.28, 0.34), True, shelf)
WARDROBE = Piece((1.0, 1.8), (0.55, 0.6), True, wardrobe)
CHEST = Piece((0.8, 1.3), (0.42, 0.48), False, chest)
SIDEBOARD = Piece((1.2, 1.7), (0.38, 0.44), False, sideboard)
SOFA = Piece((1.6, 2.2), (0.85, 0.92), False, sofa)
ARMCHAIR = Piece((0.8, 0.9), (0.8, 0.85), False, sofa)
BED = Piece((1.0, 1.8), (2.05, 2.1), False, bed)
KITCHEN = Piece((1.8, 3.0), (0.6, 0.62), True, kitchen)
DESK = Piece((1.2, 1.5), (1.15, 1.2), False, desk)
PLANT = Piece((0.45, 0.5), (0.45, 0.5), True, plant)
LAMP = Piece((0.4, 0.4), (0.4, 0.4), True, floor_lamp)
PARCELS = Piece((0.55, 0.6), (0.5, 0.5), False, parcels)
STOOL = Piece((0.5, 0.5), (0.5, 0.5), False, stool)

#: Furniture along the walls of each kind of room, in the order of placement.
ROOMS: dict[str, tuple[Piece, ...]] = {
    "living": (SOFA, SIDEBOARD, SHELF, ARMCHAIR, SHELF, PLANT, LAMP, CHEST, PARCELS, STOOL),
    "bedroom": (BED, WARDROBE, CHEST, SHELF, PLANT, LAMP, ARMCHAIR, PARCELS, STOOL),
    "kitchen": (KITCHEN, CHEST, SHELF, PLANT, STOOL, PARCELS, LAMP),
    "study": (DESK, SHELF, SHELF, ARMCHAIR, CHEST, LAMP, PLANT, PARCELS, WARDROBE),
    "hall": (SOFA, SHELF, PLANT, PARCELS, CHEST, SHELF, PLANT, SIDEBOARD, DESK, PARCELS, LAMP, STOOL),
    "corridor": (),
}
