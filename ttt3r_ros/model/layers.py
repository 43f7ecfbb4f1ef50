"""Transformer layers: rotary positions, attention, blocks.

Every attention is `scaled_dot_product_attention`; no attention map is ever materialised.
Shapes: B batch, T tokens, C channels, A heads, D channels per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


@dataclass(frozen=True)
class Rotary:
    """Cosines and signed sines of a set of token positions, (T, D) float32 each."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions: Tensor, head_dim: int, base: float) -> Rotary:
        """Return the 2-D rotary code of integer positions.

        The first half of a head's channels turns with the row, the second with the column; within a half of E
        channels, channel j pairs with channel j + E/2 and turns by ``p · base^(−2j/E)`` (RoFormer, arXiv 2104.09864,
        eq. 15, on two axes).

        Args:
            positions: (T, 2) integer (row, column); may be negative.
            head_dim: D, a multiple of 4.
            base: of the geometric series of frequencies.
        """
        half = head_dim // 2
        exponents = torch.arange(0, half, 2, device=positions.device, dtype=torch.float32) / half
        angles = positions.to(torch.float32)[:, :, None] * base**-exponents  # (T, 2, half/2)
        cos, sin = angles.cos(), angles.sin()
        return cls(
            cos=torch.cat([cos, cos], dim=-1).flatten(1),
            sin=torch.cat([-sin, sin], dim=-1).flatten(1),
        )

    def turn(self, x: Tensor) -> Tensor:
        """Rotate (B, A, T, D) queries or keys; computed in float32, returned in x's dtype, contiguous.

        Where no gradient is wanted the result is written in place, half by half: two passes over memory instead of
        four, and the attention kernel reads contiguous heads faster.
        """
        wide = x.float()
        paired = (*x.shape[:-1], 2, 2, x.shape[-1] // 4)  # axis, partner, channel
        if torch.is_grad_enabled():
            partner = wide.reshape(paired).flip(-2).reshape(x.shape)
            return (wide * self.cos + partner * self.sin).to(x.dtype)
        turned = torch.mul(wide, self.cos, out=wide.new_empty(wide.shape))
        into, source, sin = turned.view(paired), wide.view(paired), self.sin.view(-1, *paired[-3:])
        for this, other in ((0, 1), (1, 0)):
            into[..., this, :].addcmul_(source[..., other, :], sin[..., this, :])
        return turned.to(x.dtype)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) to (B, A, T, D)."""
    batch, tokens, channels = x.shape
    return x.view(batch, tokens, heads, channels // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, A, T, D) to (B, T, C)."""
    return x.transpose(1, 2).flatten(2)


class Linear(nn.Linear):
    """A linear layer whose weights may be stored in fewer bits than it computes in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]  # nn.Module.__call__ returns Any


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary | None) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if rotary is not None:
            q, k = rotary.turn(q), rotary.turn(k)
        read = F.scaled_dot_product_attention(q, k, v.contiguous())
        return self.proj(merge_heads(read))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = Linear(width, width)
        self.projk = Linear(width, width)
        self.projv = Linear(width, width)
        self.proj = Linear(width, width)

    def forward(
        self, x: Tensor, context: Tensor, rotary_x: Rotary | None, rotary_context: Rotary | None
    ) -> tuple[Tensor, Tensor]:
        """Attend from x (B, T, C) to context (B, M, C).

        Returns:
            The (B, T, C) result, and each query's alignment with the context, (B, T) float32: the mean over heads and
            context tokens of ``q·k / sqrt(D)``, before the softmax. The mean over tokens is linear in the key, so
            one mean key per head gives it without the (T, M) map: ``mean_m q·k_m = q · mean_m k_m``.
        """
        q = split_heads(self.projq(x), self.heads)
        k = split_heads(self.projk(context), self.heads)
        v = split_heads(self.projv(context), self.heads)
        if rotary_x is not None and rotary_context is not None:
            q, k = rotary_x.turn(q), rotary_context.turn(k)
        mean_key = k.float().mean(dim=2)  # (B, A, D)
        alignment = torch.einsum("batd,bad->bt", q.float(), mean_key) / (self.heads * q.shape[-1] ** 0.5)
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v.contiguous()))), alignment


class EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.attn(self.norm1(x), rotary)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to a context, MLP."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_y = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, hidden)

    def forward(
        self, x: Tensor, context: Tensor, rotary_x: Rotary | None = None, rotary_context: Rotary | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the new x (B, T, C) and its alignment with the context (B, T), see `CrossAttention`."""
        x = x + self.attn(self.norm1(x), rotary_x)
        read, alignment = self.cross_attn(self.norm2(x), self.norm_y(context), rotary_x, rotary_context)
        x = x + read
        return x + self.mlp(self.norm3(x)), alignment


class ModulatedNorm(nn.Module):
    """A LayerNorm whose result is scaled and shifted by a conditioning vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = nn.Sequential(nn.SiLU(), Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.mlp(condition)[:, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift  # type: ignore[no-any-return]


class ModulatedBlock(nn.Module):
    """An encoder block whose norms are modulated by the pose token."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = ModulatedNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = ModulatedNorm(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, condition: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.attn(self.norm1(x, condition), rotary)
        return x + self.mlp(self.norm2(x, condition))  # type: ignore[no-any-return]


def noise(*shape: int, std: float) -> nn.Parameter:
    """Return a parameter of normally distributed values, or without values on the meta device.

    To ask for them there would import torch's compiler, a second and 70 MB that loading a network would pay for.
    """
    values = torch.empty(shape)
    return nn.Parameter(values if values.is_meta else values.normal_(std=std))
