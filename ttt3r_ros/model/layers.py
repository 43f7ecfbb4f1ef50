"""Transformer layers: rotary positions, attention, blocks.

Every attention is `scaled_dot_product_attention`; no attention map is ever materialized.
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
        """Return the 2-D rotary embedding of integer positions.

        The first half of a head's channels rotates with the row, the second with the column. Within a half of E
        channels, channel j pairs with channel j + E/2 and rotates by ``p · base^(−2j/E)`` (RoFormer, arXiv 2104.09864,
        eq. 15, on two axes).

        Args:
            positions: (T, 2) integer (row, column); may be negative.
            head_dim: D, a multiple of 4.
            base: base of the geometric series of frequencies.
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
        """Rotate (B, A, T, D) queries or keys; computed in float32, returned in x's dtype.

        Without gradients, the sine terms are added in place, one half at a time: two passes over memory instead of
        four, three GPU kernels instead of seven. A compiler fuses the plain form and cannot handle the in-place one.
        """
        paired = (*x.shape[:-1], 2, 2, x.shape[-1] // 4)  # axis, partner, channel
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            wide = x.float()
            partner = wide.reshape(paired).flip(-2).reshape(x.shape)
            return (wide * self.cos + partner * self.sin).to(x.dtype)
        wide = torch.mul(x, self.cos, out=_room_for_heads(x, torch.float32))
        turned = wide if x.dtype == wide.dtype else _room_for_heads(x, x.dtype)
        source, sin = x.view(paired), self.sin.view(-1, *paired[-3:])
        for this, other in ((0, 1), (1, 0)):
            torch.addcmul(
                wide.view(paired)[..., this, :],
                source[..., other, :],
                sin[..., this, :],
                out=turned.view(paired)[..., this, :],
            )
        return turned


def _room_for_heads(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an empty tensor of the shape (B, A, T, D) of x, in the memory layout that suits attention.

    A CPU is faster when each head is contiguous. A GPU reads either layout equally fast but returns its result in the
    layout of the queries: with each token's heads side by side, merging the heads needs no copy.
    """
    if x.device.type == "cpu":
        return x.new_empty(x.shape, dtype=dtype)
    return x.new_empty(x.transpose(1, 2).shape, dtype=dtype).transpose(1, 2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) to (B, A, T, D)."""
    batch, tokens, channels = x.shape
    return x.view(batch, tokens, heads, channels // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, A, T, D) to (B, T, C)."""
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the (B, A, T, D) attention of queries (B, A, T, D) to keys and values (B, A, M, D)."""
    if v.device.type == "cpu":  # the CPU kernel reads contiguous heads faster
        v = v.contiguous()
    return F.scaled_dot_product_attention(q, k, v)


class Linear(nn.Linear):
    """A linear layer that may store its weights in a lower precision than it computes in."""

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
        qkv = self.qkv(x)
        width = qkv.shape[-1] // 3
        qk, v = split_heads(qkv[..., : 2 * width], 2 * self.heads), split_heads(qkv[..., 2 * width :], self.heads)
        q, k = (qk if rotary is None else rotary.turn(qk)).chunk(2, dim=1)
        return self.proj(merge_heads(attend(q, k, v)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Match:
    """The rotated queries (B, A, T, D) and keys (B, A, M, D) of a cross-attention."""

    queries: Tensor
    keys: Tensor

    def alignment(self) -> Tensor:
        """Return each query's alignment with the context, (B, T) float32.

        It is the mean over heads and context tokens of ``q·k / sqrt(D)``, before the softmax. The mean over tokens is
        linear in the key, so one mean key per head gives it without the (T, M) map: ``mean_m q·k_m = q · mean_m k_m``.
        """
        heads, channels = self.queries.shape[1], self.queries.shape[3]
        mean_key = self.keys.mean(dim=2, keepdim=True, dtype=torch.float32)
        alignment: Tensor = (self.queries * (mean_key / (heads * channels**0.5))).sum(dim=(1, 3))
        return alignment


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
    ) -> tuple[Tensor, Match]:
        """Attend from x (B, T, C) to context (B, M, C); return the result (B, T, C), and the queries and keys."""
        q = split_heads(self.projq(x), self.heads)
        k = split_heads(self.projk(context), self.heads)
        v = split_heads(self.projv(context), self.heads)
        if rotary_x is not None and rotary_context is not None:
            q, k = rotary_x.turn(q), rotary_context.turn(k)
        return self.proj(merge_heads(attend(q, k, v))), Match(q, k)


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
    ) -> tuple[Tensor, Match]:
        """Return the new x (B, T, C), and the queries and keys of its cross-attention."""
        x = x + self.attn(self.norm1(x), rotary_x)
        read, match = self.cross_attn(self.norm2(x), self.norm_y(context), rotary_x, rotary_context)
        x = x + read
        return x + self.mlp(self.norm3(x)), match


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
    """Return a parameter of normally distributed values; on the meta device, one without values.

    Drawing values on the meta device would import torch's compiler and add a second and 70 MB to loading a network.
    """
    values = torch.empty(shape)
    return nn.Parameter(values if values.is_meta else values.normal_(std=std))
