"""Which weights a user means, and the network they make."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ttt3r_ros.model.network import Network
from ttt3r_ros.weights.checkpoint import load_checkpoint

PACKAGED = Path(__file__).parents[1] / "data" / "small.safetensors"

#: After so many frames a reset does the published weights good (TTT3R, arXiv 2509.26645).
PUBLISHED_SEGMENT = 100
#: The entry of a file's provenance that says so of other weights.
SEGMENT_FRAMES = "segment_frames"


@dataclass(frozen=True)
class Weights:
    """A network and where its weights come from.

    Attributes:
        network: on the CPU.
        source: file name.
        fingerprint: of the file's values, whatever the network's precision.
        segment_frames: after so many frames a reset does these weights good.
    """

    network: Network
    source: str
    fingerprint: str
    segment_frames: int = PUBLISHED_SEGMENT


def load_weights(
    path: str,
    *,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
    warn: Callable[[str], object] = warnings.warn,
) -> Weights:
    """Load a weights file, or those of the package where the path is empty.

    Args:
        path: the file.
        device: that the network will be moved to.
        precision: that it will have there. For a CPU it is converted as it is read, so that the file's own values take
            no memory; for another device it stays float32 and memory-mapped until it is moved.
        warn: see `load_checkpoint`.

    Raises:
        UserError: the file cannot be used.
    """
    file, source = (Path(path).expanduser(), path) if path else (PACKAGED, PACKAGED.name)
    now = precision if torch.device(device).type == "cpu" else torch.float32
    loaded = load_checkpoint(file, precision=now, warn=warn)
    frames = loaded.provenance.get(SEGMENT_FRAMES)
    advised = frames if isinstance(frames, int) and frames > 0 else PUBLISHED_SEGMENT
    return Weights(loaded.network, source, loaded.fingerprint, advised)
