"""What cameras on robots go through: low light, an exposure that hunts, motion blur, a lens that is partly covered."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_HUNTS, _DARK, _DARK_NOISE = 0.45, (0.12, 0.5), 0.03
_BLUR_PX, _COVER = 7, (0.12, 0.4)  # length of a streak; radius over the image's width


def suffer(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return images (B, T, 3, H, W) in [-1, 1] with each hardship in a share of the clips."""
    count, frames, _, height, width = images.shape
    device = images.device

    def uniform(low: float, high: float, frames: int = 1) -> Tensor:
        return low + (high - low) * torch.rand((count, frames, 1, 1, 1), generator=generator, device=device)

    def struck() -> Tensor:
        return uniform(0.0, 1.0) < share

    x = (images + 1) / 2

    streaks = F.avg_pool2d(
        F.pad(x.flatten(0, 1), (_BLUR_PX // 2, _BLUR_PX // 2, 0, 0), mode="replicate"), (1, _BLUR_PX), stride=1
    ).view_as(x)
    x = torch.where(struck(), torch.lerp(x, streaks, uniform(0.0, 1.0, frames)), x)

    time = torch.arange(frames, device=device).view(1, -1, 1, 1, 1)
    hunting = (uniform(0.1, _HUNTS) * torch.sin(uniform(0.2, 1.5) * time + uniform(0.0, 2 * torch.pi))).exp()
    x = torch.where(struck(), x * hunting, x)

    noise = _DARK_NOISE * torch.randn(x.shape, generator=generator, device=device)
    x = torch.where(struck(), x * uniform(*_DARK) + noise, x)

    column = torch.arange(width, device=device).view(1, 1, 1, 1, -1) / width
    row = torch.arange(height, device=device).view(1, 1, 1, -1, 1) / width
    on_edge = uniform(0.0, 1.0) < 0.5  # of left and right, else of top and bottom
    side = (uniform(0.0, 1.0) < 0.5).float()
    middle_x = torch.where(on_edge, side, uniform(0.0, 1.0))
    middle_y = torch.where(on_edge, uniform(0.0, 1.0), side) * (height / width)
    distance = ((column - middle_x).square() + (row - middle_y).square()).sqrt()
    cover = torch.sigmoid((uniform(*_COVER) - distance) * 60)  # out of focus
    x = torch.where(struck(), torch.lerp(x, uniform(0.0, 0.3).expand_as(x), cover.expand_as(x)), x)
    return x.clamp(0.0, 1.0) * 2 - 1
