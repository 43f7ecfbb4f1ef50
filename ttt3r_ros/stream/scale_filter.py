"""What a recurrent network's lengths must be multiplied by, so that they stay metric and of one size.

Every segment sees the world in a size of its own. The filter knows the logarithm of the factor x for the running
segment, and two things about it:

* At a reset, the frame that both segments see tells how much larger the old one saw it: x changes by the logarithm of
  that ratio, which has a variance. Ratios may also be *biased*, always by the same amount b, for instance where a
  network sees the first frames of a segment larger than later ones. A chain of ratios turns the smallest bias into any
  error, so that the filter carries b as a second unknown.
* Somebody measures x: the network itself, whose own metres say x = 0, weakly, since all of its segments are wrong
  alike in one place; a wheel's odometry; the known height of the camera.

Both are Gaussian, so that this is a Kalman filter in two dimensions: x' = x + ratio − b, b' = b, and measurements of x.
A measurement that is too far off is refused. What is published follows the estimate without a jump: the difference
that a measurement has made, `lag`, goes away by `MAX_SLEW` per frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.alignment import LogRatio

#: Standard deviations, of logarithms: of the network's own metres in one segment (the small weights on a walk of 10,000
#: frames: 0.09); of the bias before anything is known of it, and of its change from reset to reset.
OWN_METRES, BIAS, BIAS_WALK = 0.1, 0.1, 0.001
#: A segment's factor where the one before it is not known to this one, after a gap.
UNRELATED = 0.3
#: Of a ratio, at least, whatever the points say; of one that the points do not tell.
MIN_RATIO, NO_RATIO = 0.015, 0.15
#: What is published changes by no more than this share from frame to frame, beside what the network sees.
MAX_SLEW = 0.005
#: A measurement is refused beyond so many standard deviations.
GATE = 3.0


def _at_start() -> FloatArray:
    return np.diag([OWN_METRES**2, BIAS**2])


@dataclass(frozen=True)
class ScaleState:
    """What is known of the running segment's factor.

    Attributes:
        log_scale: logarithm of the factor, as estimated.
        bias: of the ratios' logarithms.
        covariance: (2, 2) of both.
        lag: logarithm of the published factor over the estimated one.
    """

    log_scale: float = 0.0
    bias: float = 0.0
    covariance: FloatArray = field(default_factory=_at_start)
    lag: float = 0.0

    @property
    def factor(self) -> float:
        """The factor that is published."""
        return math.exp(self.log_scale + self.lag)


def chained(state: ScaleState, ratio: LogRatio | None) -> ScaleState:
    """Return the state in a new segment that begins with a frame of the old one.

    Args:
        state: in the old segment.
        ratio: of the old segment's lengths over the new one's in that frame; None where the points do not tell.
    """
    log, sigma = (0.0, NO_RATIO) if ratio is None else (ratio.log, max(ratio.sigma, MIN_RATIO))
    F = np.array([[1.0, -1.0], [0.0, 1.0]])
    P = F @ state.covariance @ F.T + np.diag([sigma**2, BIAS_WALK**2])
    state = replace(state, log_scale=state.log_scale + log - state.bias, covariance=P)
    return measured(state, 0.0, OWN_METRES**2, gate=math.inf)[1]


def unchained(state: ScaleState) -> ScaleState:
    """Return the state in a new segment that shares no frame with the old one: nothing joins their sizes."""
    P = state.covariance + np.diag([UNRELATED**2, 0.0])
    state = replace(state, covariance=P)
    return replace(measured(state, 0.0, UNRELATED**2, gate=math.inf)[1], lag=0.0)


def measured(
    state: ScaleState, log_scale: float, variance: float, *, gate: float = GATE
) -> tuple[float | None, ScaleState]:
    """Take in a measurement of the running segment's factor, from any source.

    Args:
        state: before it.
        log_scale: logarithm of what the network's own lengths must be multiplied by; where they have been published
            already multiplied, that is the logarithm of true over published length, plus that of `ScaleState.factor`.
        variance: of it.
        gate: the most standard deviations that it may be off.

    Returns:
        By how many standard deviations it was off where it was refused, else None; and the state after it.
    """
    innovation = log_scale - state.log_scale
    expected = float(state.covariance[0, 0]) + variance
    deviations = abs(innovation) / math.sqrt(expected)
    if not deviations <= gate:  # NaN compares false
        return deviations, state
    gain = state.covariance[:, 0] / expected
    P = state.covariance - np.outer(gain, state.covariance[0])
    moved, bias = (float(part) for part in gain * innovation)
    return None, ScaleState(state.log_scale + moved, state.bias + bias, (P + P.T) / 2, state.lag - moved)


def slewed(state: ScaleState) -> ScaleState:
    """Return the state for the next frame: what is published comes nearer to the estimate."""
    return replace(state, lag=math.copysign(max(abs(state.lag) - MAX_SLEW, 0.0), state.lag))
