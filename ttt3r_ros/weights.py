"""Which weights a user means, and the network they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ttt3r_ros.model.checkpoint import load_network
from ttt3r_ros.model.config import NetworkConfig
from ttt3r_ros.model.network import Network

PACKAGED = Path(__file__).parent / "data" / "small.safetensors"

#: As small as to run live on two CPU cores.
PLACEHOLDER_CONFIG = NetworkConfig(
    enc_embed_dim=192,
    enc_depth=6,
    enc_num_heads=3,
    dec_embed_dim=192,
    dec_depth=4,
    dec_num_heads=3,
    state_dec_num_heads=4,
    state_size=256,
    local_mem_size=64,
    head_type="linear",
    image_size=256,
)


#: After so many frames a reset does the published weights good (TTT3R, arXiv 2509.26645).
PUBLISHED_SEGMENT = 100
#: The entry of a file's provenance that says so of other weights.
SEGMENT_FRAMES = "segment_frames"


@dataclass(frozen=True)
class Weights:
    """A network and where its weights come from.

    Attributes:
        network: in float32 on the CPU.
        source: file name, or a word for weights that are not from a file.
        segment_frames: after so many frames a reset does these weights good.
        trained: False for placeholder weights, whose numbers mean nothing.
    """

    network: Network
    source: str
    segment_frames: int = PUBLISHED_SEGMENT
    trained: bool = True


def load_weights(path: str) -> Weights:
    """Load a weights file, or those of the package where the path is empty.

    Raises:
        UserError: the file cannot be used.
    """
    if path:
        return _load(Path(path).expanduser(), path)
    if PACKAGED.exists():
        return _load(PACKAGED, PACKAGED.name)
    return Weights(placeholder_network(), "placeholder (untrained)", trained=False)


def _load(path: Path, source: str) -> Weights:
    network, provenance = load_network(path)
    frames = provenance.get(SEGMENT_FRAMES)
    return Weights(network, source, frames if isinstance(frames, int) and frames > 0 else PUBLISHED_SEGMENT)


def placeholder_network() -> Network:
    """Return an untrained network, the same one every time: walls a few metres ahead of a camera that trembles."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(PLACEHOLDER_CONFIG)
    with torch.no_grad():
        # raw z of each of the 16x16 pixels; 1.2 is expm1(1.2) = 2.3 m
        network.camera_head.get_parameter("mlp.fc2.bias").view(4, -1)[2].fill_(1.2)
        # a quaternion near (1, 0, 0, 0): a camera that turns around at every frame would be taken for lost
        network.pose_head.get_parameter("mlp.fc2.weight").mul_(0.01)
        network.pose_head.get_parameter("mlp.fc2.bias").copy_(torch.tensor([0.0, 0, 0, 1, 0, 0, 0]))
    return network.eval().requires_grad_(False)
