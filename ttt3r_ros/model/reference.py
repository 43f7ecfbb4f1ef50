"""The slow reference implementation, with which tests and benchmarks compare the fast network; nothing else uses it.

It follows the papers' definitions line by line: it materializes every attention map, computes every head, and fuses,
caches and batches nothing. It takes weights under their published names, so it shares no structure with `network`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt3r_ros.model.config import NetworkConfig


@dataclass
class ReferenceState:
    """The state of a segment: tokens (N, C_d) and pose memory (K, 2·C_d)."""

    tokens: Tensor
    memory: Tensor


@dataclass
class ReferenceNetwork:
    """The network, in float32.

    Attributes:
        config: its dimensions.
        weights: by published name, see `ttt3r_ros.weights.published.reference_of`.
        maps: (A, N, 1+M) scores of the state stream's cross-attention, one per layer of the latest step.
    """

    config: NetworkConfig
    weights: dict[str, Tensor]
    maps: list[Tensor] = field(default_factory=list)

    def step(
        self, image: Tensor, state: ReferenceState | None, rule: str = "ttt3r"
    ) -> tuple[dict[str, Tensor], ReferenceState]:
        """Process one (3, H, W) image in [-1, 1] under the rule 'ttt3r' or 'cut3r'.

        Returns:
            `Prediction`'s fields without the batch axis, plus 'alignment' (N,), and the state after the frame.
        """
        c, w = self.config, self.weights
        rows, columns = image.shape[1] // 16, image.shape[2] // 16
        device = image.device
        grid = torch.tensor([(row, column) for row in range(rows) for column in range(columns)], device=device)
        x = F.conv2d(image[None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16)
        x = x[0].flatten(1).T
        for layer in range(c.enc_depth):
            x = self.encoder_block(x, f"enc_blocks.{layer}", grid)
        features = self.norm(x, "enc_norm")

        first = state is None
        if state is None:
            tokens = self.linear(w["register_tokens.weight"], "decoder_embed_state")
            state = ReferenceState(tokens, w["pose_retriever.mem"][0])
        view = self.linear(features.mean(0, keepdim=True), "pose_retriever.proj_q")
        if first:
            query = w["pose_token"][0]
        else:
            q = torch.cat([view, w["pose_retriever.masked_token"][0]], dim=1)
            for layer in range(2):
                q = self.decoder_block(q, state.memory, f"pose_retriever.read_blocks.{layer}", c.dec_num_heads)
            query = q[:, c.dec_embed_dim :]

        z = torch.cat([query, self.linear(features, "decoder_embed")])
        positions = torch.cat([torch.tensor([(-1, -1)], device=device), grid])
        side = math.floor(math.sqrt(c.state_size))
        side += side % 2
        state_positions = torch.tensor(
            [(i // side, i % side) if c.state_pe == "2d" else (i, i) for i in range(c.state_size)], device=device
        )
        s, levels = state.tokens, [z]
        self.maps.clear()
        for layer in range(c.dec_depth):
            new_s = self.decoder_block(
                s, z, f"dec_blocks_state.{layer}", c.state_dec_num_heads, state_positions, positions, keep=True
            )
            z = self.decoder_block(z, s, f"dec_blocks.{layer}", c.dec_num_heads, positions, state_positions)
            s = new_s
            levels.append(z)
        proposal, decoded = self.norm(s, "dec_norm_state"), self.norm(z, "dec_norm")
        alignment = torch.stack(self.maps).mean(dim=(0, 1, 3))  # layers, heads and keys

        pair = torch.cat([view, decoded[:1]], dim=1)
        memory = state.memory
        for layer in range(2):
            memory = self.decoder_block(memory, pair, f"pose_retriever.write_blocks.{layer}", c.dec_num_heads)
        beta = torch.ones_like(alignment) if first or rule == "cut3r" else torch.sigmoid(alignment)
        new = ReferenceState(beta[:, None] * proposal + (1 - beta[:, None]) * state.tokens, memory)

        pose = self.mlp(decoded[:1], "downstream_head.pose_head.mlp")[0]
        q = pose[3:] / pose[3:].norm()
        quarters = [features, levels[c.dec_depth // 2][1:], levels[3 * c.dec_depth // 4][1:], decoded[1:]]
        moved = decoded[1:]
        for layer in range(2):
            moved = self.modulated_block(moved, decoded[0], f"downstream_head.final_transform.{layer}", grid)
        camera = self.head(quarters, (rows, columns), "proj", "dpt_self")
        world = self.head([*quarters[:3], moved], (rows, columns), "cross_proj", "dpt_cross")
        if c.head_type == "linear":
            camera = torch.cat([camera[:3] * camera[2:3].sign(), camera[3:]])
        found = {
            "translation": exponential(pose[:3]),
            "quaternion": torch.where(q[0] >= 0, q, -q),
            "points_camera": exponential(camera[:3].permute(1, 2, 0)),
            "confidence": 1 + camera[3].exp(),
            "points_world": exponential(world[:3].permute(1, 2, 0)),
            "confidence_world": 1 + world[3].exp(),
            "learning_rate": beta,
            "alignment": alignment,
        }
        if c.rgb_head:
            color = self.head(quarters, (rows, columns), "rgb_proj", "dpt_rgb")
            found["color"] = 2 * (color.permute(1, 2, 0).sigmoid() * (1 - 2e-6) + 1e-6) - 1
        return found, new

    def linear(self, x: Tensor, key: str) -> Tensor:
        return x @ self.weights[f"{key}.weight"].T + self.weights[f"{key}.bias"]

    def norm(self, x: Tensor, key: str) -> Tensor:
        deviation = x - x.mean(-1, keepdim=True)
        scaled = deviation / (deviation.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.weights[f"{key}.weight"] + self.weights[f"{key}.bias"]

    def mlp(self, x: Tensor, key: str) -> Tensor:
        hidden = self.linear(x, f"{key}.fc1")
        return self.linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), f"{key}.fc2")

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, q_at: Tensor | None, k_at: Tensor | None, keep: bool = False
    ) -> Tensor:
        q, k, v = (t.reshape(len(t), heads, -1).transpose(0, 1) for t in (q, k, v))
        if q_at is not None and k_at is not None:
            q, k = turn(q, q_at, self.config.rope_base), turn(k, k_at, self.config.rope_base)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        if keep:
            self.maps.append(scores)
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)

    def self_attention(self, x: Tensor, key: str, heads: int, at: Tensor | None) -> Tensor:
        q, k, v = self.linear(x, f"{key}.qkv").chunk(3, dim=-1)
        return self.linear(self.attend(q, k, v, heads, at, at), f"{key}.proj")

    def encoder_block(self, x: Tensor, key: str, at: Tensor) -> Tensor:
        x = x + self.self_attention(self.norm(x, f"{key}.norm1"), f"{key}.attn", self.config.enc_num_heads, at)
        return x + self.mlp(self.norm(x, f"{key}.norm2"), f"{key}.mlp")

    def decoder_block(
        self,
        x: Tensor,
        context: Tensor,
        key: str,
        heads: int,
        at: Tensor | None = None,
        context_at: Tensor | None = None,
        keep: bool = False,
    ) -> Tensor:
        x = x + self.self_attention(self.norm(x, f"{key}.norm1"), f"{key}.attn", heads, at)
        y = self.norm(context, f"{key}.norm_y")
        q = self.linear(self.norm(x, f"{key}.norm2"), f"{key}.cross_attn.projq")
        k, v = self.linear(y, f"{key}.cross_attn.projk"), self.linear(y, f"{key}.cross_attn.projv")
        x = x + self.linear(self.attend(q, k, v, heads, at, context_at, keep), f"{key}.cross_attn.proj")
        return x + self.mlp(self.norm(x, f"{key}.norm3"), f"{key}.mlp")

    def modulated_block(self, x: Tensor, pose: Tensor, key: str, at: Tensor) -> Tensor:
        def modulated(x: Tensor, name: str) -> Tensor:
            shift, scale = self.linear(pose * pose.sigmoid(), f"{key}.{name}.mlp.1").chunk(2)
            return self.norm(x, f"{key}.{name}.norm") * (1 + scale) + shift

        x = x + self.self_attention(modulated(x, "norm1"), f"{key}.attn", self.config.dec_num_heads, at)
        return x + self.mlp(modulated(x, "norm2"), f"{key}.mlp")

    def head(self, levels: list[Tensor], grid: tuple[int, int], linear: str, dpt: str) -> Tensor:
        """Return raw (channels, H, W)."""
        if self.config.head_type == "linear":
            rows, columns = grid
            tokens = self.mlp(levels[3], f"downstream_head.{linear}")
            pixels = tokens.reshape(rows, columns, -1, 16, 16)  # channel, then pixel row and column in the patch
            return pixels.permute(2, 0, 3, 1, 4).reshape(-1, rows * 16, columns * 16)
        return self.dpt([level.T.reshape(1, -1, *grid) for level in levels], f"downstream_head.{dpt}")[0]

    def conv(self, x: Tensor, key: str, **options: int) -> Tensor:
        return F.conv2d(x, self.weights[f"{key}.weight"], self.weights.get(f"{key}.bias"), **options)

    def dpt(self, maps: list[Tensor], key: str) -> Tensor:
        def unit(x: Tensor, name: str) -> Tensor:
            hidden = self.conv(x.relu(), f"{name}.conv1", padding=1)
            return x + self.conv(hidden.relu(), f"{name}.conv2", padding=1)

        def fuse(x: Tensor, skip: Tensor | None, level: int) -> Tensor:
            name = f"{key}.scratch.refinenet{level}"
            if skip is not None:
                x = x + unit(skip, f"{name}.resConfUnit1")
            return self.conv(double(unit(x, f"{name}.resConfUnit2")), f"{name}.out_conv")

        def double(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

        levels = []
        for level, x in enumerate(maps):
            name = f"{key}.act_postprocess.{level}"
            x = self.conv(x, f"{name}.0")
            if level < 2:
                stride = 4 if level == 0 else 2
                x = F.conv_transpose2d(
                    x, self.weights[f"{name}.1.weight"], self.weights[f"{name}.1.bias"], stride=stride
                )
            elif level == 3:
                x = self.conv(x, f"{name}.1", stride=2, padding=1)
            levels.append(self.conv(x, f"{key}.scratch.layer{level + 1}_rn", padding=1))
        path = fuse(levels[3], None, 4)[..., : levels[2].shape[2], : levels[2].shape[3]]
        for level in (2, 1, 0):
            path = fuse(path, levels[level], level + 1)
        path = double(self.conv(path, f"{key}.head.0", padding=1))
        return self.conv(self.conv(path, f"{key}.head.2", padding=1).relu(), f"{key}.head.4")


def exponential(vector: Tensor) -> Tensor:
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, vector / length * torch.expm1(length), vector)


def turn(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotate (A, T, D) channel by channel, as the definition reads."""
    out = x.clone()
    half = x.shape[-1] // 2
    for axis in range(2):
        for j in range(half // 2):
            angle = positions[:, axis].float() * base ** (-2 * j / half)
            a, b = axis * half + j, axis * half + j + half // 2
            out[..., a] = x[..., a] * angle.cos() - x[..., b] * angle.sin()
            out[..., b] = x[..., b] * angle.cos() + x[..., a] * angle.sin()
    return out
