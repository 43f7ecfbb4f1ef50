"""What a recurrent network's lengths must be multiplied by, so that they stay metric and of one size.

Every segment sees the world in a size of its own. The filter knows the logarithm x of the factor for the running
segment, and what is known of it:

* At a reset, the frame that both segments see tells how much larger the old one saw it: x changes by the logarithm of
  that ratio, which has a variance. Ratios may also be *biased*, always by the same amount b, for instance where a
  network sees the first frames of a segment larger than later ones. A chain of ratios turns the smallest bias into any
  error, so that the filter carries b as a second unknown.
* The network's own metres say x = m, weakly, once in every segment. All of its segments may be wrong alike in one
  place, by a factor whose logarithm m is the third unknown. It is 0 unless somebody measures lengths.
* Somebody else measures lengths: a wheel's odometry; the known height of the camera (see `scale_sources`). That tells m
  as well, so that the network's metres help between two such measurements instead of pulling against them.

All are Gaussian, so that this is a Kalman filter in three dimensions: x' = x + ratio − b, b' = b, m' ≈ m, and
measurements of x − m and of x. A measurement that is too far off is refused. What is published follows the estimate
without a jump: the difference that a measurement has made, `lag`, goes away by `MAX_SLEW` per frame. Where a ratio is
found to be biased, no lengths have changed: that part is never published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ttt3r_ros.geometry import FloatArray
from ttt3r_ros.stream.alignment import LogRatio

#: Standard deviations, of logarithms: of the network's own metres in one segment (the small weights on a walk of 10,000
#: frames: 0.09); of what its segments have in common; of the bias before anything is known of it, and of its change
#: from reset to reset.
OWN_METRES, PLACE, BIAS, BIAS_WALK = 0.1, 0.2, 0.1, 0.001
#: Of a segment's factor along a metre; and after so many metres nothing is left of what its segments have in common.
METRE_WALK, PLACE_METRES = 0.01, 5000.0
#: A segment's factor where the one before it is not known to this one, after a gap.
UNRELATED = 0.3
#: Of a ratio, at least, whatever the points say; of one that the points do not tell.
MIN_RATIO, NO_RATIO = 0.015, 0.15
#: What is published changes by no more than this share from frame to frame, beside what the network sees.
MAX_SLEW = 0.005
#: A measurement is refused beyond so many standard deviations.
GATE = 3.0


#: The unknowns that are wrong together where the network's metres are: x and m.
_COMMON = np.array([1.0, 0.0, 1.0])


def _at_start() -> FloatArray:
    return np.diag([OWN_METRES**2, BIAS**2, 0.0])


@dataclass(frozen=True)
class ScaleState:
    """What is known of the running segment's factor.

    Attributes:
        log_scale: logarithm of the factor, as estimated.
        bias: of the ratios' logarithms.
        place: logarithm of the factor for the network's own metres in this place.
        covariance: (3, 3) of these three.
        lag: logarithm of the published factor over the estimated one.
    """

    log_scale: float = 0.0
    bias: float = 0.0
    place: float = 0.0
    covariance: FloatArray = field(default_factory=_at_start)
    lag: float = 0.0

    @property
    def factor(self) -> float:
        """The published factor."""
        return math.exp(self.log_scale + self.lag)

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm of the published factor."""
        return math.sqrt(float(self.covariance[0, 0]) + self.lag**2)


def chained(state: ScaleState, ratio: LogRatio | None) -> ScaleState:
    """Return the state in a new segment that begins with a frame of the old one.

    Args:
        state: in the old segment.
        ratio: of the old segment's lengths over the new one's in that frame; None where the points do not tell.
    """
    log, sigma = (0.0, NO_RATIO) if ratio is None else (ratio.log, max(ratio.sigma, MIN_RATIO))
    F = np.eye(3)
    F[0, 1] = -1.0
    P = F @ state.covariance @ F.T + np.diag([sigma**2, BIAS_WALK**2, 0.0])
    begun = replace(state, log_scale=state.log_scale + log - state.bias, covariance=P)
    after = _seen(begun, OWN_METRES)
    return replace(after, lag=after.lag - (after.bias - state.bias))  # what is published goes by the bias as known now


def unchained(state: ScaleState) -> ScaleState:
    """Return the state in a new segment that shares no frame with the old one: nothing joins their sizes."""
    P = state.covariance + np.diag([UNRELATED**2, 0.0, 0.0])
    return replace(_seen(replace(state, covariance=P), UNRELATED), lag=0.0)


def travelled(state: ScaleState, metres: float) -> ScaleState:
    """Return the state so many published metres further: the running segment's factor may have changed."""
    kept = math.exp(-metres / PLACE_METRES)
    F = np.diag([1.0, 1.0, kept])
    P = F @ state.covariance @ F + np.diag([METRE_WALK**2 * metres, 0.0, PLACE**2 * (1 - kept**2)])
    return replace(state, place=state.place * kept, covariance=P)


def helped(state: ScaleState) -> ScaleState:
    """Return the state from which on somebody measures lengths: what segments have in common may be other than 0.

    Alone it could not be known, and to let it move would only let the metres go.
    """
    return replace(state, covariance=state.covariance + PLACE**2 * np.outer(_COMMON, _COMMON))


def reopened(state: ScaleState) -> ScaleState:
    """Return the state where what has been measured from outside has turned out wrong: anything may come in."""
    return replace(state, covariance=state.covariance + UNRELATED**2 * np.outer(_COMMON, _COMMON))


def measured(
    state: ScaleState, log_scale: float, variance: float, *, gate: float = GATE
) -> tuple[float | None, ScaleState]:
    """Take in a measurement of the running segment's factor, from any source.

    Args:
        state: before it.
        log_scale: logarithm of what the network's own depth must be multiplied by; where it has been published already
            multiplied, that is the logarithm of true over published depth, plus that of `ScaleState.factor`.
        variance: of it.
        gate: the most standard deviations that it may be off.

    Returns:
        By how many standard deviations it was off where it was refused, else None; and the state after it.
    """
    H = np.array([1.0, 0.0, 0.0])
    innovation = log_scale - state.log_scale
    expected = float(H @ state.covariance @ H) + variance
    deviations = abs(innovation) / math.sqrt(expected)
    if not deviations <= gate:  # NaN compares false
        return deviations, state
    return None, _updated(state, H, innovation, variance)


def _seen(state: ScaleState, sigma: float) -> ScaleState:
    """Take in the network's own metres: its lengths are right but for what is wrong in this place."""
    return _updated(state, np.array([1.0, 0.0, -1.0]), state.place - state.log_scale, sigma**2)


def _updated(state: ScaleState, H: FloatArray, innovation: float, variance: float) -> ScaleState:
    """Return the state after a measurement of H times the unknowns."""
    along = state.covariance @ H
    gain = along / (float(H @ along) + variance)
    P = state.covariance - np.outer(gain, along)
    moved, bias, place = (float(part) for part in gain * innovation)
    return replace(
        state,
        log_scale=state.log_scale + moved,
        bias=state.bias + bias,
        place=state.place + place,
        covariance=(P + P.T) / 2,
        lag=state.lag - moved,
    )


def slewed(state: ScaleState) -> ScaleState:
    """Return the state for the next frame: what is published comes nearer to the estimate."""
    return replace(state, lag=math.copysign(max(abs(state.lag) - MAX_SLEW, 0.0), state.lag))
