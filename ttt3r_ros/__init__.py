"""Odometry, metric depth and a colored point cloud from one camera.

    stream = ttt3r_ros.load("small")
    result = stream.process(image, stamp_ns)

`Stream`, `StreamResult` and `Estimate` document inputs and outputs.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt3r_ros.errors import UserError, what_was_meant

if TYPE_CHECKING:
    from ttt3r_ros.stream.estimate import Estimate
    from ttt3r_ros.stream.stream import Stream, StreamResult

# Torch's threads (GNU OpenMP) wait for each other by spinning, some milliseconds long. On a machine whose cores are
# busy with other processes a spinning thread keeps the core from the very thread it waits for, and a frame takes 20
# times as long. Spinning for microseconds costs an idle machine nothing. Read once, when torch is loaded (ADR 7).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
__all__ = ["Estimate", "Stream", "StreamResult", "load"]


def load(
    weights: str | os.PathLike[str] = "small", *, device: str = "auto", precision: str = "auto", **settings: Any
) -> Stream:
    """Return a stream that behaves like the node: resets, image and motion checks, odometry with covariance.

    Args:
        weights: 'small' for the packaged weights, or the path of a file.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision: 'auto', 'float32', 'bfloat16', 'float16' or 'int8'.
        settings: fields of `StreamSettings` that differ from their defaults; they are parameters of the node as well.

    Raises:
        UserError: the weights, the device, the precision or a setting cannot be used.
    """
    from ttt3r_ros.stream.load import load_backbone  # lazy: torch is slow to import
    from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
    from ttt3r_ros.stream.stream import Stream

    try:
        weights = os.fsdecode(weights)
    except TypeError:
        raise UserError(f"weights must be 'small' or the path of a file, not {weights!r}") from None
    known = [item.name for item in fields(StreamSettings) if item.name != "weights_interval"]
    for name in settings:
        if name not in known:
            hint = what_was_meant(name, known) or f"there are {', '.join(known)}"
            raise UserError(f"there is no setting {name}; {hint}")
    file = "" if weights == "small" else weights
    if file.isidentifier() and not Path(file).exists():  # a word rather than the path of a file
        raise UserError(f"there are no weights {weights!r}: name a file, or 'small' for those of the package")
    loaded = load_backbone(NetworkSettings(weights=file, device=device, precision=precision))
    return Stream(loaded.backbone, StreamSettings(weights_interval=loaded.segment_frames, **settings))


def __getattr__(name: str) -> Any:
    if name in __all__:  # lazy, as above
        from ttt3r_ros.stream import estimate, stream

        return getattr(estimate if name == "Estimate" else stream, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
