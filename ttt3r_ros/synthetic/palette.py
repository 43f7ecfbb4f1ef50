"""The colors and materials of a room, drawn by seed from those common in real apartments."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttt3r_ros.synthetic.builder import Color, Paint
from ttt3r_ros.synthetic.families import WIDE

_WOODS: tuple[Color, ...] = (
    (0.66, 0.46, 0.27), (0.5, 0.31, 0.16), (0.3, 0.17, 0.09), (0.72, 0.56, 0.38), (0.42, 0.36, 0.3), (0.85, 0.83, 0.78),
)  # fmt: skip


@dataclass(frozen=True)
class Palette:
    """The matching paints of one room."""

    floor: Paint
    ceiling: Paint
    wall: Paint
    dado: Paint | None  # covers the lower part of the walls
    dado_m: float
    trim: Paint
    curtain: Paint | None
    door: Paint
    window_frame: Paint
    sill: Paint
    wood: Paint
    wood_tint: Color
    cloth: tuple[Paint, ...]
    accent: tuple[Color, ...]


def color(
    rng: np.random.Generator,
    saturation: tuple[float, float],
    value: tuple[float, float],
    hue: tuple[float, float] = (0.0, 1.0),
) -> Color:
    """Return a random linear color; hues count from red at 0 over green at 1/3 and blue at 2/3 to red at 1."""
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return (r**2.2, g**2.2, b**2.2)


def scaled(tint: Color, factor: float, limit: float = 1.0) -> Color:
    """Return a lighter or darker color."""
    r, g, b = (min(c * factor, limit) for c in tint)
    return (r, g, b)


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw the paints of one room."""
    wood_tint = _WOODS[int(rng.integers(len(_WOODS)))]
    warm = rng.random() < 0.6
    wall_tint = color(rng, (0.04, 0.24), (0.88, 0.99), (0.04, 0.16) if warm else (0.22, 0.65))
    walls = ("plaster", "plaster", "wallpaper_stripes", "wallpaper_motif", "brick")
    wall = Paint(walls[int(rng.integers(len(walls)))], wall_tint, anchored=True)
    if wall.name == "brick" and rng.random() < 0.6:
        wall = Paint("brick", (0.55, 0.27, 0.18), anchored=True)
    dado: Paint | None = None
    dado_m = 0.0
    choice = rng.random()
    if choice < 0.25:
        tiles = ("wall_tiles", "metro_tiles")[int(rng.integers(2))]
        dado, dado_m = Paint(tiles, color(rng, (0.05, 0.4), (0.78, 0.97), (0.1, 0.65)), anchored=True), 1.2
    elif choice < 0.5:
        dado, dado_m = Paint("ceiling_boards", scaled(wall_tint, 0.7), turned=True, anchored=True), 0.9
    return Palette(
        floor=_draw_floor(rng),
        ceiling=Paint(
            ("ceiling_panels", "plaster", "ceiling_boards")[int(rng.integers(3))], (0.97, 0.96, 0.94), anchored=True
        ),
        wall=wall,
        dado=dado,
        dado_m=dado_m,
        trim=Paint("wood", (0.86, 0.85, 0.82) if rng.random() < 0.6 else scaled(wood_tint, 1.0), turned=None),
        curtain=Paint("radiator", color(rng, (0.1, 0.45), (0.6, 0.95)), scale=1.6) if rng.random() < 0.6 else None,
        door=Paint("door", (1.15, 1.13, 1.08) if rng.random() < 0.5 else scaled(wood_tint, 1.25)),
        window_frame=Paint("lacquer", (0.9, 0.9, 0.9)),
        sill=Paint("marble", (0.85, 0.83, 0.8)),
        wood=Paint("wood", wood_tint, turned=None),
        wood_tint=wood_tint,
        cloth=tuple(
            Paint(name, color(rng, (0.15, 0.65), (0.4, 0.88))) for name in ("fabric", "fabric", "plaid", "plaid")
        ),
        accent=tuple(color(rng, (0.3, 0.8), (0.3, 0.9)) for _ in range(4)),
    )


def widened(palette: Palette, rng: np.random.Generator) -> Palette:
    """Return a palette most of whose patterns are replaced by random textures, which bring their own colors."""

    def other(paint: Paint) -> Paint:
        if rng.random() < 0.3:
            return paint
        tint = color(rng, (0.0, 0.4), (0.7, 1.0))
        return replace(paint, name=f"wide_{int(rng.integers(WIDE))}", tint=tint, scale=float(rng.uniform(0.15, 1.5)))

    names = ("floor", "ceiling", "wall", "trim", "sill", "wood")
    changes: dict[str, Any] = {name: other(getattr(palette, name)) for name in names}
    dado, curtain = (paint and other(paint) for paint in (palette.dado, palette.curtain))
    return replace(palette, **changes, dado=dado, curtain=curtain, cloth=tuple(other(paint) for paint in palette.cloth))


def _draw_floor(rng: np.random.Generator) -> Paint:
    kind = int(rng.integers(5))
    turned = bool(rng.random() < 0.5)
    if kind < 2:
        tint = _WOODS[int(rng.integers(5))]
        return Paint(("planks", "basket_parquet")[kind], scaled(tint, 1.15), turned=turned, anchored=True)
    if kind == 2:
        return Paint("floor_tiles", color(rng, (0.05, 0.5), (0.6, 0.88), (0.03, 0.13)), anchored=True)
    if kind == 3:
        return Paint("checker_tiles", color(rng, (0.0, 0.25), (0.8, 0.95)), anchored=True)
    return Paint("carpet", color(rng, (0.1, 0.45), (0.5, 0.8), (0.0, 0.65)), anchored=True)
