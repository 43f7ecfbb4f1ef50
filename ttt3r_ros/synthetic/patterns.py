"""Repeating textures of surfaces: plaster, tiles, parquet, fabric and the like.

Every function returns a (SIZE, SIZE, 3) float32 image of linear albedo in [0, 1] that tiles seamlessly. Patterns of
familiar size (tiles, bricks, planks) are drawn in meters, on a square of ``PERIOD_M``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.floating[Any]]  # drawn in any precision, kept as float32
Rng = np.random.Generator

SIZE = 512
PERIOD_M = 2.4  # a multiple of every tile, brick and plank size below
_AXIS = ((np.arange(SIZE) + 0.5) / SIZE).astype(np.float32)
_U, _V = np.meshgrid(_AXIS, _AXIS)  # in [0, 1), u to the right and v down


def noise(rng: Rng, smoothness: float, stretch: float = 1.0) -> Image:
    """Return (SIZE, SIZE) periodic noise of mean 0 and standard deviation 1, with amplitude ~ 1/f^smoothness.

    ``stretch`` > 1 stretches features along v, like wood grain.
    """
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)).astype(np.float32))
    fv = np.fft.fftfreq(SIZE, 1 / SIZE)[:, None] * stretch
    fu = np.fft.rfftfreq(SIZE, 1 / SIZE)[None, :]
    field = np.fft.irfft2(spectrum / np.maximum(np.hypot(fu, fv), 1.0) ** smoothness, s=(SIZE, SIZE))
    field -= field.mean()
    return np.asarray(field / field.std(), dtype=np.float32)


def _gray(value: Image) -> Image:
    return np.repeat(np.clip(value, 0.0, 1.0)[..., None], 3, axis=2)


def _mix(a: npt.ArrayLike, b: npt.ArrayLike, weight: Image) -> Image:
    w = np.clip(weight, 0.0, 1.0)[..., None]
    return (np.asarray(a, np.float32) * (1 - w) + np.asarray(b, np.float32) * w).astype(np.float32)


def _tiling(
    rng: Rng, width_m: float, height_m: float, shift: float = 0.0
) -> tuple[Image, Image, npt.NDArray[np.int64]]:
    """Cut the square into tiles. Return per pixel a random number of its tile in [0, 1), edge distance [m] and row."""
    columns, rows = round(PERIOD_M / width_m), round(PERIOD_M / height_m)
    x, y = _U * columns, _V * rows
    row = np.floor(y).astype(np.int64)
    x = x + shift * row
    column = np.floor(x).astype(np.int64) % columns
    fx, fy = x % 1.0, y % 1.0
    edge = np.minimum(np.minimum(fx, 1 - fx) * width_m, np.minimum(fy, 1 - fy) * height_m)
    return rng.random((rows, columns), dtype=np.float32)[row, column], edge.astype(np.float32), row


def _tiles(
    rng: Rng,
    width_m: float,
    height_m: float,
    *,
    shift: float = 0.0,
    joint_m: float = 0.005,
    joint: float = 0.35,
    variation: float = 0.2,
    mottle: float = 0.05,
) -> Image:
    tone, edge, _ = _tiling(rng, width_m, height_m, shift)
    face = 0.8 + variation * (tone - 0.5) + mottle * noise(rng, 1.2) - 0.08 * np.exp(-edge / 0.008)
    return _mix([joint] * 3, _gray(face), (edge - joint_m / 2) / 0.004)


def plaster(rng: Rng) -> Image:
    """Rolled wall paint: fine grain, some blotches."""
    return _gray(0.82 + 0.028 * noise(rng, 0.4) + 0.035 * noise(rng, 1.4))


def wallpaper_stripes(rng: Rng) -> Image:
    """Vertical stripes, 20 cm apart, with a thin line between them."""
    phase = (_U * PERIOD_M / 0.2) % 1.0
    broad, line = np.abs(phase - 0.5) < 0.25, np.abs(phase - 0.02) < 0.02
    return _gray(0.86 - 0.16 * broad - 0.3 * line + 0.03 * noise(rng, 0.6))


def wallpaper_motif(rng: Rng) -> Image:
    """Diamonds with a flower in each, 30 cm apart."""
    x, y = (_U * 8) % 1.0 - 0.5, (_V * 8) % 1.0 - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    flower = radius < 0.16 + 0.09 * np.cos(5 * angle)
    lattice = np.abs(np.abs(x) + np.abs(y) - 0.5) < 0.025
    return _gray(0.84 - 0.3 * flower + 0.12 * (radius < 0.06) - 0.22 * lattice + 0.03 * noise(rng, 0.7))


def brick(rng: Rng) -> Image:
    """Bricks of 24 x 8 cm in running bond."""
    return _tiles(rng, 0.24, 0.08, shift=0.5, joint_m=0.012, joint=0.62, variation=0.45, mottle=0.09)


def wall_tiles(rng: Rng) -> Image:
    """Glazed square tiles of 15 cm."""
    return _tiles(rng, 0.15, 0.15, joint=0.45, variation=0.12, mottle=0.02)


def metro_tiles(rng: Rng) -> Image:
    """Glazed tiles of 20 x 10 cm in running bond."""
    return _tiles(rng, 0.2, 0.1, shift=0.5, joint=0.4, variation=0.14, mottle=0.02)


def floor_tiles(rng: Rng) -> Image:
    """Stone tiles of 30 cm."""
    return _tiles(rng, 0.3, 0.3, joint_m=0.007, joint=0.3, variation=0.25, mottle=0.07)


def checker_tiles(rng: Rng) -> Image:
    """Light and dark tiles of 30 cm."""
    _, edge, row = _tiling(rng, 0.3, 0.3)
    dark = (row + np.floor(_U * 8).astype(np.int64)) % 2
    face = 0.86 - 0.5 * dark + 0.04 * noise(rng, 1.1)
    return _mix([0.4] * 3, _gray(face), (edge - 0.003) / 0.004)


def planks(rng: Rng) -> Image:
    """Floor boards of 120 x 12 cm along u, every second row shifted."""
    tone, edge, _ = _tiling(rng, 1.2, 0.12, shift=0.35)
    grain = noise(rng, 0.9, 9.0).T
    face = 0.74 + 0.36 * (tone - 0.5) + 0.085 * grain + 0.03 * noise(rng, 0.5)
    return _mix([0.16] * 3, _gray(face), (edge - 0.0012) / 0.004)


def basket_parquet(rng: Rng) -> Image:
    """Squares of 30 cm of four strips each, turned by 90° from one square to the next."""
    across = (np.floor(_U * 8) + np.floor(_V * 8)).astype(np.int64) % 2 == 1
    tone_u, edge_u, _ = _tiling(rng, 0.3, 0.075)
    tone_v, edge_v, _ = _tiling(rng, 0.075, 0.3)
    tone, edge = np.where(across, tone_u, tone_v), np.where(across, edge_u, edge_v)
    grain = noise(rng, 0.9, 7.0)
    face = 0.72 + 0.34 * (tone - 0.5) + 0.08 * np.where(across, grain.T, grain)
    return _mix([0.18] * 3, _gray(face), (edge - 0.001) / 0.004)


def carpet(rng: Rng) -> Image:
    """Fitted carpet: coarse flecks."""
    return _gray(0.7 + 0.1 * noise(rng, 0.25) + 0.05 * noise(rng, 1.3))


def ceiling_panels(rng: Rng) -> Image:
    """Suspended ceiling: perforated panels of 60 cm in a light grid."""
    tone, edge, _ = _tiling(rng, 0.6, 0.6)
    holes = noise(rng, 0.15) > 1.7
    face = 0.86 + 0.06 * (tone - 0.5) - 0.22 * holes - 0.08 * np.exp(-edge / 0.02)
    return _mix([0.62] * 3, _gray(face), (edge - 0.008) / 0.004)


def ceiling_boards(rng: Rng) -> Image:
    """Painted matchboard, 15 cm wide, along u."""
    tone, edge, _ = _tiling(rng, 2.4, 0.15)
    face = 0.86 + 0.08 * (tone - 0.5) + 0.035 * noise(rng, 0.9, 8.0).T
    return _mix([0.5] * 3, _gray(face), edge / 0.008)


def wood(rng: Rng) -> Image:
    """Furniture wood with the grain along u."""
    rings = np.sin(2 * np.pi * (6 * _V + 0.35 * noise(rng, 1.7, 6.0).T))
    return _gray(0.72 + 0.07 * rings + 0.09 * noise(rng, 0.8, 12.0).T)


def fabric(rng: Rng) -> Image:
    """Woven cloth with a coarse thread."""
    weave = np.sin(2 * np.pi * 32 * _U) * np.sin(2 * np.pi * 32 * _V)
    return _gray(0.74 + 0.08 * weave + 0.05 * noise(rng, 0.4) + 0.04 * noise(rng, 1.5))


def plaid(rng: Rng) -> Image:
    """A woolen blanket with crossing stripes, 40 cm apart."""

    def stripes(axis: Image) -> Image:
        phase = (axis * 6) % 1.0
        return np.asarray(0.5 * (np.abs(phase - 0.5) < 0.22) + 0.5 * (np.abs(phase - 0.1) < 0.04))

    return _gray(0.9 - 0.3 * stripes(_U) - 0.3 * stripes(_V) + 0.05 * noise(rng, 0.3))


def marble(rng: Rng) -> Image:
    """Polished stone with veins."""
    veins = np.exp(-np.abs(noise(rng, 1.5)) / 0.08)
    return _gray(0.84 - 0.35 * veins + 0.05 * noise(rng, 0.9))


def lacquer(rng: Rng) -> Image:
    """Painted or plastic surfaces: almost uniform."""
    return _gray(0.88 + 0.02 * noise(rng, 0.6) + 0.03 * noise(rng, 1.6))


def foliage(rng: Rng) -> Image:
    """Leaves with dark gaps."""
    depth = noise(rng, 0.9)
    return _mix([0.02, 0.05, 0.015], [0.2, 0.42, 0.1], 0.5 + 0.45 * depth + 0.1 * noise(rng, 0.3))


def radiator(rng: Rng) -> Image:
    """Ribs, 5 cm apart."""
    rib = np.abs(np.sin(np.pi * 48 * _U))
    return _gray(0.45 + 0.5 * rib**0.6 + 0.01 * noise(rng, 0.8))


PATTERNS: dict[str, Callable[[Rng], Image]] = {
    f.__name__: f
    for f in (
        plaster, wallpaper_stripes, wallpaper_motif, brick, wall_tiles, metro_tiles, floor_tiles, checker_tiles, planks,
        basket_parquet, carpet, ceiling_panels, ceiling_boards, wood, fabric, plaid, marble, lacquer, foliage, radiator,
    )
}  # fmt: skip
