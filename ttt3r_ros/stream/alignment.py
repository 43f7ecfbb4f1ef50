"""The scale between two predictions of one frame, so that a new segment keeps the scale of the one before."""

from __future__ import annotations

import torch
from torch import Tensor

#: Every n-th pixel along each axis is compared; a scale needs hundreds of pixels, not hundreds of thousands.
STRIDE = 4
#: Smallest fraction of usable pixels that determines a scale.
MIN_SHARE = 0.02


def scale_between(points_a: Tensor, confidence_a: Tensor, points_b: Tensor, confidence_b: Tensor) -> float | None:
    """Return the factor that brings pointmap b to the scale of pointmap a.

    Both predict the same image in the same camera frame. They share the camera's center and axes, so they can differ
    only by a scale. It is the median of ``|a| / |b|`` over pixels, each weighted by the smaller of its two confidences
    (above 1), so that neither outliers nor uncertain regions affect it.

    Args:
        points_a: (H, W, 3) meters, camera optical frame.
        confidence_a: (H, W) >= 1.
        points_b: like ``points_a``.
        confidence_b: like ``confidence_a``.

    Returns:
        The factor, or None if too few pixels are usable.
    """
    points_a, points_b = points_a[::STRIDE, ::STRIDE], points_b[::STRIDE, ::STRIDE]
    confidence = torch.minimum(confidence_a, confidence_b)[::STRIDE, ::STRIDE]
    ratios = points_a.norm(dim=-1).log() - points_b.norm(dim=-1).log()
    weights = confidence - 1.0
    usable = (points_a[..., 2] > 0) & (points_b[..., 2] > 0) & (weights > 0) & (ratios.isfinite() & weights.isfinite())
    if usable.float().mean() < MIN_SHARE:
        return None
    order = ratios[usable].argsort()
    cumulative = weights[usable][order].cumsum(0)
    middle = int(torch.searchsorted(cumulative, cumulative[-1] / 2))
    return float(ratios[usable][order][middle].exp())
