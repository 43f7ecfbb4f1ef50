"""Odometry, metric depth and a colored point cloud from one camera.

    stream = ttt3r_ros.load("small")
    result = stream.process(image, stamp_ns)

`Stream`, `StreamResult` and `Estimate` say what goes in and what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttt3r_ros.stream.estimate import Estimate
    from ttt3r_ros.stream.stream import Stream, StreamResult

__version__ = "0.1.0"
__all__ = ["Estimate", "Stream", "StreamResult", "load"]


def load(weights: str = "small", *, device: str = "auto", precision: str = "auto", **settings: Any) -> Stream:
    """Return a stream that behaves as the node does: resets, image and motion checks, odometry with covariance.

    Args:
        weights: 'small' for those of the package, or a file.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision: 'auto', 'float32', 'bfloat16', 'float16' or 'int8'.
        settings: what differs from the defaults of `StreamSettings`, which are the node's parameters of these names.

    Raises:
        UserError: the weights, the device or the precision cannot be used.
    """
    from ttt3r_ros.stream.load import load_backbone  # late: torch takes a second to import
    from ttt3r_ros.stream.settings import NetworkSettings, StreamSettings
    from ttt3r_ros.stream.stream import Stream

    file = "" if weights == "small" else weights
    loaded = load_backbone(NetworkSettings(weights=file, device=device, precision=precision))
    return Stream(loaded.backbone, StreamSettings(weights_interval=loaded.segment_frames, **settings))


def __getattr__(name: str) -> Any:
    if name in __all__:  # late like the rest
        from ttt3r_ros.stream import estimate, stream

        return getattr(estimate if name == "Estimate" else stream, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
