"""All patterns and pictures with their mip levels, in one 1-D tensor that is sampled without aliasing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ttt3r_ros.synthetic.families import FAMILIES
from ttt3r_ros.synthetic.patterns import PATTERNS, SIZE
from ttt3r_ros.synthetic.pictures import PICTURES

LEVELS = SIZE.bit_length()  # 512, 256, ..., 1
TEXELS_PER_LAYER = sum((SIZE >> level) ** 2 for level in range(LEVELS))
#: Row of each texture in the atlas; the families come last, since an atlas may lack them.
LAYER = {name: i for i, name in enumerate([*PATTERNS, *PICTURES, *FAMILIES])}
#: First texel of the families.
FAMILY_TEXEL = (len(PATTERNS) + len(PICTURES)) * TEXELS_PER_LAYER


@dataclass(frozen=True)
class Atlas:
    """Textures of linear albedo, 8 bits a channel.

    Attributes:
        texels: (layers · TEXELS_PER_LAYER,) int32, red | green << 8 | blue << 16; a layer holds its levels in sequence.
        level_offset: (LEVELS,) int32, start of a level within its layer.
        level_width: (LEVELS,) int32, texels per row of a level.
        level_scale: (LEVELS,) float32, level_width / SIZE.
    """

    texels: Tensor
    level_offset: Tensor
    level_width: Tensor
    level_scale: Tensor

    def sample(self, base: Tensor, u: Tensor, v: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return red, green and blue in [0, 1], interpolated between texels and between mip levels.

        Args:
            base: (n,) int32, first texel of the layer.
            u: (n,) float32, texels of level 0 to the right; repeats every SIZE.
            v: (n,) float32, texels of level 0 downwards.
            level: (n,) float32 mip level; clamped to the existing ones.
        """
        fine = level.clamp(0.0, LEVELS - 1.001)
        index = fine.int()
        coarse_weight = (fine - index).mul_(256.0)
        # The weights are integers that sum to 256, so the two halves of one integer can accumulate red and blue.
        red_blue, green = torch.zeros_like(base), torch.zeros_like(base)
        coarse = coarse_weight.int()
        for step, weight in ((0, 256 - coarse), (1, coarse)):
            for texel_index, texel_weight in self._corners(base, u, v, index + step if step else index, weight):
                texel = self.texels.index_select(0, texel_index)
                red_blue += (texel & 0xFF00FF).mul_(texel_weight)
                green += texel.bitwise_right_shift_(8).bitwise_and_(0xFF).mul_(texel_weight)
        scale = 1.0 / (255 * 256)
        red, blue = red_blue & 0xFFFF, (red_blue >> 16).bitwise_and_(0xFFFF)
        return red.float().mul_(scale), green.float().mul_(scale), blue.float().mul_(scale)

    def _corners(self, base: Tensor, u: Tensor, v: Tensor, level: Tensor, total: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the four texels around a point on a level and their int32 weights, which sum to ``total``."""
        scale = self.level_scale.index_select(0, level)
        width = self.level_width.index_select(0, level)
        start = self.level_offset.index_select(0, level).add_(base)
        mask = width - 1
        x, y = (u * scale).sub_(0.5), (v * scale).sub_(0.5)
        x_floor, y_floor = x.floor(), y.floor()
        column, row = x_floor.int(), y_floor.int()
        fx, fy = x.sub_(x_floor), y.sub_(y_floor)
        lower_weight = (fy * total).int()
        upper_weight = total - lower_weight
        lower_right, upper_right = (fx * lower_weight).int(), (fx * upper_weight).int()
        upper, lower = (row & mask).mul_(width).add_(start), row.add_(1).bitwise_and_(mask).mul_(width).add_(start)
        left, right = column & mask, column.add_(1).bitwise_and_(mask)
        return [
            (upper + left, upper_weight - upper_right), (upper + right, upper_right),
            (lower + left, lower_weight - lower_right), (lower + right, lower_right),
        ]  # fmt: skip


@lru_cache(maxsize=4)
def build_atlas(device: str, families: bool = False) -> Atlas:
    """Return the atlas on a device. It is the same for every seed, so a process draws it only once.

    Args:
        device: where.
        families: include the textures of ``families``.
    """
    widths = [SIZE >> level for level in range(LEVELS)]
    offsets = np.cumsum([0, *(w * w for w in widths[:-1])])
    return Atlas(
        texels=_texels(families).to(device),
        level_offset=torch.tensor(offsets, dtype=torch.int32, device=device),
        level_width=torch.tensor(widths, dtype=torch.int32, device=device),
        level_scale=torch.tensor([w / SIZE for w in widths], dtype=torch.float32, device=device),
    )


@lru_cache(maxsize=2)
def _texels(families: bool) -> Tensor:
    usual = [*PATTERNS.values(), *PICTURES.values()]
    layers = [_texels(False).numpy()] if families else []
    for i, draw in enumerate(FAMILIES.values(), len(usual)) if families else enumerate(usual):
        image = draw(np.random.Generator(np.random.PCG64(1000 + i)))
        while True:
            r, g, b = np.moveaxis(np.round(np.clip(image, 0, 1) * 255).astype(np.int32), 2, 0)
            layers.append((r | g << 8 | b << 16).ravel())
            if image.shape[0] == 1:
                break
            image = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    return torch.from_numpy(np.concatenate(layers).astype(np.int32))
