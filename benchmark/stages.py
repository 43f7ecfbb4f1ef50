"""A step taken apart: each stage as work that can be timed, or captured, by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ttt3r_ros.model import Network, State, Ttt3r
from ttt3r_ros.model.config import PATCH
from ttt3r_ros.model.network import DEFAULT_OUTPUTS, Trace
from ttt3r_ros.model.update import RuleInput, blend

STAGES = ("encode", "pose query", "decode", "pose memory", "update", "heads")


@torch.inference_mode()
def stages_of(network: Network, image: torch.Tensor, state: State) -> dict[str, Callable[[], object]]:
    """Return the stages of the step that reads this image (1, 3, H, W) with this state.

    Each reads what the others have made of them once, now, so that they can run in any order and any number of times.
    """
    memory, rule = network.pose_memory, Ttt3r()
    grid = image.shape[2] // PATCH, image.shape[3] // PATCH
    features = network.encode(image)
    view = features.mean(dim=1, keepdim=True)
    query = memory.read(view, state.pose_memory)
    decoded = network.decode(features, query, state.tokens, grid)
    learning_rate, _ = rule.learning_rate(RuleInput(state.tokens, decoded.state_proposal, decoded.alignment), ())
    trace = Trace(features, query[:, 0], decoded)

    def update() -> torch.Tensor:
        rate, _ = rule.learning_rate(RuleInput(state.tokens, decoded.state_proposal, decoded.alignment), ())
        return blend(state.tokens, decoded.state_proposal, rate)

    return {
        "encode": lambda: network.encode(image),
        "pose query": lambda: memory.read(view, state.pose_memory),
        "decode": lambda: network.decode(features, query, state.tokens, grid),
        "pose memory": lambda: memory.write(view, decoded.pose_token[:, None], state.pose_memory),
        "update": update,
        "heads": lambda: network.read_heads(trace, learning_rate, DEFAULT_OUTPUTS),
    }
