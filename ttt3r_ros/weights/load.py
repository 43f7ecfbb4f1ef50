"""Finds and loads the weights that a user names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ttt3r_ros.model.network import Network
from ttt3r_ros.weights.checkpoint import load_checkpoint

PACKAGED = Path(__file__).parents[1] / "data" / "small.safetensors"

#: Recommended reset interval for the published weights [frames] (TTT3R, arXiv 2509.26645).
PUBLISHED_SEGMENT = 100
#: The provenance entry with the recommended reset interval of other weights.
SEGMENT_FRAMES = "segment_frames"

#: Rates of images below which weights cannot track them [Hz]: the packaged ones, as measured (docs/adr/0035), and any
#: others whose provenance does not say it in the entry `MIN_RATE`.
PACKAGED_MIN_RATE_HZ, USUAL_MIN_RATE_HZ = 5.0, 1.0
MIN_RATE = "min_rate_hz"

#: What the provenance of weights from training/ says of their source.
SYNTHETIC = "training/ of ttt3r_ros, in its synthetic world"


@dataclass(frozen=True)
class Weights:
    """A network and where its weights come from.

    Attributes:
        network: on the CPU.
        source: file name.
        fingerprint: of the values in the file, independent of the network's precision.
        segment_frames: recommended reset interval for these weights [frames].
        min_rate_hz: rate of images below which these weights cannot track them [Hz].
        is_synthetic: they have never seen a real image.
    """

    network: Network
    source: str
    fingerprint: str
    segment_frames: int = PUBLISHED_SEGMENT
    min_rate_hz: float = USUAL_MIN_RATE_HZ
    is_synthetic: bool = False

    @property
    def note(self) -> str:
        """What everyone who shows them real images must be told, in a sentence; empty if nothing."""
        if not self.is_synthetic:
            return ""
        every = f"{self.segment_frames} frames" if self.segment_frames > 1 else "frame"
        return (
            f"the weights {Path(self.source).name} have never seen a real image and reset every {every}: "
            "they are for trying and testing, not for robots"
        )


def load_weights(
    path: str,
    *,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
    warn: Callable[[str], object] = warnings.warn,
) -> Weights:
    """Load a weights file, or the packaged weights if the path is empty.

    Args:
        path: the file.
        device: the device that the network will be moved to.
        precision: the precision that it will have there. For a CPU, weights are converted while they are read, so that
            the file's own values use no memory; for another device they stay float32 and memory-mapped until moved.
        warn: see `load_checkpoint`.

    Raises:
        UserError: the file cannot be used.
    """
    file, source = (Path(os.path.expanduser(path)), path) if path else (PACKAGED, PACKAGED.name)
    now = precision if torch.device(device).type == "cpu" else torch.float32
    loaded = load_checkpoint(file, precision=now, warn=warn)
    frames = loaded.provenance.get(SEGMENT_FRAMES)
    advised = frames if isinstance(frames, int) and frames > 0 else PUBLISHED_SEGMENT
    rate = loaded.provenance.get(MIN_RATE)
    if not (isinstance(rate, (int, float)) and 0 <= rate < float("inf")):
        rate = USUAL_MIN_RATE_HZ if path else PACKAGED_MIN_RATE_HZ
    is_synthetic = loaded.provenance.get("source") == SYNTHETIC
    return Weights(loaded.network, source, loaded.fingerprint, advised, float(rate), is_synthetic)
