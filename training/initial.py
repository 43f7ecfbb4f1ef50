"""The weights a run starts from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from training.wiring import wire_decoders
from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.model.rotary import state_positions

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


@torch.no_grad()
def resampled_state(network: Network, config: NetworkConfig) -> Network:
    """Return a network whose state tokens suit images of another size, as the positions of a vision transformer do.

    A state token stands for a place in the image. Each new one is interpolated (bilinear) between the old ones around
    the place where its patch was in the smaller image; places beyond the old grid take its edge.

    Args:
        network: stays as it is.
        config: with the wanted `state_size` and `image_size`; nothing else of it is looked at.

    Returns:
        The same network if it has that many tokens for images of that size already, or its tokens have no places.
    """
    old = network.config
    if (old.state_size, old.image_size) == (config.state_size, config.image_size) or old.state_pe != "2d":
        return network
    places = state_positions(config.state_size, config.state_pe).float()
    places = (places + 0.5) * (old.image_size / config.image_size) - 0.5
    weights = network.state_dict()
    weights["state_tokens"] = _between(network.state_tokens, state_positions(old.state_size, old.state_pe), places)
    resampled = Network(replace(old, state_size=config.state_size, image_size=config.image_size))
    resampled.load_state_dict(weights)
    return resampled


def _between(tokens: Tensor, grid: Tensor, places: Tensor) -> Tensor:
    """Return the (M, C) tokens at M places (y, x) between those of the whole rows of an (N, 2) grid, (N, C)."""
    columns = int(grid[:, 1].max()) + 1
    rows = len(tokens) // columns
    last = torch.tensor([rows - 1, columns - 1])
    places = places.clamp(min=torch.zeros(2), max=last.float())
    first = torch.minimum(places.long(), (last - 1).clamp_min(0))
    second = torch.minimum(first + 1, last)
    (down, right) = (places - first).unsqueeze(-1).unbind(dim=1)
    table = tokens[: rows * columns].view(rows, columns, -1)
    upper = table[first[:, 0], first[:, 1]].lerp(table[first[:, 0], second[:, 1]], right)
    lower = table[second[:, 0], first[:, 1]].lerp(table[second[:, 0], second[:, 1]], right)
    return upper.lerp(lower, down)
