"""The pose memory: slots that associate views with pose tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.model.layers import DecoderBlock, noise

BLOCKS = 2  # for reading and for writing each, whatever the decoder's depth


class PoseMemory(nn.Module):
    """K slots of [view ; pose] pairs, read by view; every frame rewrites all slots."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.dec_embed_dim
        hidden = int(config.mlp_ratio * 2 * width)
        self.slots = noise(1, config.local_mem_size, 2 * width, std=0.2)
        self.unknown_pose = noise(1, 1, width, std=0.2)
        self.view_embed = nn.Linear(config.enc_embed_dim, width)
        self.read_blocks = nn.ModuleList(DecoderBlock(2 * width, config.dec_num_heads, hidden) for _ in range(BLOCKS))
        self.write_blocks = nn.ModuleList(DecoderBlock(2 * width, config.dec_num_heads, hidden) for _ in range(BLOCKS))

    def initial(self, batch: int) -> Tensor:
        """Return P_0, (B, K, 2·C_d)."""
        return self.slots.expand(batch, -1, -1)

    def read(self, view: Tensor, memory: Tensor) -> Tensor:
        """Return the pose query z (B, 1, C_d) of a view (B, 1, C_e), the mean of its image tokens."""
        x = torch.cat([self.view_embed(view), self.unknown_pose.expand(len(view), -1, -1)], dim=-1)
        for block in self.read_blocks:
            x, _ = block(x, memory)
        return x[..., x.shape[-1] // 2 :]

    def write(self, view: Tensor, pose_token: Tensor, memory: Tensor) -> Tensor:
        """Return the memory (B, K, 2·C_d) updated with a view (B, 1, C_e) and its pose token (B, 1, C_d)."""
        pair = torch.cat([self.view_embed(view), pose_token.to(view.dtype)], dim=-1)
        for block in self.write_blocks:
            memory, _ = block(memory, pair)
        return memory
