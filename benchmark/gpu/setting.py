"""What is measured, at full size on a GPU and at a tiny one, which any CPU goes through in a minute."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ttt3r_ros.model import CUT3R_512_DPT, NetworkConfig
from ttt3r_ros.weights.rule import TINY


@dataclass(frozen=True)
class Setting:
    """Where and how much to measure; sizes are (width, height) in pixels.

    Attributes:
        device: 'cuda', 'cuda:N' or 'cpu'.
        network: configuration of the large network.
        sizes: of its images.
        camera: size of the camera's images.
        precisions: of the network.
        rounds: turns that every variant of a step takes, at most.
        frames: that a stream is fed to see whether time and memory stay flat.
        reset_interval: of that stream.
        walk_frames: rendered for the small weights.
        card_gib: memory of the small card that is tried.
        goldens: pattern of the names of those that are compared.
        compiler: backend of torch.compile; the others do all of it but write no code.
    """

    device: str
    network: NetworkConfig = CUT3R_512_DPT
    sizes: tuple[tuple[int, int], ...] = ((512, 288), (512, 384))
    camera: tuple[int, int] = (640, 480)
    precisions: tuple[str, ...] = ("float32", "bfloat16", "float16")
    rounds: int = 30
    frames: int = 1000
    reset_interval: int = 100
    walk_frames: int = 100
    card_gib: float = 8.0
    goldens: str = "*"
    compiler: str = "inductor"

    @property
    def torch_device(self) -> torch.device:
        """The device, by number: not every function of torch.cuda takes one without."""
        device = torch.device(self.device)
        return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def tiny(device: str) -> Setting:
    """Return a setting with the same parts that takes seconds on a CPU."""
    return Setting(
        device,
        network=TINY,
        sizes=((64, 32), (64, 48)),
        camera=(80, 60),
        precisions=("float32", "bfloat16"),
        rounds=2,
        frames=12,
        reset_interval=4,
        walk_frames=4,
        goldens="tiny_linear_t*",
        compiler="eager",
    )
