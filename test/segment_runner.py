"""Segments of a tiny network, to be fed without a stream around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rule_weights import TINY, rule_network

from ttt3r_ros.stream.backbone import Backbone
from ttt3r_ros.stream.segments import SegmentReader
from ttt3r_ros.stream.settings import StreamSettings

_BACKBONE = ("device", "precision", "warn")


def photo(seed: int, width: int = 80, height: int = 60) -> np.ndarray:
    """Return an RGB image of noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiny_segments(*, reset_interval: int = 0, **options: Any) -> SegmentReader:
    """Return a reader of a tiny network; options are those of `Backbone` and `StreamSettings`."""
    made_with = {name: options.pop(name) for name in _BACKBONE if name in options}
    backbone = Backbone(rule_network(TINY), **made_with)
    return SegmentReader(backbone, StreamSettings(**options), reset_interval=reset_interval)
