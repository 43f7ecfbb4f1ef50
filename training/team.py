"""Several processes that train one network, each with clips of its own: started by torchrun."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Team:
    """This process among all; one alone is a team too.

    All begin with the same weights, and average their gradients in every step, so that all keep them.

    Attributes:
        rank: of this process; the first logs, decides when to stop, and writes.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replace all gradients by their means over the team, in one message.

        A parameter that has no gradient here must have none anywhere: all take the same stage's losses.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(message)
        parts = torch.split(message.div_(self.size), [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, value: float, device: torch.device) -> float:
        """Return the first process's value."""
        if self.size == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(message, src=0)
        return float(message)


@contextlib.contextmanager
def gathered(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """Join the team that torchrun started, and give it with this process's own device; alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size), device
    finally:
        dist.destroy_process_group()
