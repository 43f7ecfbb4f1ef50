"""From what a user names to a network that computes: the one place that decides which backbone runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from ttt3r_ros.runtime.device import choose_device, choose_precision
from ttt3r_ros.stream.backbone import Backbone, dtype_of
from ttt3r_ros.stream.settings import NetworkSettings
from ttt3r_ros.weights.load import load_weights


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone, and what is known about its weights.

    Attributes:
        backbone: on its device.
        source: name of the weights' file.
        segment_frames: recommended reset interval.
        precision: that it computes in.
        min_rate_hz: rate of images below which the weights cannot track them.
        note: what everyone who shows them real images must be told, in a sentence; empty if nothing.
    """

    backbone: Backbone
    source: str
    segment_frames: int
    precision: str
    min_rate_hz: float = 0.0
    note: str = ""


def load_backbone(settings: NetworkSettings, *, warn: Callable[[str], object] = warnings.warn) -> LoadedBackbone:
    """Load the weights that the settings name, and put the network where they say; `warn` is told what is not ideal.

    Raises:
        UserError: the weights, the device or the precision cannot be used.
    """
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    weights = load_weights(settings.weights, device=device, precision=dtype_of(precision), warn=warn)
    backbone = Backbone(
        weights.network, device=device, precision=precision, weights_fingerprint=weights.fingerprint, warn=warn
    )
    return LoadedBackbone(
        backbone, weights.source, weights.segment_frames, precision, weights.min_rate_hz, weights.note
    )
