"""Textures for the outdoors, and families of random ones that look like nothing in particular.

The usual materials (``patterns``) are few and always the same. Real surfaces are not: a network that has seen the usual
ones only takes every other surface for something else. A family draws a different texture, with its own colors, for
every random number. Like patterns, all images are (SIZE, SIZE, 3) float32, of linear albedo, and tile seamlessly.

An atlas has these layers only if a world uses them, because they take seconds to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ttt3r_ros.synthetic.patterns import _U, _V, SIZE, Image, Rng, _mix, _tiling, noise

WIDE = 16  #: number of random textures, named wide_0, wide_1, ...


def random_color(rng: Rng) -> Image:
    """Return a linear color; dark and dull ones are more frequent, as in photographs."""
    value, saturation = rng.uniform(0.05, 0.95) ** 1.5, rng.uniform(0.0, 1.0) ** 2
    tint = rng.random(3)
    return np.asarray(value * (1 - saturation * (1 - tint / tint.max())), np.float32)


def _cells(rng: Rng, count: int, stretch: int = 1) -> tuple[Image, Image, Image]:
    """Cut the square into ``count`` x ``count·stretch`` irregular cells (Worley noise).

    Returns:
        A random number of each pixel's cell in [0, 1), its distance to the cell's center, and to the cell's edge, both
        about 1 at most.
    """
    shape = (count, count * stretch)
    jitter = rng.uniform(0.1, 0.9, (2, *shape)).astype(np.float32)
    tone = rng.random(shape, dtype=np.float32)
    x, y = _U * shape[1], _V * shape[0]
    column, row = x.astype(np.int64), y.astype(np.int64)
    nearest, second = np.full_like(x, 9.0), np.full_like(x, 9.0)
    chosen = np.zeros_like(x)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            r, c = (row + dy) % shape[0], (column + dx) % shape[1]
            away = np.hypot(x - column - dx - jitter[0, r, c], y - row - dy - jitter[1, r, c])
            second = np.minimum(second, np.maximum(nearest, away))
            chosen = np.where(away < nearest, tone[r, c], chosen)
            nearest = np.minimum(nearest, away)
    return chosen, nearest, second - nearest


def _warped(image: Image, rng: Rng, pixels: float) -> Image:
    """Return an image whose content has been pushed around by up to about so many pixels."""
    row = (_V * SIZE + pixels * noise(rng, 1.6)).astype(np.int64) % SIZE
    column = (_U * SIZE + pixels * noise(rng, 1.6)).astype(np.int64) % SIZE
    return image[row, column]


def wide(rng: Rng) -> Image:
    """Draw one of infinitely many textures: blotches, cells, stripes, tiles or threads of random size and color."""
    colors = [random_color(rng) for _ in range(3)]
    kind = int(rng.integers(5))
    fine = noise(rng, rng.uniform(0.2, 1.2))
    coarse = noise(rng, rng.uniform(0.9, 1.9), rng.uniform(1.0, 10.0))
    coarse = coarse.T if rng.random() < 0.5 else coarse
    if kind == 0:  # stone, rust, stains
        sharp = rng.uniform(0.3, 4.0)
        image = _mix(_mix(colors[0], colors[1], 0.5 + sharp * coarse), colors[2], sharp * (fine - rng.uniform(0, 2)))
    elif kind == 1:  # pebbles, leather, leaves, crackle
        tone, center, edge = _cells(rng, int(rng.integers(4, 48)), int(rng.integers(1, 4)))
        face = _mix(colors[0], colors[1], tone + rng.uniform(-0.5, 0.5) * center)
        image = _mix(colors[2], face, edge / rng.uniform(0.02, 0.5))
    elif kind == 2:  # stripes, grain, waves
        count, along = int(rng.integers(2, 64)), _U if rng.random() < 0.5 else _V
        wave = np.sin(2 * np.pi * (count * along + rng.uniform(0.0, 1.2) * coarse))
        image = _mix(colors[0], colors[1], 0.5 + rng.uniform(0.3, 3.0) * wave)
        image = _mix(image, colors[2], fine - 1.5)
    elif kind == 3:  # tiles and planks of any size
        width, height = (2.4 / int(rng.integers(2, 32)) for _ in range(2))
        tone, edge, _ = _tiling(rng, width, height, shift=float(rng.choice([0.0, 0.5])))
        face = _mix(colors[0], colors[1], tone + 0.2 * coarse)
        image = _mix(colors[2], face, edge / rng.uniform(0.002, 0.02))
    else:  # cloth with a print
        count = int(rng.integers(16, 96))
        thread = np.sin(2 * np.pi * count * _U) * np.sin(2 * np.pi * count * _V)
        tone, center, _ = _cells(rng, int(rng.integers(3, 16)))
        image = _mix(colors[0], colors[1], (rng.uniform(0.2, 0.6) - center) / 0.05)
        image = _mix(image, colors[2], 2.0 * ((tone > 0.8) & (center < 0.3))) * (0.9 + 0.15 * thread)[..., None]
    image = image * (1 + rng.uniform(0.0, 0.15) * fine + rng.uniform(0.0, 0.15) * coarse)[..., None]
    if rng.random() < 0.5:
        image = _warped(image, rng, rng.uniform(1.0, 8.0))
    return np.asarray(np.clip(image, 0.0, 1.0), np.float32)


def grass(rng: Rng) -> Image:
    """A lawn: blades, and drier patches."""
    blades = 0.5 + 0.3 * noise(rng, 0.2) + 0.2 * noise(rng, 1.4)
    return _mix([0.05, 0.1, 0.02], _mix([0.2, 0.34, 0.08], [0.36, 0.34, 0.14], 0.3 * noise(rng, 1.7)), blades)


def cobbles(rng: Rng) -> Image:
    """Setts of about 10 cm with sand between them."""
    tone, center, edge = _cells(rng, 24)
    face = 0.2 + 0.2 * tone - 0.08 * center + 0.03 * noise(rng, 0.6)
    return _mix([0.22, 0.19, 0.14], np.repeat(np.clip(face, 0, 1)[..., None], 3, axis=2), edge / 0.15)


def gravel(rng: Rng) -> Image:
    """Pebbles of a few centimeters."""
    tone, center, edge = _cells(rng, 96)
    stone = _mix([0.55, 0.5, 0.42], [0.22, 0.22, 0.23], tone)
    return _mix([0.06, 0.055, 0.05], stone * (1.1 - 0.4 * center)[..., None], edge / 0.25)


def asphalt(rng: Rng) -> Image:
    """A road surface with cracks and patches."""
    _, _, edge = _cells(rng, 3)
    gray = 0.13 + 0.03 * noise(rng, 0.1) + 0.02 * noise(rng, 1.6) - 0.07 * (edge < 0.02)
    return np.repeat(np.clip(gray, 0, 1)[..., None], 3, axis=2).astype(np.float32)


def facade(rng: Rng) -> Image:
    """A picture of a house front: three rows of four windows on a rendered wall."""
    image = _mix([0.62, 0.56, 0.46], [0.5, 0.45, 0.36], 0.4 * noise(rng, 1.5))
    x, y = (_U * 4) % 1.0, (_V * 3) % 1.0
    frame = (np.abs(x - 0.5) < 0.24) & (np.abs(y - 0.5) < 0.32)
    pane = (np.abs(x - 0.5) < 0.2) & (np.abs(y - 0.5) < 0.28) & (np.abs(x - 0.5) > 0.015)
    image[frame] = 0.75
    glass = _mix([0.04, 0.05, 0.06], [0.3, 0.38, 0.48], 0.5 - y + 0.3 * noise(rng, 1.5))
    return np.asarray(np.where(pane[..., None], glass, image), np.float32)


def sky(rng: Rng) -> Image:
    """A picture of clouds in a blue sky."""
    clouds = np.clip(0.45 * noise(rng, 1.6) - 0.1, 0.0, 1.0)
    return _mix([0.3, 0.52, 0.86], [0.95, 0.95, 0.95], clouds)


FAMILIES: dict[str, Callable[[Rng], Image]] = {
    **{f.__name__: f for f in (grass, cobbles, gravel, asphalt, facade, sky)},
    **{f"wide_{i}": partial(wide) for i in range(WIDE)},
}
STRETCHED = {"facade", "sky"}  #: those that are pictures of a whole face
