"""What a step takes at least: its arithmetic, and reading its weights, at the rates that this machine reaches."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.clock import timed
from ttt3r_ros.model import Network, NetworkConfig
from ttt3r_ros.model.precision import Int8Linear

#: Side of the matrices whose product measures the machine.
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
MEMORY_BYTES = 1 << 28  #: copied to measure memory, more than any cache holds


def count_gflop(config: NetworkConfig, height: int, width: int) -> tuple[float, float]:
    """Return the floating point operations [10^9] of a step's linear layers and of all else, two per multiply-add."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = Network(config).eval().requires_grad_(False)
        image = torch.empty(1, 3, height, width)
        _, state = network.step(image, None)
        first = _by_kind(counter)
        network.step(image, state)
    linear, total = (after - before for before, after in zip(first, _by_kind(counter), strict=True))
    return linear / 1e9, (total - linear) / 1e9


def _by_kind(counter: FlopCounterMode) -> tuple[int, int]:
    counts = counter.get_flop_counts()["Global"]
    return counts.get(torch.ops.aten.addmm, 0), sum(counts.values())


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the machine's rate at one large matrix product [10^9 operations per second], the best of several."""
    side = MATRIX_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = min(timed(lambda: a @ b, device)[1] for _ in range(8))
    return 2 * side**3 / best / 1e9


def weight_bytes(network: Network) -> int:
    """Return the size of the weights that a step with the default outputs reads."""
    idle = (network.world_head, network.world_transform, network.color_head)
    unread = {id(tensor) for part in idle if part is not None for tensor in part.parameters()}
    layers = [layer for layer in network.modules() if isinstance(layer, Int8Linear)]
    packed = sum(layer.in_features * layer.out_features for layer in layers)  # no parameters
    return packed + sum(tensor.nbytes for tensor in network.parameters() if id(tensor) not in unread)


def memory_rate(device: torch.device) -> float:
    """Return how fast this machine reads memory [10^9 bytes per second], the best of several copies."""
    source = torch.empty(MEMORY_BYTES // 4, device=device).normal_()
    target = torch.empty_like(source)
    best = min(timed(lambda: target.copy_(source), device)[1] for _ in range(8))
    return 2 * source.nbytes / best / 1e9  # a copy reads and writes


def int8_rate() -> float:
    """Return the rate of a large linear layer on 8-bit integers [10^9 operations per second], the best of several."""
    side = MATRIX_SIDE["cpu"]
    layer, x = Int8Linear(torch.nn.Linear(side, side)), torch.randn(side, side)
    best = min(timed(lambda: layer(x), x.device)[1] for _ in range(8))
    return 2 * side**3 / best / 1e9
