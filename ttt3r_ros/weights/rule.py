"""Weights and images that follow a rule, so that networks can be compared without storing either."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

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


def rule_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Return the rule's float32 value of a published key."""
    center, scale = _center_and_scale(key, shape)
    noise = _generator(key).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.float32(center) + np.float32(scale) * noise)


def _center_and_scale(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    gate = ".cross_attn.projq." in key or ".cross_attn.projk." in key
    if key.endswith(".weight"):
        if len(shape) == 1:
            return 1.0, 0.1
        return 0.0, (2.0 if gate else 1.0) / math.sqrt(math.prod(shape[1:]))
    if key.endswith(".bias"):
        return 0.0, 0.5 if gate else 0.05
    return 0.0, 0.2


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


@torch.no_grad()
def random_network(config: NetworkConfig, device: torch.device, *, seed: int = 0) -> Network:
    """Return a float32 network of the rule's magnitudes whose values are drawn on the device, the same for a seed.

    On a GPU a thousand times as fast as the rule itself.
    """
    with torch.device("meta"):
        network = Network(config)
    network.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for key, value in network.state_dict().items():
        center, scale = _center_and_scale(published_key(key), tuple(value.shape))
        value.normal_(center, scale, generator=generator)
    return network.eval().requires_grad_(False)


def rule_image(index: int, height: int, width: int) -> Tensor:
    """Return the rule's image of this index, (3, H, W) float32 in [-1, 1]."""
    pixels = _generator(f"frame:{index}:{height}x{width}").random((3, height, width), dtype=np.float32)
    return torch.from_numpy(pixels * 2 - 1)


def _generator(text: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))
