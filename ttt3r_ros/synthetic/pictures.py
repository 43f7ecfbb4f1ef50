"""Pictures stretched over a whole face: doors, windows, books, rugs, paintings, cupboard fronts.

Every function returns a (SIZE, SIZE, 3) float32 image of linear albedo (or emitted light) in [0, 1], top row first.
A sheet holds several different pictures in a grid; ``SHEETS`` says how many in each row and column.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ttt3r_ros.synthetic.patterns import SIZE, Image, Rng, noise

SHEETS = {"paintings": 4, "views": 2, "rugs": 2, "books": 2}


def _canvas(size: int, color: tuple[float, float, float]) -> Image:
    return np.full((size, size, 3), color, np.float32)


def _color(rng: Rng, low: float = 0.03, high: float = 0.7) -> Image:
    gray, tint = rng.random(dtype=np.float32), rng.random(3, dtype=np.float32)
    return (low + (high - low) * (0.5 * gray + 0.5 * tint) ** 1.6).astype(np.float32)


def _sheet(name: str, rng: Rng, draw: Callable[[Rng, int], Image]) -> Image:
    count = SHEETS[name]
    size = SIZE // count
    return np.concatenate([np.concatenate([draw(rng, size) for _ in range(count)], axis=1) for _ in range(count)])


def _panel(image: Image, top: float, bottom: float, left: float, right: float, depth: float = 0.2) -> None:
    """Carve a bevelled panel, given in fractions of the image."""
    size = image.shape[0]
    r0, r1, c0, c1 = (int(f * size) for f in (top, bottom, left, right))
    b = max(size // 60, 2)
    image[r0:r1, c0:c1] *= 1 - depth * 0.3
    image[r0 : r0 + b, c0:c1] *= 1 - depth * 2
    image[r0:r1, c0 : c0 + b] *= 1 - depth * 2
    image[r1 - b : r1, c0:c1] *= 1 + depth
    image[r0:r1, c1 - b : c1] *= 1 + depth


def door(rng: Rng) -> Image:
    """A door leaf with four panels and a handle."""
    image = _canvas(SIZE, (0.72, 0.72, 0.72)) + 0.02 * noise(rng, 0.9, 8.0)[..., None]
    for top, bottom in ((0.07, 0.44), (0.56, 0.93)):
        _panel(image, top, bottom, 0.14, 0.46)
        _panel(image, top, bottom, 0.54, 0.86)
    image[246:276, 466:480] = 0.2
    image[250:258, 430:474] = (0.32, 0.28, 0.2)
    return np.clip(image, 0.0, 1.0)


def cupboard(rng: Rng) -> Image:
    """Two cupboard doors side by side, each with a panel and a handle."""
    image = _canvas(SIZE, (0.75, 0.75, 0.75)) + 0.03 * noise(rng, 0.8, 10.0)[..., None]
    for left in (0.0, 0.5):
        _panel(image, 0.08, 0.92, left + 0.07, left + 0.43)
        edge = int(left * SIZE)
        image[:, edge : edge + 4] = 0.08
    for column in (int(0.45 * SIZE), int(0.53 * SIZE)):
        image[200:300, column : column + 10] = (0.25, 0.24, 0.22)
    image[:5] = 0.1
    return np.clip(image, 0.0, 1.0)


def drawers(rng: Rng) -> Image:
    """Three drawers, one above the other, with knobs."""
    image = _canvas(SIZE, (0.75, 0.75, 0.75)) + 0.04 * noise(rng, 0.8, 10.0).T[..., None]
    for i in range(3):
        _panel(image, i / 3 + 0.02, (i + 1) / 3 - 0.02, 0.03, 0.97)
        row = int((i + 0.5) / 3 * SIZE)
        for column in (SIZE // 4, 3 * SIZE // 4):
            image[row - 10 : row + 10, column - 12 : column + 12] = (0.22, 0.2, 0.16)
    return np.clip(image, 0.0, 1.0)


def cardboard(rng: Rng) -> Image:
    """A parcel: brown board, tape and a label."""
    image = _canvas(SIZE, (0.45, 0.3, 0.17)) * (1 + 0.06 * noise(rng, 1.0)[..., None])
    image[:, 236:276] = (0.62, 0.5, 0.32)
    image[330:440, 330:460] = 0.8
    for row in range(345, 430, 16):
        image[row : row + 5, 345 : 345 + int(rng.integers(50, 100))] = 0.08
    return np.clip(image, 0.0, 1.0)


def books(rng: Rng) -> Image:
    """Sheets of rows of book spines of different width, height and color."""

    def shelf(rng: Rng, size: int) -> Image:
        image = _canvas(size, (0.02, 0.02, 0.02))
        x = 0
        while x < size:
            width = int(rng.integers(7, 20))
            top = int(rng.integers(4, size // 3))
            spine = _color(rng, 0.03, 0.6)
            if rng.random() < 0.08:  # a gap
                x += width
                continue
            image[top:, x : x + width - 1] = spine
            image[top:, x : x + 1] *= 0.5
            for _ in range(int(rng.integers(1, 4))):
                band = int(rng.integers(top + 4, size - 8))
                image[band : band + int(rng.integers(2, 12)), x + 1 : x + width - 2] = np.clip(
                    spine * 0.4 + _color(rng), 0, 1
                )
            x += width
        return image

    return _sheet("books", rng, shelf)


def rugs(rng: Rng) -> Image:
    """Sheets of rugs: borders around a field of diamonds and stripes."""

    def rug(rng: Rng, size: int) -> Image:
        u, v = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
        image = np.broadcast_to(_color(rng, 0.05, 0.5), (size, size, 3)).copy()
        rings = np.maximum(np.abs(u), np.abs(v))
        for outer, inner in ((0.97, 0.9), (0.84, 0.8), (0.72, 0.7)):
            image[(rings < outer) & (rings > inner)] = _color(rng, 0.1, 0.8)
        count, kind = int(rng.integers(2, 6)), rng.random()
        diamonds = (np.abs((u * count) % 1 - 0.5) + np.abs((v * count) % 1 - 0.5)) * (1.0 if kind < 0.6 else 0.4) + (
            0.0 if kind < 0.6 else 0.6 * np.abs((v * 2 * count) % 1 - 0.5)
        )
        field = rings < 0.68
        image[field & (diamonds < 0.3)] = _color(rng, 0.1, 0.7)
        image[field & (diamonds < 0.12)] = _color(rng, 0.05, 0.8)
        weave = noise(rng, 0.2)[:size, :size, None]
        return np.clip(image * (1 + 0.12 * weave), 0, 1).astype(np.float32)

    return _sheet("rugs", rng, rug)


def paintings(rng: Rng) -> Image:
    """Sheets of paintings: landscapes, blocks of color, circles, a white mount around each."""

    def painting(rng: Rng, size: int) -> Image:
        u, v = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
        kind = rng.integers(0, 4)
        image = np.broadcast_to(_color(rng, 0.1, 0.8), (size, size, 3)).copy()
        if kind == 0:  # hills under a sky
            image[:] = (
                np.array([0.25, 0.45, 0.75]) * (1 - v[..., None]) + np.array([0.9, 0.75, 0.55]) * v[..., None]
            ) * 0.8
            for level in (0.5, 0.65, 0.8):
                ridge = level + sum(0.08 / k * np.sin(k * 6 * u + rng.uniform(0, 6)) for k in (1, 2, 4))
                image[v > ridge] = _color(rng, 0.03, 0.4)
        elif kind == 1:  # blocks with black lines
            for _ in range(9):
                r, c = rng.integers(0, size, 2)
                h, w = rng.integers(size // 6, size // 2, 2)
                image[r : r + h, c : c + w] = _color(rng, 0.02, 0.9)
                image[r : r + 3, :] = 0.02
                image[:, c : c + 3] = 0.02
        elif kind == 2:  # circles
            for _ in range(12):
                center, radius = rng.random(2), rng.uniform(0.05, 0.3)
                image[np.hypot(u - center[0], v - center[1]) < radius] = _color(rng, 0.02, 0.9)
        else:  # brush strokes
            phase = noise(rng, 1.4)[:size, :size] * 1.5
            for level in (-0.8, 0.0, 0.8, 1.6):
                image[phase > level] = _color(rng, 0.02, 0.9)
        margin = size // 10
        mount = _canvas(size, (0.8, 0.78, 0.74))
        mount[margin:-margin, margin:-margin] = image[margin:-margin, margin:-margin]
        return mount

    return _sheet("paintings", rng, painting)


def views(rng: Rng) -> Image:
    """Sheets of views out of windows: sky, clouds, trees, houses."""

    def view(rng: Rng, size: int) -> Image:
        u, v = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size))
        clouds = np.clip(0.35 * noise(rng, 1.5)[:size, :size] + 0.3, 0, 1)[..., None] * (1 - v[..., None])
        image = np.array([0.55, 0.72, 0.95]) * (1 - 0.4 * v[..., None]) + 0.45 * v[..., None]
        image = image * (1 - clouds) + 0.97 * clouds
        for _ in range(int(rng.integers(2, 5))):  # houses
            left, width, top = rng.uniform(0, 0.9), rng.uniform(0.15, 0.35), rng.uniform(0.45, 0.65)
            wall = (u > left) & (u < left + width) & (v > top)
            image[wall] = 0.25 + 0.5 * _color(rng, 0.1, 0.9)
            image[wall & (((u - left) * 22) % 1 < 0.45) & (((v - top) * 16) % 1 < 0.5)] = 0.12
        trees = 0.72 + 0.06 * noise(rng, 1.3)[:size, :size] + 0.05 * np.sin(9 * u + rng.uniform(0, 6))
        leaves = np.clip(0.5 + 0.25 * noise(rng, 0.7)[:size, :size], 0.1, 1)[..., None]
        image = np.where((v > trees)[..., None], np.array([0.2, 0.36, 0.12]) * leaves, image)
        return np.asarray(np.clip(image, 0, 1), dtype=np.float32)

    return _sheet("views", rng, view)


PICTURES: dict[str, Callable[[Rng], Image]] = {
    f.__name__: f for f in (door, cupboard, drawers, cardboard, books, rugs, paintings, views)
}
