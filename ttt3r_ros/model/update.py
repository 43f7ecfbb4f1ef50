"""The learning rate β of the state: how far each state token moves toward a frame's proposal.

``S ← β·S̃ + (1 − β)·S`` with β in (0, 1] per token (TTT3R, arXiv 2509.26645). The first frame of a segment has β = 1;
an update rule decides from the second frame on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ttt3r_ros.errors import UserError

#: A rule's tensors that pass from frame to frame of a segment; their first axis is the batch.
Carried = tuple[Tensor, ...]


@dataclass(frozen=True)
class RuleInput:
    """The inputs of an update rule.

    Attributes:
        tokens: (B, N, C) float32, the state S before the frame; at a segment's first frame, the learned initial tokens.
        proposal: (B, N, C) float32, the frame's proposal S̃.
        alignment: (B, N), mean score between state queries and image keys, before the sigmoid.
    """

    tokens: Tensor
    proposal: Tensor
    alignment: Tensor


class UpdateRule(Protocol):
    """Computes the learning rate. A rule is a frozen dataclass of its constants.

    The tensors it carries become part of `State`, which saves, moves and checks them without further code.
    """

    @property
    def name(self) -> str:
        """Name in parameters and files."""
        ...

    def start(self, inputs: RuleInput) -> Carried:
        """Return the tensors to carry after a segment's first frame, whose learning rate is 1."""
        ...

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        """Return β (B, N) in (0, 1] of a later frame, and the tensors to carry after it."""
        ...


@dataclass(frozen=True)
class Cut3r:
    """Every frame overwrites the state: β = 1 (CUT3R, arXiv 2501.12387)."""

    name: Literal["cut3r"] = "cut3r"

    def start(self, inputs: RuleInput) -> Carried:
        return ()

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        return torch.ones_like(inputs.alignment), ()


@dataclass(frozen=True)
class Ttt3r:
    """β is the sigmoid of the alignment between state queries and image keys (TTT3R, arXiv 2509.26645)."""

    name: Literal["ttt3r"] = "ttt3r"

    def start(self, inputs: RuleInput) -> Carried:
        return ()

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        return torch.sigmoid(inputs.alignment), ()


