"""Errors of a video's depth as the published evaluation of CUT3R and TTT3R defines them: one alignment a sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Alignment = Literal["metric", "scale", "scale&shift"]
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)

_REWEIGHTINGS = 10
_MIN_SCALE = 1e-3
_MIN_DEPTH = 1e-5  # for logarithms and ratios [m]
_LEARNING_RATE, _STEPS, _DECAYS, _EPSILON, _STILL = 1e-4, 1000, (0.9, 0.999), 1e-8, 1e-6


@dataclass(frozen=True)
class DepthErrors:
    """Errors over all valid pixels of a sequence.

    Attributes:
        abs_rel, sq_rel, rmse, log_rmse: of the aligned prediction (Eigen et al., arXiv 1406.2283, section 4.2).
        delta_1, delta_2, delta_3: share of pixels within a factor of 1.25, 1.25², 1.25³ of the truth.
        pixels: valid ones.
        scale, shift: that the prediction was aligned with.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    log_rmse: float
    delta_1: float
    delta_2: float
    delta_3: float
    pixels: int
    scale: float = 1.0
    shift: float = 0.0


@dataclass
class DepthPairs:
    """The valid pixels of a sequence, frame by frame: predicted and true depth, each (n,), on one device.

    Attributes:
        max_depth: deeper true pixels are not valid [m].
        clip: aligned predictions are cut to it [m].
    """

    max_depth: float = math.inf
    clip: float = math.inf
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    predicted: list[Tensor] = field(default_factory=list)
    true: list[Tensor] = field(default_factory=list)

    def add(
        self,
        predicted: npt.NDArray[np.float32] | None,
        truth: npt.NDArray[np.floating],
        region: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Take in a frame.

        Args:
            predicted: (h, w) float32 metres, brought to the truth's size by cubic interpolation; None for a frame
                without an answer.
            truth: (H, W) metres, float32 or float64, which all errors are computed in; 0 where unknown.
            region: (left, top, right, bottom) of the true image that the prediction shows [px]; None for all of it.
        """
        if predicted is None:
            truth, predicted = truth[:0], np.empty((0, truth.shape[1]), np.float32)
        else:
            if region is not None:
                left, top, right, bottom = region
                truth = truth[top:bottom, left:right]
            predicted = np.asarray(
                cv2.resize(predicted, truth.shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32
            )
        valid = (truth > 0) & (truth < self.max_depth)
        self.predicted.append(torch.from_numpy(predicted[valid]).to(self.device))
        self.true.append(torch.from_numpy(truth[valid]).to(self.device))

    def errors(self, alignment: Alignment, frames: int | None = None) -> DepthErrors:
        """Align the first frames, all if None, as one, and return their errors; zeros where no pixel is valid."""
        pairs = [(p, g) for p, g in zip(self.predicted[:frames], self.true[:frames], strict=True) if len(p)]
        count = sum(len(p) for p, _ in pairs)
        if not count:
            return DepthErrors(0, 0, 0, 0, 0, 0, 0, 0)
        scale, shift = {"metric": _none, "scale": fitted_scale, "scale&shift": fitted_scale_and_shift}[alignment](pairs)

        def terms(p: Tensor, g: Tensor) -> Iterator[Tensor]:
            q = _aligned(p, scale, shift).clamp(max=self.clip).to(g.dtype)
            difference = q - g
            yield difference.abs() / g
            yield difference.square() / g
            yield difference.square()
            q = q.clamp(min=_MIN_DEPTH)
            yield (q.log() - g.log()).square()
            ratio = torch.maximum(q / g, g / q)
            yield from (ratio < 1.25**k for k in (1, 2, 3))

        sums = np.zeros(7)
        for p, g in pairs:
            sums += [float(term.sum()) for term in terms(p, g)]
        means = sums / count
        means[2:4] = np.sqrt(means[2:4])
        abs_rel, sq_rel, rmse, log_rmse, *deltas = means.tolist()
        return DepthErrors(abs_rel, sq_rel, rmse, log_rmse, deltas[0], deltas[1], deltas[2], count, scale, shift)


Pairs = Sequence[tuple[Tensor, Tensor]]


def fitted_scale(pairs: Pairs) -> tuple[float, float]:
    """Return the scale that ten reweighted least-squares steps make of the ratio of means, and no shift.

    The types are the published ones, because pixels that are hit to within 1e-8 weigh 1e8: scale and prediction
    float32, the difference in the truth's type.
    """
    scale = _float32(_sum(pairs, lambda p, g: g) / _sum(pairs, lambda p, g: p))
    for _ in range(_REWEIGHTINGS):
        above = below = 0.0
        for p, g in pairs:
            weights = 1 / ((scale * p - g).abs() + 1e-8)
            above += float((weights * p * g).sum())
            below += float((weights * p * p).sum())
        scale = _float32(above / below)
    return max(scale, _MIN_SCALE), 0.0


def fitted_scale_and_shift(pairs: Pairs) -> tuple[float, float]:
    """Return scale and shift after at most 1000 steps of Adam on the sum of absolute differences.

    Not the optimum, on purpose: no step moves them by more than about 1e-4, and the published figures end where it
    does.
    """
    scale = _float32(float(_median([g for _, g in pairs])) / float(_median([p for p, _ in pairs])))
    shift, previous = 0.0, math.inf
    first, second = np.zeros(2), np.zeros(2)
    for step in range(1, _STEPS + 1):
        loss, gradient = 0.0, np.zeros(2)
        for p, g in pairs:
            residual = _aligned(p, scale, shift) - g
            sign = residual.sign()
            loss += float(residual.abs().sum())
            gradient += [float((sign * p).sum()), float(sign.sum())]
        first = _DECAYS[0] * first + (1 - _DECAYS[0]) * gradient
        second = _DECAYS[1] * second + (1 - _DECAYS[1]) * gradient**2
        change = first / (1 - _DECAYS[0] ** step) / (np.sqrt(second / (1 - _DECAYS[1] ** step)) + _EPSILON)
        scale, shift = (_float32(value - _LEARNING_RATE * d) for value, d in zip((scale, shift), change.tolist()))
        if abs(previous - loss) < _STILL:
            break
        previous = loss
    return scale, shift


def _none(pairs: Pairs) -> tuple[float, float]:
    return 1.0, 0.0


def _aligned(p: Tensor, scale: float, shift: float) -> Tensor:
    return scale * p + shift


def _sum(pairs: Pairs, term: Callable[[Tensor, Tensor], Tensor]) -> float:
    return sum(float(term(p, g).sum()) for p, g in pairs)


def _median(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)).median()  # torch's is the lower one


def _float32(value: float) -> float:
    return float(np.float32(value))
