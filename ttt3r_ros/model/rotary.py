"""Rotary embeddings of a network's image and state tokens, computed on first use."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.model.layers import Rotary

_MAX_TABLES = 64  #: tables kept; a stream uses a handful, and only many image sizes could add more


class RotaryTables:
    """One table per grid, head width and device; at `_MAX_TABLES` all are dropped."""

    def __init__(self, config: NetworkConfig) -> None:
        self._config = config
        self._made: dict[tuple[object, ...], Rotary] = {}

    @property
    def made(self) -> tuple[Rotary, ...]:
        """The current tables; a captured graph that reads them must keep them alive."""
        return tuple(self._made.values())

    def image(self, grid: tuple[int, int], head_dim: int, device: torch.device, *, with_pose: bool) -> Rotary:
        """Return the embedding of an (h, w) grid's image tokens, optionally preceded by the pose token at (-1, -1)."""

        def positions() -> Tensor:
            rows, columns = torch.meshgrid(
                torch.arange(grid[0], device=device), torch.arange(grid[1], device=device), indexing="ij"
            )
            patches = torch.stack([rows.flatten(), columns.flatten()], dim=1)
            pose = torch.full((1, 2), -1, device=device)
            return torch.cat([pose, patches]) if with_pose else patches

        return self._table((grid, head_dim, with_pose, device), positions, head_dim)

    def state(self, head_dim: int, device: torch.device) -> Rotary:
        """Return the embedding of the state tokens."""

        def positions() -> Tensor:
            return state_positions(self._config.state_size, self._config.state_pe, device)

        return self._table(("state", head_dim, device), positions, head_dim)

    def _table(self, key: tuple[object, ...], positions: Callable[[], Tensor], head_dim: int) -> Rotary:
        if key not in self._made:
            if len(self._made) >= _MAX_TABLES:
                self._made.clear()
            with torch.inference_mode(mode=False), torch.no_grad():  # usable in training too
                self._made[key] = Rotary.at(positions(), head_dim, self._config.rope_base)
        return self._made[key]


def state_positions(count: int, code: str, device: torch.device | None = None) -> Tensor:
    """Return the (N, 2) grid positions of the state tokens; '2d' rows have an even length near sqrt(N)."""
    index = torch.arange(count, device=device)
    if code == "1d":
        return torch.stack([index, index], dim=1)
    side = math.isqrt(count)
    side += side % 2
    return torch.stack([index // side, index % side], dim=1)
