"""Heads: from tokens to pose, points with confidence, and color.

Raw head values are logarithmic: a vector v stands for ``v/|v| · expm1(|v|)`` meters, a confidence c for ``1 + exp(c)``
(DUSt3R's and CUT3R's parameterization, arXiv 2501.12387).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ttt3r_ros.model.config import PATCH, NetworkConfig
from ttt3r_ros.model.layers import Mlp

POINT_CHANNELS = 4  # x, y, z, confidence
COLOR_CHANNELS = 3


def dpt_widths(config: NetworkConfig) -> tuple[int, int, int, int]:
    """Return the channels of a DPT head's four levels, fine to coarse; 96, 192, 384 and 768 in published networks."""
    eighth = config.dpt_width // 8
    return 3 * eighth, 6 * eighth, 12 * eighth, 24 * eighth


@dataclass(frozen=True)
class TokenLevels:
    """The four token maps that the heads read, finest first, (B, h·w, C) each, and their grid (h, w)."""

    encoder: Tensor
    half: Tensor
    three_quarters: Tensor
    last: Tensor
    grid: tuple[int, int]


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h·w, C) to (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def expand(vector: Tensor, dim: int = -1) -> Tensor:
    """Map raw vectors along an axis of length 3 to meters: ``v/|v| · expm1(|v|)``, 0 at 0."""
    # torch's own norm takes twenty times as long over such a short axis on a CPU
    safe = vector.square().sum(dim, keepdim=True).clamp(min=1e-24).sqrt()
    return vector * (torch.expm1(safe) / safe)


def decode_points(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Split raw (B, 4, H, W) into points (B, H, W, 3) [m] and confidence (B, H, W) >= 1."""
    points = expand(raw[:, :3], dim=1)
    return points.permute(0, 2, 3, 1).contiguous(), 1 + raw[:, 3].exp()


def decode_color(raw: Tensor) -> Tensor:
    """Map raw (B, 3, H, W) to colors (B, H, W, 3) in (-1, 1)."""
    return 2 * (raw.permute(0, 2, 3, 1).sigmoid() * (1 - 2e-6) + 1e-6) - 1


class PoseHead(nn.Module):
    """Predicts the camera pose in the segment's world from the pose token."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mlp = Mlp(width, hidden, out=7)

    def forward(self, pose_token: Tensor) -> tuple[Tensor, Tensor]:
        """Return translation (B, 3) [m] and unit quaternion (B, 4), (w, x, y, z) with w >= 0, camera to world."""
        raw = self.mlp(pose_token)
        quaternion = F.normalize(raw[:, 3:], dim=-1)
        return expand(raw[:, :3]), torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)


class LinearHead(nn.Module):
    """Every token predicts its own 16×16 pixels."""

    def __init__(self, config: NetworkConfig, out_channels: int) -> None:
        super().__init__()
        width = config.dec_embed_dim
        self.mlp = Mlp(width, int(config.mlp_ratio * width), out=out_channels * PATCH**2)

    def forward(self, levels: TokenLevels) -> Tensor:
        """Return raw (B, out_channels, H, W)."""
        return F.pixel_shuffle(as_map(self.mlp(levels.last), levels.grid), PATCH)


class ResidualUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x)), inplace=True))  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """Add the finer level to the coarser one, refine, and double the resolution."""

    def __init__(self, width: int, *, has_skip: bool) -> None:
        super().__init__()
        self.skip_unit = ResidualUnit(width) if has_skip else None
        self.out_unit = ResidualUnit(width)
        self.out_conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None and self.skip_unit is not None:
            x = x + self.skip_unit(skip)
        # interpolation and a 1x1 convolution commute, and the convolution is cheaper at the lower resolution
        return F.interpolate(self.out_conv(self.out_unit(x)), scale_factor=2, mode="bilinear", align_corners=True)


class DPTHead(nn.Module):
    """Dense prediction transformer head (DPT, arXiv 2103.13413): four token maps fused from coarse to fine."""

    def __init__(self, config: NetworkConfig, out_channels: int) -> None:
        super().__init__()
        encoder, decoder = config.enc_embed_dim, config.dec_embed_dim
        w0, w1, w2, w3 = widths = dpt_widths(config)
        fused, last = config.dpt_width, config.dpt_width // 2
        self.resample = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(encoder, w0, 1), nn.ConvTranspose2d(w0, w0, 4, stride=4)),
                nn.Sequential(nn.Conv2d(decoder, w1, 1), nn.ConvTranspose2d(w1, w1, 2, stride=2)),
                nn.Sequential(nn.Conv2d(decoder, w2, 1)),
                nn.Sequential(nn.Conv2d(decoder, w3, 1), nn.Conv2d(w3, w3, 3, stride=2, padding=1)),
            ]
        )
        self.project = nn.ModuleList(nn.Conv2d(width, fused, 3, padding=1, bias=False) for width in widths)
        self.fuse = nn.ModuleList(Fusion(fused, has_skip=level < 3) for level in range(4))
        self.head = nn.Sequential(
            nn.Conv2d(fused, last, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(last, last, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(last, out_channels, 1),
        )

    def forward(self, levels: TokenLevels) -> Tensor:
        """Return raw (B, out_channels, H, W)."""
        tokens = (levels.encoder, levels.half, levels.three_quarters, levels.last)
        maps: Sequence[Tensor] = [
            project(_channels_innermost(resample(as_map(level, levels.grid))))
            for level, resample, project in zip(tokens, self.resample, self.project, strict=True)
        ]
        x = self.fuse[3](maps[3])
        height, width = maps[2].shape[-2:]  # the strided convolution has rounded an odd grid up
        x = self.fuse[2](x[..., :height, :width], maps[2])
        x = self.fuse[1](x, maps[1])
        return self.head(self.fuse[0](x, maps[0]))  # type: ignore[no-any-return]


def _channels_innermost(x: Tensor) -> Tensor:
    """Return (B, C, h, w) in channels-last layout on a CPU, where convolution and interpolation are fastest in it."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
