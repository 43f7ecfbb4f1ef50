"""Which weights a user means, and the network they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttt3r_ros.model.network import Network
from ttt3r_ros.weights.checkpoint import load_network

PACKAGED = Path(__file__).parents[1] / "data" / "small.safetensors"

#: After so many frames a reset does the published weights good (TTT3R, arXiv 2509.26645).
PUBLISHED_SEGMENT = 100
#: The entry of a file's provenance that says so of other weights.
SEGMENT_FRAMES = "segment_frames"


@dataclass(frozen=True)
class Weights:
    """A network and where its weights come from.

    Attributes:
        network: in float32 on the CPU.
        source: file name.
        segment_frames: after so many frames a reset does these weights good.
    """

    network: Network
    source: str
    segment_frames: int = PUBLISHED_SEGMENT


def load_weights(path: str) -> Weights:
    """Load a weights file, or those of the package where the path is empty.

    Raises:
        UserError: the file cannot be used.
    """
    if path:
        return _load(Path(path).expanduser(), path)
    return _load(PACKAGED, PACKAGED.name)


def _load(path: Path, source: str) -> Weights:
    network, provenance = load_network(path)
    frames = provenance.get(SEGMENT_FRAMES)
    return Weights(network, source, frames if isinstance(frames, int) and frames > 0 else PUBLISHED_SEGMENT)
