"""The state's learning rate β: how much of a frame's proposal each state token takes over.

``S ← β·S̃ + (1 − β)·S`` with β in (0, 1] per token (TTT3R, arXiv 2509.26645). The first frame of a segment has β = 1
under every rule; a rule is asked from the second frame on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError


@dataclass(frozen=True)
class FilterMemory:
    """What FILT3R carries from frame to frame.

    Attributes:
        variance: (B, N) float32, of each state token.
        mean_change: (B,) float32 running mean of the proposal's change; None until two proposals are known.
        proposal: (B, N, C) float32, the last one.
    """

    variance: Tensor
    mean_change: Tensor | None
    proposal: Tensor


@dataclass(frozen=True)
class Cut3r:
    """Every frame overwrites the state: β = 1 (CUT3R, arXiv 2501.12387)."""

    name: Literal["cut3r"] = "cut3r"

    def start(self, proposal: Tensor) -> None:
        """Begin a segment with its first proposal."""

    def learning_rate(self, proposal: Tensor, alignment: Tensor, memory: FilterMemory | None) -> tuple[Tensor, None]:
        return torch.ones_like(alignment), None


@dataclass(frozen=True)
class Ttt3r:
    """β is the sigmoid of the alignment between state queries and image keys (TTT3R, arXiv 2509.26645)."""

    name: Literal["ttt3r"] = "ttt3r"

    def start(self, proposal: Tensor) -> None:
        """Begin a segment with its first proposal."""

    def learning_rate(self, proposal: Tensor, alignment: Tensor, memory: FilterMemory | None) -> tuple[Tensor, None]:
        return torch.sigmoid(alignment), None


@dataclass(frozen=True)
class Filt3r:
    """β is the gain of a Kalman filter per state token, fed by the proposal's change (arXiv 2603.18493).

    Attributes:
        q_min, q_max: bounds of the process noise.
        alpha, tau: slope and centre of the sigmoid that turns a token's relative change into process noise.
        r: measurement noise.
        variance_init: variance after the first frame.
        ema: weight of the newest frame in the running mean of the change.
        mean_change_floor: smallest value of that mean.
        gamma: factor on the variance from frame to frame.
    """

    q_min: float = 0.02
    q_max: float = 0.5
    alpha: float = 20.0
    tau: float = 3.0
    r: float = 1.0
    variance_init: float = 1.5
    ema: float = 0.05
    mean_change_floor: float = 0.01
    gamma: float = 1.0
    name: Literal["filt3r"] = "filt3r"

    def start(self, proposal: Tensor) -> FilterMemory:
        """Begin a segment with its first proposal."""
        variance = torch.full(proposal.shape[:2], self.variance_init, device=proposal.device)
        return FilterMemory(variance=variance, mean_change=None, proposal=proposal)

    def learning_rate(
        self, proposal: Tensor, alignment: Tensor, memory: FilterMemory | None
    ) -> tuple[Tensor, FilterMemory]:
        if memory is None:
            raise ValueError(
                "FILT3R needs the memory of the segment's earlier frames; start a new segment (state=None)"
            )
        change = (proposal - memory.proposal).norm(dim=-1)  # (B, N)
        mean = change.mean(dim=1)
        if memory.mean_change is not None:
            mean = (1 - self.ema) * memory.mean_change + self.ema * mean
        mean = mean.clamp(min=self.mean_change_floor)
        relative = change / (mean[:, None] + 1e-6)
        noise = self.q_min + (self.q_max - self.q_min) * torch.sigmoid(self.alpha * (relative - self.tau))
        predicted = self.gamma * memory.variance + noise
        gain = (predicted / (predicted + self.r + 1e-6)).clamp(0.01, 0.99)
        variance = (1 - gain) ** 2 * predicted + gain**2 * self.r
        return gain, FilterMemory(variance=variance, mean_change=mean, proposal=proposal)


UpdateRule = Cut3r | Ttt3r | Filt3r


def rule_by_name(name: str) -> UpdateRule:
    """Return the update rule of this name, with its published constants.

    Raises:
        UserError: there is no rule of this name.
    """
    rules: dict[str, UpdateRule] = {rule.name: rule for rule in (Cut3r(), Ttt3r(), Filt3r())}
    if name not in rules:
        raise UserError(f"there is no update rule {name!r}; choose one of {', '.join(rules)}")
    return rules[name]


def blend(state: Tensor, proposal: Tensor, learning_rate: Tensor) -> Tensor:
    """Return ``β·S̃ + (1 − β)·S`` for (B, N, C) states and a (B, N) learning rate."""
    return torch.lerp(state, proposal, learning_rate[..., None])
