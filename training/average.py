"""An exponential moving average of the weights, which predicts better than any single step's."""

from __future__ import annotations

import copy

import torch

from ttt3r_ros.model import Network


class Average:
    """Follows a network; `network` is its averaged twin, in evaluation mode."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Take in the network's present weights; the first few updates count more, to forget the initial weights."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), weight)
