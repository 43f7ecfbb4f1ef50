"""How many threads torch uses for a network on a CPU."""

from __future__ import annotations

import os

import torch
from torch import nn

#: Networks with fewer parameters than this are too small for their operations to be worth splitting. The packaged
#: weights have 8.5 million, the published ones 793 million.
MIN_PARAMETERS_TO_SPLIT = 50_000_000


def choose_threads(network: nn.Module) -> int:
    """Let torch use one thread in this process if the network is small and runs on a CPU; return the number of threads.

    For programs, which own their process; a library leaves this to its caller. ``OMP_NUM_THREADS`` overrides it.
    """
    parameters = list(network.parameters())
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    small = sum(parameter.numel() for parameter in parameters) < MIN_PARAMETERS_TO_SPLIT
    if on_cpu and small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return torch.get_num_threads()
