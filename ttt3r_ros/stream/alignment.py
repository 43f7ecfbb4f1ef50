"""The scale between two predictions of one frame, so that a new segment keeps the scale of the one before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Every n-th pixel along each axis is compared; a scale needs hundreds of pixels, not hundreds of thousands.
STRIDE = 4
#: Smallest fraction of usable pixels that determines a scale.
MIN_SHARE = 0.02
#: Errors of pixels are correlated: their median is as certain as that of so many independent ones.
INDEPENDENT = 20


@dataclass(frozen=True)
class LogRatio:
    """The logarithm of a ratio of two scales, and its standard deviation."""

    log: float
    sigma: float


def scale_between(points_a: Tensor, confidence_a: Tensor, points_b: Tensor, confidence_b: Tensor) -> LogRatio | None:
    """Return the factor that brings pointmap b to the scale of pointmap a, both (H, W, 3) with confidence (H, W) >= 1.

    Both predict the same image in the same camera frame. They share the camera's center and axes, so they can differ
    only by a scale. It is the median of ``|a| / |b|`` over pixels, each weighted by the smaller of its two confidences
    (above 1), so that neither outliers nor uncertain regions affect it.

    Returns:
        The factor's logarithm, with a standard deviation from how the pixels differ; None where too few are usable.
    """
    points_a, points_b = points_a[::STRIDE, ::STRIDE], points_b[::STRIDE, ::STRIDE]
    confidence = torch.minimum(confidence_a, confidence_b)[::STRIDE, ::STRIDE]
    ratios = points_a.norm(dim=-1).log() - points_b.norm(dim=-1).log()
    weights = confidence - 1.0
    usable = (points_a[..., 2] > 0) & (points_b[..., 2] > 0) & (weights > 0) & (ratios.isfinite() & weights.isfinite())
    if usable.float().mean() < MIN_SHARE:
        return None
    ratios, weights = ratios[usable], weights[usable]
    middle = _weighted_median(ratios, weights)
    spread = 1.48 * float(_weighted_median((ratios - middle).abs(), weights))
    return LogRatio(float(middle), spread * math.sqrt(math.pi / 2 / INDEPENDENT))


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    cumulative = weights[order].cumsum(0)
    return values[order][torch.searchsorted(cumulative, cumulative[-1] / 2)]
