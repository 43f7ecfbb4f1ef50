"""Weights and images that follow a rule, so that networks can be compared without storing either."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch

from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.model.network import Network
from ttt3r_ros.weights.published import published_key

#: As small as a network can be, for tests of everything but its arithmetic.
TINY = NetworkConfig(
    enc_embed_dim=32,
    enc_depth=1,
    enc_num_heads=2,
    dec_embed_dim=48,
    dec_depth=2,
    dec_num_heads=3,
    state_dec_num_heads=4,
    state_size=10,
    local_mem_size=6,
    head_type="linear",
    image_size=64,
)


def rule_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the rule's float32 value of a published key."""
    noise = _generator(key).standard_normal(shape, dtype=np.float32)
    gate = ".cross_attn.projq." in key or ".cross_attn.projk." in key
    if key.endswith(".weight"):
        if len(shape) == 1:
            noise = 1 + np.float32(0.1) * noise
        else:
            noise *= np.float32((2.0 if gate else 1.0) / math.sqrt(math.prod(shape[1:])))
    elif key.endswith(".bias"):
        noise *= np.float32(0.5 if gate else 0.05)
    else:
        noise *= np.float32(0.2)
    return torch.from_numpy(noise)


def rule_network(config: NetworkConfig) -> Network:
    """Return a float32 network of this configuration with the rule's weights."""
    with torch.device("meta"):
        network = Network(config)
    state = {
        key: rule_weight(published_key(key), tuple(value.shape)).contiguous()
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def rule_image(index: int, height: int, width: int) -> torch.Tensor:
    """Return the rule's image of this index, (3, H, W) float32 in [-1, 1]."""
    pixels = _generator(f"frame:{index}:{height}x{width}").random((3, height, width), dtype=np.float32)
    return torch.from_numpy(pixels * 2 - 1)


def _generator(text: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))