@dataclass(frozen=True)
class Filt3r:
    """β is the gain of one Kalman filter per state token, driven by the proposal's change (arXiv 2603.18493).

    Carries the variances (B, N), the last proposal (B, N, C) and, from the second proposal on, the running mean of the
    change (B,).

    Attributes:
        q_min, q_max: bounds of the process noise.
        alpha, tau: slope and center of the sigmoid that turns a token's relative change into process noise.
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

    def start(self, inputs: RuleInput) -> Carried:
        variance = torch.full(inputs.proposal.shape[:2], self.variance_init, device=inputs.proposal.device)
        return variance, inputs.proposal

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        if not carried:
            raise ValueError("FILT3R needs what it carried from the segment's earlier frames; start a new segment")
        variance, last_proposal, *last_mean = carried
        change = (inputs.proposal - last_proposal).norm(dim=-1)  # (B, N)
        mean = change.mean(dim=1)
        if last_mean:
            mean = (1 - self.ema) * last_mean[0] + self.ema * mean
        mean = mean.clamp(min=self.mean_change_floor)
        relative = change / (mean[:, None] + 1e-6)
        noise = self.q_min + (self.q_max - self.q_min) * torch.sigmoid(self.alpha * (relative - self.tau))
        predicted = self.gamma * variance + noise
        gain = (predicted / (predicted + self.r + 1e-6)).clamp(0.01, 0.99)
        variance = (1 - gain) ** 2 * predicted + gain**2 * self.r
        return gain, (variance, inputs.proposal, mean)


@dataclass(frozen=True)
class Recal3r:
    """β is TTT3R's gate for tokens near their initial value, a small constant for the others (arXiv 2607.05356).

    Equations 3, 5, 6 and 7 with the deviation cue alone and the paper's "TTT3R rate". With `pressure` the gate g
    becomes g·exp(−h), where h is a running mean of g up to the last frame; of the paper's full rate r·g·exp(−h) the
    residual r is left out, because its margin is not printed. Carries the initial tokens (B, N, C) and, with
    `pressure`, h (B, N).

    Attributes:
        pressure: whether tokens that have been written to often follow less.
        beta_base: learning rate of a token of no reliability.
        decay: of the running mean h, from frame to frame.
    """

    pressure: bool = False
    beta_base: float = 0.1
    decay: float = 0.95

    @property
    def name(self) -> str:
        return "recal3r_pressure" if self.pressure else "recal3r"

    def start(self, inputs: RuleInput) -> Carried:
        return (inputs.tokens, torch.zeros_like(inputs.alignment)) if self.pressure else (inputs.tokens,)

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        initial, *pressures = carried
        deviation = (inputs.tokens - initial).norm(dim=-1)  # (B, N)
        low, high = deviation.aminmax(dim=1, keepdim=True)
        closeness = 1 - (deviation - low) / (high - low).clamp(min=torch.finfo(deviation.dtype).tiny)
        reliability = closeness * (2 * closeness - 1) ** 2
        gate = torch.sigmoid(inputs.alignment)
        rate = gate
        if pressures:
            rate = gate * torch.exp(-pressures[0])
            pressures = [self.decay * pressures[0] + (1 - self.decay) * gate]
        return (1 - reliability) * self.beta_base + reliability * rate, (initial, *pressures)


@dataclass(frozen=True)
class Gain:
    """β is TTT3R's gate times a constant: the plain baseline that every other rule must beat.

    Attributes:
        alpha: the constant; 0.33 to 0.5 are reported as strong.
    """

    alpha: float = 0.4
    name: Literal["gain"] = "gain"

    def start(self, inputs: RuleInput) -> Carried:
        return ()

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        return self.alpha * torch.sigmoid(inputs.alignment), ()


@dataclass(frozen=True)
class Brake:
    """β is TTT3R's gate, less where a token is pushed the same way as a frame before: σ(−τ·cos(δ, δ'))·g.

    Carries the last push δ = S̃ − S (B, N, C), from the segment's first frame on.

    Attributes:
        tau: how strongly the cosine acts.
    """

    tau: float = 1.0
    name: Literal["brake"] = "brake"

    def start(self, inputs: RuleInput) -> Carried:
        return (inputs.proposal - inputs.tokens,)

    def learning_rate(self, inputs: RuleInput, carried: Carried) -> tuple[Tensor, Carried]:
        push = inputs.proposal - inputs.tokens
        cosine = torch.cosine_similarity(push, carried[0], dim=-1)  # 0 where one of them is 0
        return torch.sigmoid(-self.tau * cosine) * torch.sigmoid(inputs.alignment), (push,)


#: The rules by name, with their published constants. A new rule is one class, one entry here and one in `UPDATE_RULES`.
RULES: Mapping[str, UpdateRule] = {
    rule.name: rule for rule in (Ttt3r(), Filt3r(), Recal3r(), Recal3r(pressure=True), Gain(), Brake(), Cut3r())
}


def rule_by_name(name: str) -> UpdateRule:
    """Return the update rule of this name, with its published constants.

    Raises:
        UserError: there is no rule of this name.
    """
    if name not in RULES:
        raise UserError(f"there is no update rule {name!r}; choose one of {', '.join(RULES)}")
    return RULES[name]


def can_carry(rule: UpdateRule, carried: Carried, tokens: tuple[int, int, int]) -> bool:
    """Return whether a rule can have carried tensors of these shapes with state tokens (B, N, C).

    Runs the rule on tensors without values until the shapes it carries stop changing.
    """
    empty = torch.empty(tokens, device="meta")
    inputs = RuleInput(empty, empty, torch.empty(tokens[:2], device="meta"))
    shapes, expected = [part.shape for part in carried], rule.start(inputs)
    while shapes != [part.shape for part in expected]:
        later = rule.learning_rate(inputs, expected)[1]
        if [part.shape for part in later] == [part.shape for part in expected]:
            return False
        expected = later
    return True


def blend(state: Tensor, proposal: Tensor, learning_rate: Tensor) -> Tensor:
    """Return ``β·S̃ + (1 − β)·S`` for (B, N, C) states and a (B, N) learning rate."""
    return torch.lerp(state, proposal, learning_rate[..., None])
