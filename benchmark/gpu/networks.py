"""The networks of a run, and how their steps are captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ttt3r_ros.model import Network
from ttt3r_ros.runtime.captured import Capture
from ttt3r_ros.runtime.cuda_capture import CudaCapture
from ttt3r_ros.runtime.tensor_tree import copy_into
from ttt3r_ros.weights.published import reference_of

Result = TypeVar("Result")

NAIVE = "naive, float32"  #: what the slow reference is called in tables


def capture_for(device: torch.device) -> Capture:
    """Return how a step is captured on this device; on a CPU it is run again instead, through the same code."""
    return CudaCapture(device) if device.type == "cuda" else run_again


def run_again(run: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
    """Stand in for a capture: a replay runs the function again and writes into the same results."""
    results = run()
    return results, lambda: copy_into(results, run())


def reference_work(
    make: Callable[[], Network], images: Sequence[Tensor]
) -> tuple[Callable[[], object], dict[str, Tensor]] | None:
    """Return the slow reference's step at the third image (1, 3, H, W), and what it says of the second.

    None where the device's memory is too small for it beside what is there.
    """
    try:
        reference = reference_of(make())
        _, first = reference.step(images[0][0], None)
        expected, state = reference.step(images[1][0], first)
        reference.step(images[2][0], state)
    except torch.cuda.OutOfMemoryError:
        return None
    return (lambda: reference.step(images[2][0], state)), expected


def refuse(sentence: str) -> None:
    """Take a warning for an error.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(sentence)


def blocks_of(network: Network) -> list[torch.nn.Module]:
    """Return the transformer blocks that a step runs through."""
    memory = network.pose_memory
    parts = (
        network.encoder, network.image_decoder, network.state_decoder, memory.read_blocks, memory.write_blocks,
    )  # fmt: skip
    return [block for part in parts for block in part]
