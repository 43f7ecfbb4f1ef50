"""The weights a run starts from."""

from __future__ import annotations

import torch
from torch import nn

from training.wiring import wire_decoders
from ttt3r_ros.model import Network, NetworkConfig

#: Raw z of every pixel at the start: expm1 of it, 2.9 m, is about the middle of a room.
_DEPTH = 1.36


def initial_network(config: NetworkConfig, seed: int) -> Network:
    """Return an untrained network, the same for a seed, that sees a wall ahead and no motion, without much confidence.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config)
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
                if name.startswith("world_transform") and name.endswith((".mlp.1", "attn.proj", "mlp.fc2")):
                    nn.init.zeros_(module.weight)  # at first the world is the camera's own frame
        patch = network.patch_embed.weight
        nn.init.xavier_uniform_(patch.view(patch.shape[0], -1))
        nn.init.normal_(network.state_tokens, std=0.2)
        nn.init.normal_(network.pose_token, std=0.2)
        wire_decoders(network)
    with torch.no_grad():
        for head in (network.camera_head, network.world_head):
            last = "mlp.fc2" if config.head_type == "linear" else "head.4"
            head.get_parameter(f"{last}.weight").mul_(0.1)
            bias = head.get_parameter(f"{last}.bias").zero_().view(4, -1)
            bias[2] = _DEPTH
        network.pose_head.mlp.fc2.weight.mul_(0.1)
        network.pose_head.mlp.fc2.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]))
    return network
