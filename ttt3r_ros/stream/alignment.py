"""The scale between two predictions of one frame, so that a new segment keeps the scale of the one before."""

from __future__ import annotations

import torch
from torch import Tensor

#: Along each axis every so many pixels are compared; a scale needs hundreds of them, not hundreds of thousands.
STRIDE = 4
#: Fewer usable pixels than this share tell nothing.
LEAST_SHARE = 0.02


def scale_between(points_a: Tensor, confidence_a: Tensor, points_b: Tensor, confidence_b: Tensor) -> float | None:
    """Return the factor that brings pointmap b to the scale of pointmap a.

    Both are of the same image and in its camera's frame, so that of the similarity between them only the scale is free:
    the two share camera centre and axes. It is the median of ``|a| / |b|`` over pixels, each weighted by the smaller of
    its two confidences above 1, so that neither gross errors nor doubtful regions move it.

    Args:
        points_a: (H, W, 3) metres, camera optical frame.
        confidence_a: (H, W) >= 1.
        points_b: like ``points_a``.
        confidence_b: like ``confidence_a``.

    Returns:
        The factor, or None where too few pixels are usable.
    """
    points_a, points_b = points_a[::STRIDE, ::STRIDE], points_b[::STRIDE, ::STRIDE]
    confidence = torch.minimum(confidence_a, confidence_b)[::STRIDE, ::STRIDE]
    ratios = points_a.norm(dim=-1).log() - points_b.norm(dim=-1).log()
    weights = confidence - 1.0
    usable = (points_a[..., 2] > 0) & (points_b[..., 2] > 0) & (weights > 0) & (ratios.isfinite() & weights.isfinite())
    if usable.float().mean() < LEAST_SHARE:
        return None
    order = ratios[usable].argsort()
    cumulative = weights[usable][order].cumsum(0)
    middle = int(torch.searchsorted(cumulative, cumulative[-1] / 2))
    return float(ratios[usable][order][middle].exp())
